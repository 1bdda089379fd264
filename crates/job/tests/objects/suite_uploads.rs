//! The part of the suite that is about how objects come into being.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tonemill_job::ObjectKey;
use tonemill_job::objects::{ObjectStore, StoreErrorKind, Unfinished, Upload};

use super::content::{PART, assert_has, assert_invisible, eventually, kind, new_key, noise, put};
use super::suite::Abilities;

/// Runs all cases.
pub async fn run(store: Arc<dyn ObjectStore>, abilities: Abilities) {
    let s = &*store;
    println!("case: every length");
    every_length(s).await;
    println!("case: invisible until finished");
    invisible_until_finished(s).await;
    println!("case: wrong heads");
    wrong_heads(s).await;
    println!("case: aborted and dropped");
    aborted_and_dropped(s, abilities).await;
    println!("case: unfinished");
    unfinished(s, abilities).await;
    println!("case: written once");
    written_once(s, abilities).await;
    println!("case: many writers");
    many_writers(&store).await;
}

async fn every_length(store: &dyn ObjectStore) {
    let lengths = [
        (0, 0),
        (0, 417),
        (1, 0),
        (1, 417),
        (PART - 417, 417),
        (PART - 1, 0),
        (PART, 0),
        (PART + 1, 0),
        (PART - 417 + 1, 417),
        (2 * PART - 417 - 1, 417),
        (2 * PART - 417, 417),
        (2 * PART - 417 + 1, 417),
        (20 << 20, 417),
    ];
    for (body, head) in lengths {
        let (key, bytes) = (new_key(), noise(head + body, body as u64));
        put(store, &key, &bytes, head).await.unwrap();
        assert_has(store, &key, &bytes).await;
        store.delete(&key).await.unwrap();
    }
}

async fn invisible_until_finished(store: &dyn ObjectStore) {
    let (key, bytes) = (new_key(), noise(3 * PART, 7));
    let mut upload = store.create(&key, "audio/mpeg", 10).await.unwrap();
    assert_invisible(store, &key).await;
    upload.write(bytes.slice(10..PART)).await.unwrap();
    assert_invisible(store, &key).await;
    upload.write(bytes.slice(PART..)).await.unwrap();
    assert_invisible(store, &key).await;
    upload.finish(bytes.slice(..10)).await.unwrap();
    assert_has(store, &key, &bytes).await;
}

async fn wrong_heads(store: &dyn ObjectStore) {
    for head in [0, 9, 11] {
        let key = new_key();
        let mut upload = store.create(&key, "audio/mpeg", 10).await.unwrap();
        upload.write(noise(100, 8)).await.unwrap();
        let result = upload.finish(noise(head, 8)).await;
        assert_eq!(kind(result), Some(StoreErrorKind::Invalid));
        assert_invisible(store, &key).await;
    }
}

/// An upload that has stored something.
async fn begun(store: &dyn ObjectStore, key: &ObjectKey) -> Box<dyn Upload> {
    let mut upload = store.create(key, "audio/mpeg", 10).await.unwrap();
    upload.write(noise(3 * PART, 9)).await.unwrap();
    upload
}

async fn listed(store: &dyn ObjectStore, key: &ObjectKey) -> Vec<Unfinished> {
    let mut all = store.unfinished().await.unwrap();
    all.retain(|unfinished| unfinished.key == *key);
    all
}

async fn aborted_and_dropped(store: &dyn ObjectStore, abilities: Abilities) {
    let key = new_key();
    begun(store, &key).await.abort().await.unwrap();
    assert_invisible(store, &key).await;
    if abilities.lists_unfinished {
        assert_eq!(listed(store, &key).await, []);
    }
    store.create(&key, "audio/mpeg", 0).await.unwrap().abort().await.unwrap();

    drop(begun(store, &key).await);
    if abilities.lists_unfinished {
        eventually("a dropped upload is freed", async || listed(store, &key).await.is_empty())
            .await;
    }
    assert_invisible(store, &key).await;

    // Neither has used up the key.
    let bytes = noise(20, 10);
    put(store, &key, &bytes, 10).await.unwrap();
    assert_has(store, &key, &bytes).await;
}

async fn unfinished(store: &dyn ObjectStore, abilities: Abilities) {
    let key = new_key();
    if !abilities.lists_unfinished {
        assert_eq!(kind(store.unfinished().await), Some(StoreErrorKind::Unsupported));
        return;
    }
    let first = begun(store, &key).await;
    let second = begun(store, &key).await;
    let found = listed(store, &key).await;
    assert_eq!(found.len(), 2);
    assert_ne!(found[0].upload, found[1].upload);
    for unfinished in &found {
        let age = SystemTime::now().duration_since(unfinished.started).unwrap_or_default();
        assert!(age < Duration::from_mins(1), "{age:?}");
    }

    store.give_up(&found[0]).await.unwrap();
    store.give_up(&found[0]).await.unwrap();
    assert_eq!(listed(store, &key).await, [found[1].clone()]);
    store.give_up(&found[1]).await.unwrap();
    assert_eq!(listed(store, &key).await, []);

    // Their writers find out.
    for upload in [first, second] {
        assert!(upload.finish(noise(10, 9)).await.is_err());
    }
    assert_invisible(store, &key).await;
}

async fn written_once(store: &dyn ObjectStore, abilities: Abilities) {
    if !abilities.never_overwrites {
        return;
    }
    for length in [100, 2 * PART] {
        let (key, bytes) = (new_key(), noise(length, 11));
        put(store, &key, &bytes, 10).await.unwrap();
        for other in [100, 2 * PART] {
            let result = put(store, &key, &noise(other, 12), 10).await;
            assert_eq!(kind(result), Some(StoreErrorKind::Exists));
        }
        assert_has(store, &key, &bytes).await;
        store.delete(&key).await.unwrap();
    }
}

async fn many_writers(store: &Arc<dyn ObjectStore>) {
    let job = tonemill_job::JobId::new();
    let writers = (0..16_u32).map(|i| {
        let store = store.clone();
        tokio::spawn(async move {
            let (key, bytes) = (ObjectKey::output(job, i), noise(100_000, i.into()));
            put(&*store, &key, &bytes, 417).await.unwrap();
            assert_has(&*store, &key, &bytes).await;
            // So that folders vanish while others are made in them.
            store.delete(&key).await.unwrap();
            put(&*store, &key, &Bytes::from_static(b"again"), 1).await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(store.list(&ObjectKey::outputs_of(job), None, 100).await.unwrap().len(), 16);
}

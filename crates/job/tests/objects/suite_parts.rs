//! The part of the suite that is about objects in parts, which whoever has the next one goes on
//! with.

use std::slice;
use std::sync::Arc;

use tonemill_job::ObjectKey;
use tonemill_job::objects::{
    MAX_PARTS, ObjectStore, PART_BYTES, PartTag, PartsId, Result, StoreErrorKind,
};

use super::content::{PART, assert_has, assert_invisible, kind, new_key, noise, put};
use super::suite::Abilities;

/// Runs all cases. `other` is the same store, as another process sees it.
pub async fn run(store: &Arc<dyn ObjectStore>, other: &Arc<dyn ObjectStore>, abilities: Abilities) {
    assert_eq!(PART_BYTES, PART);
    let (s, o) = (&**store, &**other);
    println!("case: parts in any order");
    any_order(s, abilities).await;
    println!("case: parts at the same time");
    at_the_same_time(store).await;
    println!("case: one part");
    one_part(s).await;
    println!("case: no parts");
    no_parts(s, abilities).await;
    println!("case: parts that are stored again");
    stored_again(s).await;
    println!("case: missing parts");
    missing_parts(s).await;
    println!("case: parts of another process");
    another_process(s, o).await;
    println!("case: aborted parts");
    aborted_parts(s, abilities).await;
    println!("case: parts that are given up");
    given_up(s, abilities).await;
    println!("case: limits of parts");
    limits(s).await;
}

async fn begin(store: &dyn ObjectStore, key: &ObjectKey) -> PartsId {
    carried(store.begin_parts(key, "video/mp4").await.unwrap())
}

/// A name as it comes back from a database.
fn carried<T: Into<String> + TryFrom<String, Error: std::fmt::Debug>>(name: T) -> T {
    T::try_from(name.into()).unwrap()
}

/// Stores parts of `bytes`, by their numbers.
async fn store_parts<const N: usize>(
    store: &dyn ObjectStore,
    (key, id): (&ObjectKey, &PartsId),
    bytes: &bytes::Bytes,
    numbers: [u32; N],
) -> [PartTag; N] {
    let mut tags = Vec::new();
    for number in numbers {
        let start = (number as usize - 1) * PART;
        let part = bytes.slice(start..bytes.len().min(start + PART));
        let length = part.len() as u64;
        let tag = carried(store.put_part(key, id, number, part).await.unwrap());
        assert_eq!((tag.number(), tag.bytes()), (number, length));
        tags.push(tag);
    }
    tags.try_into().expect("one for each")
}

/// Asserts that there is nothing to go on with.
async fn assert_gone(
    store: &dyn ObjectStore,
    (key, id): (&ObjectKey, &PartsId),
    abilities: Abilities,
) {
    // So short that it is sent before a store can refuse it and hang up.
    let result = store.put_part(key, id, 1, noise(1, 1)).await;
    assert_eq!(kind(result), Some(abilities.gone()));
    assert!(!lists(store, key, id, abilities).await);
}

/// Whether the object is listed as unfinished.
async fn lists(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    id: &PartsId,
    abilities: Abilities,
) -> bool {
    abilities.lists_unfinished
        && store
            .unfinished()
            .await
            .unwrap()
            .iter()
            .any(|unfinished| unfinished.key == *key && unfinished.upload == id.as_str())
}

async fn any_order(store: &dyn ObjectStore, abilities: Abilities) {
    let (key, bytes) = (new_key(), noise(2 * PART + 7, 1));
    let id = begin(store, &key).await;
    let [third, first, second] = store_parts(store, (&key, &id), &bytes, [3, 1, 2]).await;
    assert_invisible(store, &key).await;
    let parts = [second, third, first.clone()];
    let total = bytes.len() as u64;
    for _ in 0..2 {
        store.finish_parts(&key, &id, &parts, total).await.unwrap();
        assert_has(store, &key, &bytes).await;
        assert_gone(store, (&key, &id), abilities).await;
    }
    let other_length = store.finish_parts(&key, &id, &[first], PART as u64).await;
    assert_eq!(kind(other_length), Some(StoreErrorKind::Exists));
    // Too late.
    store.abort_parts(&key, &id).await.unwrap();
    assert_has(store, &key, &bytes).await;
    store.delete(&key).await.unwrap();
}

async fn at_the_same_time(store: &Arc<dyn ObjectStore>) {
    let (key, bytes) = (new_key(), noise(5 * PART, 2));
    let id = begin(&**store, &key).await;
    let writers = (1..=5).map(|number| {
        let (store, key, id, bytes) = (store.clone(), key.clone(), id.clone(), bytes.clone());
        tokio::spawn(async move {
            let [tag] = store_parts(&*store, (&key, &id), &bytes, [number]).await;
            tag
        })
    });
    let mut parts = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        parts.push(writer.await.unwrap());
    }
    store.finish_parts(&key, &id, &parts, bytes.len() as u64).await.unwrap();
    assert_has(&**store, &key, &bytes).await;
    store.delete(&key).await.unwrap();
}

async fn one_part(store: &dyn ObjectStore) {
    for length in [1, 1_000, PART - 1, PART] {
        let (key, bytes) = (new_key(), noise(length, 3));
        let id = begin(store, &key).await;
        let parts = store_parts(store, (&key, &id), &bytes, [1]).await;
        store.finish_parts(&key, &id, &parts, length as u64).await.unwrap();
        assert_has(store, &key, &bytes).await;
        store.delete(&key).await.unwrap();
    }
}

async fn no_parts(store: &dyn ObjectStore, abilities: Abilities) {
    let key = new_key();
    let id = begin(store, &key).await;
    for _ in 0..2 {
        store.finish_parts(&key, &id, &[], 0).await.unwrap();
        assert_has(store, &key, &noise(0, 4)).await;
        assert_gone(store, (&key, &id), abilities).await;
    }
    let result = store.finish_parts(&key, &id, &[], 1).await;
    assert_eq!(kind(result), Some(StoreErrorKind::Invalid));
    store.delete(&key).await.unwrap();
}

async fn stored_again(store: &dyn ObjectStore) {
    let (key, bytes) = (new_key(), noise(2 * PART + 7, 5));
    let id = begin(store, &key).await;
    // Other bytes, then more at the end, and one part too many.
    store_parts(store, (&key, &id), &noise(4 * PART, 6), [1, 2, 3, 4]).await;
    store_parts(store, (&key, &id), &bytes, [1]).await;
    let parts = store_parts(store, (&key, &id), &bytes, [3, 1, 2]).await;
    store.finish_parts(&key, &id, &parts, bytes.len() as u64).await.unwrap();
    assert_has(store, &key, &bytes).await;
    store.delete(&key).await.unwrap();
}

async fn missing_parts(store: &dyn ObjectStore) {
    let (key, bytes) = (new_key(), noise(2 * PART + 7, 7));
    let total = bytes.len() as u64;
    let id = begin(store, &key).await;
    let [first, third] = store_parts(store, (&key, &id), &bytes, [1, 3]).await;
    let invalid = async |parts: &[PartTag], total| {
        let result = store.finish_parts(&key, &id, parts, total).await;
        assert_eq!(kind(result), Some(StoreErrorKind::Invalid));
        assert_invisible(store, &key).await;
    };
    invalid(&[first.clone(), third.clone()], total).await;
    invalid(&[first.clone(), third.clone()], PART as u64 + 7).await;
    invalid(slice::from_ref(&third), 7).await;
    invalid(&[first.clone(), first.clone()], 2 * PART as u64).await;
    invalid(slice::from_ref(&first), PART as u64 - 1).await;
    let [second] = store_parts(store, (&key, &id), &bytes, [2]).await;
    store.finish_parts(&key, &id, &[first, second, third], total).await.unwrap();
    assert_has(store, &key, &bytes).await;
    store.delete(&key).await.unwrap();
}

async fn another_process(store: &dyn ObjectStore, other: &dyn ObjectStore) {
    let (key, bytes) = (new_key(), noise(PART + 7, 8));
    let total = bytes.len() as u64;
    let id = begin(store, &key).await;
    let [first] = store_parts(store, (&key, &id), &bytes, [1]).await;
    let [second] = store_parts(other, (&key, &id), &bytes, [2]).await;
    let parts = [first, second];
    other.finish_parts(&key, &id, &parts, total).await.unwrap();
    // It wakes up.
    store.finish_parts(&key, &id, &parts, total).await.unwrap();
    assert_has(store, &key, &bytes).await;
    store.delete(&key).await.unwrap();
}

async fn aborted_parts(store: &dyn ObjectStore, abilities: Abilities) {
    let (key, bytes) = (new_key(), noise(PART + 7, 9));
    for stored in [false, true] {
        let id = begin(store, &key).await;
        let mut parts = Vec::new();
        if stored {
            parts.extend(store_parts(store, (&key, &id), &bytes, [1, 2]).await);
        }
        assert_eq!(lists(store, &key, &id, abilities).await, abilities.lists_unfinished);
        for _ in 0..2 {
            store.abort_parts(&key, &id).await.unwrap();
            assert_gone(store, (&key, &id), abilities).await;
        }
        if stored {
            let result = store.finish_parts(&key, &id, &parts, bytes.len() as u64).await;
            assert_eq!(kind(result), Some(abilities.gone()));
        }
        assert_invisible(store, &key).await;
    }
    // The key is not used up.
    put(store, &key, &bytes, 10).await.unwrap();
    store.delete(&key).await.unwrap();
}

async fn given_up(store: &dyn ObjectStore, abilities: Abilities) {
    if !abilities.lists_unfinished {
        return;
    }
    let key = new_key();
    let ids = [begin(store, &key).await, begin(store, &key).await];
    store_parts(store, (&key, &ids[0]), &noise(PART, 10), [1]).await;
    let mut found = store.unfinished().await.unwrap();
    found.retain(|unfinished| unfinished.key == key);
    assert_eq!(found.len(), 2);
    for unfinished in &found {
        store.give_up(unfinished).await.unwrap();
    }
    for id in &ids {
        assert_gone(store, (&key, id), abilities).await;
    }
    assert_invisible(store, &key).await;
}

async fn limits(store: &dyn ObjectStore) {
    let key = new_key();
    let id = begin(store, &key).await;
    let tried = async |number, bytes| -> Result<PartTag> {
        store.put_part(&key, &id, number, noise(bytes, 11)).await
    };
    let refused = [(0, 1), (MAX_PARTS + 1, 1), (u32::MAX, 1), (1, 0), (1, PART + 1), (2, PART + 1)];
    for (number, bytes) in refused {
        assert_eq!(kind(tried(number, bytes).await), Some(StoreErrorKind::Invalid));
    }
    let last = tried(MAX_PARTS, PART).await.unwrap();
    assert_eq!((last.number(), last.bytes()), (MAX_PARTS, PART as u64));
    // Every other is missing.
    let result = store.finish_parts(&key, &id, &[last], PART as u64).await;
    assert_eq!(kind(result), Some(StoreErrorKind::Invalid));
    store.abort_parts(&key, &id).await.unwrap();
    assert_invisible(store, &key).await;
}

//! What the S3 store makes of a bad connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonemill_job::objects::{ObjectStore, S3Deadlines, S3Retries, StoreErrorKind};
use tonemill_testbed::fault_proxy::{Fault, Incoming, some};
use tonemill_testbed::s3::S3Server;

use super::content::{PART, assert_has, assert_invisible, kind, new_key, noise, put};
use super::servers::{short, through_proxy};

#[tokio::test]
async fn refused_calls_are_made_again() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, S3Deadlines::default()).await;
    let store = Arc::new(store);
    for percent in [0, 30] {
        proxy.plan(some_but_never_all(percent, S3Retries::default().tries));
        let (start, before) = (Instant::now(), proxy.accepted());
        let workers = (0..8).map(|i| {
            let store = store.clone();
            tokio::spawn(async move {
                for j in 0..15 {
                    let (key, bytes) = (new_key(), noise(50_000, i * 100 + j));
                    put(&*store, &key, &bytes, 417).await.unwrap();
                    assert!(store.get(&key, 0..50_000).await.unwrap() == bytes);
                    store.delete(&key).await.unwrap();
                }
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
        let calls = proxy.accepted() - before;
        println!("{percent} % of {calls} refused: {:?}", start.elapsed());
        assert!(if percent == 0 { calls == 360 } else { calls > 450 }, "{calls}");
    }
}

/// Refuses `percent` in 100, but no call as often as it is tried: by chance alone, one in 5,000
/// would be refused seven times.
fn some_but_never_all(percent: u8, tries: u32) -> impl FnMut(Incoming<'_>) -> Fault + Send {
    let mut refuses = some(percent, Fault::Refuse, 1);
    let mut refusals = HashMap::new();
    move |incoming| {
        let refusals = refusals.entry(incoming.request.to_owned()).or_insert(0);
        let fault = if *refusals + 1 < tries { refuses(incoming) } else { Fault::None };
        *refusals += u32::from(fault == Fault::Refuse);
        fault
    }
}

#[tokio::test]
async fn a_call_is_tried_as_often_as_promised() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, S3Deadlines::default()).await;
    let tries = S3Retries::default().tries;
    for (refused, result) in [(tries - 1, None), (tries, Some(StoreErrorKind::Unavailable))] {
        let mut left = refused;
        proxy.plan(move |_| {
            let is_refused = left > 0;
            left -= u32::from(is_refused);
            if is_refused { Fault::Refuse } else { Fault::None }
        });
        let before = proxy.accepted();
        assert_eq!(kind(put(&store, &new_key(), &noise(1_000, 1), 10).await), result);
        assert_eq!(proxy.accepted() - before, u64::from(tries), "{refused} refused");
    }
}

#[tokio::test]
async fn silence_ends_by_the_deadlines() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, short()).await;
    let (key, bytes) = (new_key(), noise(100_000, 1));
    put(&store, &key, &bytes, 10).await.unwrap();
    for fault in [Fault::BlackHole, Fault::Trickle { pause: Duration::from_secs(1) }] {
        proxy.set(fault);
        let (start, other) = (Instant::now(), new_key());
        let (get, head, put, list, check) = tokio::join!(
            store.get(&key, 0..100_000),
            store.head(&key),
            put(&store, &other, &bytes, 10),
            store.list("", None, 1),
            store.check(),
        );
        let kinds = [kind(get), kind(head), kind(put), kind(list), kind(check)];
        assert_eq!(kinds, [Some(StoreErrorKind::Unavailable); 5]);
        // The deadline is two seconds; the rest is for a busy machine.
        assert!(start.elapsed() < Duration::from_secs(10), "{fault:?}: {:?}", start.elapsed());
    }
    proxy.set(Fault::None);
    assert_has(&store, &key, &bytes).await;
}

#[tokio::test]
async fn writers_wait_for_a_store_that_is_slower() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, S3Deadlines::default()).await;
    let mut upload = store.create(&new_key(), "audio/mpeg", 0).await.unwrap();
    // The second part is full, not yet sent.
    upload.write(noise(2 * PART, 1)).await.unwrap();
    proxy.plan(|incoming| {
        if incoming.request.contains("partNumber") { Fault::BlackHole } else { Fault::None }
    });
    // Two are on their way, one waits.
    upload.write(noise(2 * PART, 1)).await.unwrap();
    let more = timeout(Duration::from_millis(200), upload.write(noise(1, 1))).await;
    assert!(more.is_err(), "{more:?}");
    let broken = upload.finish(noise(0, 1)).await;
    assert_eq!(kind(broken), Some(StoreErrorKind::Invalid));
}

#[tokio::test]
async fn a_range_that_is_cut_goes_on_where_it_was() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, S3Deadlines::default()).await;
    let (key, bytes) = (new_key(), noise(1_000_000, 1));
    put(&store, &key, &bytes, 10).await.unwrap();

    let before = proxy.accepted();
    let half = Fault::CutResponse { after: 500_000 };
    proxy.plan(move |incoming| if incoming.number == before { half } else { Fault::None });
    assert!(store.get(&key, 0..1_000_000).await.unwrap() == bytes);
    assert_eq!(proxy.accepted() - before, 2);

    // Once more: now every answer is cut, and each brings a quarter.
    let before = proxy.accepted();
    proxy.set(Fault::CutResponse { after: 250_000 });
    assert!(store.get(&key, 0..1_000_000).await.unwrap() == bytes);
    assert!((4..=5).contains(&(proxy.accepted() - before)));

    proxy.set(Fault::CutResponse { after: 1_000 });
    let result = store.get(&key, 0..1_000_000).await;
    assert_eq!(kind(result), Some(StoreErrorKind::Unavailable));
}

#[tokio::test]
async fn a_range_that_stalls_goes_on_elsewhere() {
    let server = S3Server::start();
    let deadlines = S3Deadlines { range: Duration::from_mins(1), ..short() };
    let (proxy, store) = through_proxy(&server, deadlines).await;
    let (key, bytes) = (new_key(), noise(1_000_000, 1));
    put(&store, &key, &bytes, 10).await.unwrap();

    let before = proxy.accepted();
    let slow = Fault::Trickle { pause: Duration::from_millis(1) };
    proxy.plan(move |incoming| if incoming.number == before { slow } else { Fault::None });
    assert!(store.get(&key, 0..1_000_000).await.unwrap() == bytes);
    assert!(proxy.accepted() - before >= 2);
}

#[tokio::test]
async fn an_object_that_changes_while_it_is_read_is_noticed() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, S3Deadlines::default()).await;
    let key = new_key();
    put(&store, &key, &noise(1_000_000, 1), 10).await.unwrap();
    let before = proxy.accepted();
    let path = server.object_path(key.as_str());
    proxy.plan(move |incoming| {
        if incoming.number > before {
            // The length is the same, but another file with no known `ETag`.
            std::fs::write(&path, noise(1_000_001, 2)).unwrap();
        }
        Fault::CutResponse { after: 500_000 }
    });
    let result = store.get(&key, 0..1_000_000).await;
    assert_eq!(kind(result), Some(StoreErrorKind::Corrupt));
}

#[tokio::test]
async fn a_flipped_bit_is_noticed_by_the_store() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, S3Deadlines::default()).await;
    // In a PUT of all, in a later part, and in the first part.
    for (length, flipped) in
        [(100_000, "PUT "), (2 * PART, "partNumber=2"), (2 * PART, "partNumber=1")]
    {
        let (key, bytes) = (new_key(), noise(length, 1));
        let mut flips = 0;
        proxy.plan(move |incoming| {
            let is_it = incoming.request.contains(flipped) && flips == 0;
            flips += u64::from(is_it);
            if is_it { Fault::FlipRequest { at: 50_000 } } else { Fault::None }
        });
        let before = proxy.accepted();
        put(&store, &key, &bytes, 417).await.unwrap();
        let calls = if length > PART { 5 } else { 1 };
        assert_eq!(proxy.accepted() - before, calls + 1, "{flipped}");
        assert_has(&store, &key, &bytes).await;
    }

    proxy.set(Fault::FlipRequest { at: 50_000 });
    for length in [100_000, 2 * PART] {
        let key = new_key();
        let result = put(&store, &key, &noise(length, 1), 417).await;
        // s3s-fs calls it an internal error.
        assert_eq!(kind(result), Some(StoreErrorKind::Unavailable));
        assert_invisible(&store, &key).await;
    }
}

#[tokio::test]
async fn a_lost_answer_is_no_second_object() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, S3Deadlines::default()).await;
    for lost in ["PUT ", "uploads", "partNumber=2", "partNumber=1"] {
        let length = if lost == "PUT " { 1_000 } else { 2 * PART };
        let (key, bytes) = (new_key(), noise(length, 1));
        let mut losses = 0;
        proxy.plan(move |incoming| {
            let is_it = incoming.request.contains(lost) && losses == 0;
            losses += u64::from(is_it);
            if is_it { Fault::LoseResponse } else { Fault::None }
        });
        put(&store, &key, &bytes, 417).await.expect(lost);
        assert_has(&store, &key, &bytes).await;
        let again = put(&store, &key, &noise(length, 2), 417).await;
        assert_eq!(kind(again), Some(StoreErrorKind::Exists), "{lost}");
        assert_has(&store, &key, &bytes).await;
    }
}

#[tokio::test]
async fn a_lost_end_of_an_upload_is_found_out() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, S3Deadlines::default()).await;
    let (key, bytes) = (new_key(), noise(2 * PART, 1));
    proxy.plan(|incoming| {
        let is_end = incoming.request.contains("POST") && incoming.request.contains("uploadId");
        if is_end { Fault::LoseResponse } else { Fault::None }
    });
    put(&store, &key, &bytes, 417).await.unwrap();
    assert_has(&store, &key, &bytes).await;

    let key = new_key();
    proxy.plan(|incoming| {
        let is_end = incoming.request.contains("POST") && incoming.request.contains("uploadId");
        if is_end { Fault::Reset } else { Fault::None }
    });
    let result = put(&store, &key, &bytes, 417).await;
    assert_eq!(kind(result), Some(StoreErrorKind::Unavailable));
    assert_invisible(&store, &key).await;
}

#[tokio::test]
async fn lost_answers_about_parts_are_made_good() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, S3Deadlines::default()).await;
    let flip = Fault::FlipRequest { at: 50_000 };
    for (fault, method, query) in [
        (Fault::LoseResponse, "POST", "uploads"),
        (Fault::LoseResponse, "PUT", "partNumber=1"),
        (Fault::LoseResponse, "PUT", "partNumber=2"),
        (Fault::LoseResponse, "POST", "uploadId"),
        (flip, "PUT", "partNumber=1"),
        (flip, "PUT", "partNumber=2"),
    ] {
        let (key, bytes) = (new_key(), noise(PART + 100_000, 1));
        let mut strikes = 0;
        proxy.plan(move |incoming| {
            let request = incoming.request;
            let is_it = request.contains(method) && request.contains(query) && strikes == 0;
            strikes += u64::from(is_it);
            if is_it { fault } else { Fault::None }
        });
        let before = proxy.accepted();
        let id = store.begin_parts(&key, "video/mp4").await.unwrap();
        let first = store.put_part(&key, &id, 1, bytes.slice(..PART)).await.unwrap();
        let second = store.put_part(&key, &id, 2, bytes.slice(PART..)).await.unwrap();
        store.finish_parts(&key, &id, &[first, second], bytes.len() as u64).await.unwrap();
        // Begin, two parts, finish, look; and one of them twice.
        assert_eq!(proxy.accepted() - before, 5 + 1, "{method} {query}");
        assert_has(&store, &key, &bytes).await;
    }
}

#[tokio::test]
async fn parts_that_were_finished_without_an_answer_are_finished_again() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, S3Deadlines::default()).await;
    for length in [0, 1_000] {
        let (key, bytes) = (new_key(), noise(length, 1));
        let id = store.begin_parts(&key, "video/mp4").await.unwrap();
        let mut parts = Vec::new();
        if length > 0 {
            parts.push(store.put_part(&key, &id, 1, bytes.clone()).await.unwrap());
        }
        proxy.plan(|incoming| {
            let is_look = incoming.request.starts_with("HEAD");
            if is_look { Fault::Reset } else { Fault::LoseResponse }
        });
        let result = store.finish_parts(&key, &id, &parts, length as u64).await;
        assert!(result.is_err(), "{length} bytes");
        proxy.set(Fault::None);
        store.finish_parts(&key, &id, &parts, length as u64).await.unwrap();
        assert_has(&store, &key, &bytes).await;
    }
}

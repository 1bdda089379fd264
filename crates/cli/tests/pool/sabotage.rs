//! The checker turns red when the product is broken on purpose: a checker that cannot fail proves
//! nothing.

use std::time::Duration;

use rustix::process::Signal;

use crate::arena::{Arena, LEASE, PATIENCE};
use crate::clips;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fence_jobs_end_twice() {
    let mut arena = Arena::new().await;
    arena.submit(1, &[clips::long(300)]).await;
    arena.sabotage = "unfenced";
    let zombie = arena.worker(&["--jobs", "1"]);
    arena.wait_for_log("attempt started", 1).await;
    zombie.signal(Signal::STOP);
    let _other = arena.worker(&["--jobs", "1"]);
    assert_eq!(arena.wait().await, 1, "{}", arena.log());
    zombie.signal(Signal::CONT);
    arena.wait_for_log("\"outcome\":\"finished\"", 2).await;
    // The second event is on its way to the recorder.
    let verdict = loop {
        let verdict = arena.check(2).await;
        if !verdict.violations.is_empty() {
            break verdict;
        }
    };
    assert!(verdict.violations[0].contains("ended 2 times"), "{:?}", verdict.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_before_it_is_stored_an_output_is_missing() {
    let mut arena = Arena::new().await;
    arena.submit(1, clips::all()).await;
    arena.sabotage = "acknowledge_first";
    let mut worker = arena.worker_with(&[], "store_finish=kill");
    worker.end(PATIENCE).await;
    let verdict = arena.check(1).await;
    assert!(
        verdict.violations.iter().any(|wrong| wrong.contains("differs: missing")),
        "{:?}",
        verdict.violations
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_trimmed_stream_jobs_are_lost() {
    let mut arena = Arena::new().await;
    arena.patience = LEASE * 2 + Duration::from_secs(5);
    arena.submit(6, clips::all()).await;
    let client = redis::Client::open(arena.redis.url()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let mut trim = redis::cmd("XTRIM");
    trim.arg("{tonemill}:jobs:normal").arg("MAXLEN").arg(4);
    trim.query_async::<()>(&mut direct).await.unwrap();
    let _worker = arena.worker(&[]);
    let verdict = arena.check(1).await;
    let lost = verdict.violations.iter().filter(|wrong| wrong.contains("ended 0 times"));
    assert_eq!(lost.count(), 2, "{:?}", verdict.violations);
}

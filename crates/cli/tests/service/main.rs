//! The service as its users and operators know it: the program, started as they start it, asked over
//! HTTP as they ask it, with real videos, a real Redis, S3 server and databases, and `kill -9`.
//!
//! `service` starts it whole, `separate` in parts; `client` and `events` speak to it; `jobs` is what every
//! test does with a job. The quick tier runs small versions; with `TONEMILL_CHAOS=1` they run at full
//! size. `TONEMILL_SEED` repeats a run as far as chance is ours.

#[allow(dead_code, reason = "the tests of the pool use the rest")]
#[path = "../pool/clips.rs"]
mod clips;
#[path = "../support/mod.rs"]
mod support;

mod client;
mod events;
mod jobs;
mod ledger;
mod process;
mod separate;
mod service;

mod auth;
mod crash;
mod crowd;
mod deaths;
mod fairness;
mod forgery;
mod keys;
mod life;
mod limits;
mod modes;
mod names;
mod output;
mod resumable;
mod stalls;
mod steps;
mod strangers;
mod uploads;
mod ways;

use std::time::{Duration, Instant};

/// Within this everything happens that is to happen.
const PATIENCE: Duration = Duration::from_mins(1);

/// The full number, or the small one in the quick tier.
fn size(full: usize, quick: usize) -> usize {
    if std::env::var_os("TONEMILL_CHAOS").is_some() { full } else { quick }
}

/// Chance for one test, and the seed that repeats it.
fn seeded() -> (fastrand::Rng, u64) {
    let given = std::env::var("TONEMILL_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..1 << 32), |seed| seed.parse().expect("a seed"));
    (fastrand::Rng::with_seed(seed), seed)
}

/// Asks until there is an answer, for as long as patience lasts.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        pause(what, start).await;
    }
}

/// A moment between two tries, if patience that began then lasts.
async fn pause(what: &str, start: Instant) {
    assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
    tokio::time::sleep(Duration::from_millis(10)).await;
}

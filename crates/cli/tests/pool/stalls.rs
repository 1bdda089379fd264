//! A store that stalls, or stays away for long.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tonemill_testbed::fault_proxy::{Fault, FaultProxy};

use crate::arena::{Arena, PATIENCE};
use crate::clips;
use crate::storms::arena_behind_proxy;
use crate::support::daemon::Daemon;
use crate::{report, size};

/// How long a call may hold a job up: the store's own limits for a range, and for any other call.
const RANGE: Duration = Duration::from_secs(30);
const CALL: Duration = Duration::from_mins(1);

/// Fault test 12: a store that accepts and then says nothing, or hardly anything, or half of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_stalls() {
    let trickle = Fault::Trickle { pause: Duration::from_secs(1) };
    for fault in [Fault::BlackHole, trickle, Fault::CutResponse { after: 9000 }] {
        let (mut arena, proxy) = arena_behind_proxy().await;
        let mut worker = arena.worker(&["--jobs", "2"]);
        // A worker tries the store out before its first job; then it is trusted.
        arena.submit(1, clips::all()).await;
        assert_eq!(arena.wait().await, 1, "{}", arena.log());
        proxy.set(fault);
        arena.submit(3, clips::all()).await;
        arena.wait_for_log("attempt started", 3).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.set(Fault::None);
        assert_eq!(arena.wait().await, 4, "{fault:?}:\n{}", arena.log());
        arena.check(1).await.assert_sound(&arena);
        worker.drain_worker().await;
        assert_eq!(proxy.open(), 0, "{fault:?}");
    }
}

/// Fault test 12, when nobody lifts the fault: each kind of call gives up in time, and leaves
/// nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "waits a minute for the limits of the store: make chaos"]
async fn what_stalls_frees_its_slot() {
    let trickle = Fault::Trickle { pause: Duration::from_secs(1) };
    let mut running = JoinSet::new();
    for (method, limit) in [("HEAD", CALL), ("GET", RANGE), ("PUT", CALL)] {
        for fault in [Fault::BlackHole, trickle] {
            running.spawn(stall(method, fault, limit));
        }
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

async fn stall(method: &'static str, fault: Fault, limit: Duration) {
    let (mut arena, proxy) = arena_behind_proxy().await;
    let mut worker = arena.worker(&["--jobs", "2"]);
    // What a worker opens once is open.
    arena.submit(4, clips::all()).await;
    arena.wait().await;
    let before = idle(&worker, &proxy).await;
    let plan = move |incoming: tonemill_testbed::fault_proxy::Incoming<'_>| {
        if incoming.request.starts_with(method) { fault } else { Fault::None }
    };
    proxy.plan(plan);
    let jobs = arena.submit(2, clips::all()).await;
    arena.wait_for_log("attempt failed", 2).await;
    proxy.set(Fault::None);
    assert_eq!(arena.wait().await, 6, "{}", arena.log());
    arena.check(1).await.assert_sound(&arena);
    let held = {
        let book = arena.recorder.book();
        let records = jobs.iter().map(|job| &book.jobs[job]);
        records.map(|record| record.retries[0].0 - record.started_ms[0]).max().unwrap()
    };
    let held = Duration::from_millis(held);
    assert!(held <= limit + Duration::from_secs(5), "{method} {fault:?}: held for {held:?}");
    // Threads that have nothing to do are kept for a while.
    let end = Instant::now() + PATIENCE;
    let mut after = idle(&worker, &proxy).await;
    while after.0 > before.0 || after.1 > before.1 {
        assert!(Instant::now() < end, "{method} {fault:?}: {before:?} became {after:?}");
        after = idle(&worker, &proxy).await;
    }
    worker.drain_worker().await;
    let (held, limit) = (held.as_secs_f64(), limit.as_secs());
    let (fds, threads) = after;
    report(
        12,
        &format!(
            "{method} {fault:?}: slot freed after {held:.1} s of {limit}, \
             {fds} descriptors ({} before), {threads} threads ({} before)",
            before.0, before.1
        ),
    );
}

/// Descriptors and threads of a worker that has no connection to the store.
async fn idle(worker: &Daemon, proxy: &FaultProxy) -> (usize, usize) {
    let end = Instant::now() + PATIENCE;
    while proxy.open() > 0 {
        assert!(Instant::now() < end, "a connection stays open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    worker.handles()
}

/// While the store is away no job is taken: whoever ran fails once and waits, like all the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_stays_away() {
    let (mut arena, proxy) = arena_behind_proxy().await;
    let jobs = size(200, 20);
    let mut worker = arena.worker(&["--jobs", "4"]);
    arena.submit(1, clips::all()).await;
    assert_eq!(arena.wait().await, 1, "{}", arena.log());
    proxy.set(Fault::Reset);
    arena.submit(jobs, clips::all()).await;
    arena.wait_for_log("no jobs are taken while the store is away", size(12, 3)).await;
    let book_of_failures = |arena: &Arena| {
        let book = arena.recorder.book();
        book.jobs.values().map(|job| job.retries.len()).max()
    };
    assert_eq!(book_of_failures(&arena), Some(1), "{}", arena.log());
    proxy.set(Fault::None);
    assert_eq!(arena.wait().await, jobs + 1, "{}", arena.log());
    let verdict = arena.check(1).await;
    verdict.assert_sound(&arena);
    let extra = verdict.extra_attempts;
    assert!((1..=4).contains(&extra), "{extra}:\n{}", arena.log());
    worker.drain_worker().await;
}

//! Jobs that bring down whoever decodes them, do not end, or want too much.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonemill_job::JobId;
use tonemill_job::message::{FailureKind, History};

use crate::arena::Arena;
use crate::clips::{self, Clip};
use crate::recorder::End;
use crate::{report, size};

/// A clip that the others' faults do not mean: told by its length, which no other has.
fn poison() -> Arc<Clip> {
    let mut bytes = clips::all()[0].bytes.clone();
    // A box that everybody skips.
    bytes.extend_from_slice(b"\0\0\0\x20free");
    bytes.write_all(&[0; 24]).unwrap();
    Clip::junk("poison", bytes)
}

async fn arena_with_poison(others: usize) -> (Arena, JobId, usize) {
    let mut arena = Arena::new().await;
    let poison = poison();
    let bytes = poison.bytes.len();
    arena.submit(others / 2, clips::all()).await;
    let job = arena.submit(1, &[poison]).await[0];
    arena.submit(others - others / 2, clips::all()).await;
    (arena, job, bytes)
}

/// The poisoned job is in quarantine, for its own crashes alone.
fn assert_quarantined(arena: &Arena, job: JobId) {
    let book = arena.recorder.book();
    let End::Failed(failure) = &book.jobs[&job].ends[0] else { panic!("it did not fail") };
    assert_eq!(failure.kind, FailureKind::Crash, "{failure:?}");
    for (id, record) in &book.jobs {
        let failed = record.ends.iter().any(|end| matches!(end, End::Failed(_)));
        assert!(*id == job || !failed, "an innocent job was blamed: {record:?}");
    }
}

/// Fault test 18.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_that_crashes_the_decoder_among_many() {
    for fault in ["segv", "abort"] {
        let others = size(200, 12);
        let (mut arena, job, bytes) = arena_with_poison(others).await;
        let faults = format!("fetch={fault}@bytes:{bytes};decode={fault}@bytes:{bytes}");
        let mut worker = arena.worker_with(&[], &faults);
        let mut crashes = 0;
        let started = Instant::now();
        // Whoever starts pods starts them again.
        while arena.recorder.wait_for_ends(others + 1, Duration::from_millis(100)).await <= others {
            if worker.ended().is_some() {
                crashes += 1;
                worker = arena.worker_with(&[], &faults);
            }
            assert!(started.elapsed() < Duration::from_mins(4), "{}", arena.log());
        }
        assert!(crashes <= 3, "{crashes} crashes of workers");
        let verdict = arena.check_with(1, &[job]).await;
        verdict.assert_sound(&arena);
        assert_quarantined(&arena, job);
        worker.drain_worker().await;
        let extra = verdict.extra_attempts;
        report(18, &format!("{fault}: {others} done, {crashes} crashes, {extra} extra attempts"));
    }
}

/// Fault test 19.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_that_never_ends_among_many() {
    let others = size(50, 8);
    let (mut arena, job, bytes) = arena_with_poison(others).await;
    let faults = format!("fetch=spin@bytes:{bytes};decode=spin@bytes:{bytes}");
    let mut worker = arena.worker_with(&["--stall", "2"], &faults);
    assert_eq!(arena.wait().await, others + 1, "{}", arena.log());
    let verdict = arena.check_with(1, &[job]).await;
    verdict.assert_sound(&arena);
    assert_quarantined(&arena, job);
    // It started itself again instead of ending.
    assert!(worker.ended().is_none());
    worker.drain_worker().await;
    let book = arena.recorder.book();
    let record = &book.jobs[&job];
    // The first attempt is watched by the worker, those alone by whoever started the process.
    let mut failed: Vec<u64> = record.retries.iter().map(|(at_ms, _)| *at_ms).collect();
    failed.push(record.ended_ms);
    let took = record.started_ms.iter().zip(&failed).map(|(start, end)| end - start).max().unwrap();
    assert!(took <= 2_000 + 5_000, "an attempt was let spin for {took} ms");
    let extra = verdict.extra_attempts;
    report(19, &format!("{others} done, {extra} extra attempts, longest spin {took} ms of 2000"));
}

/// `--once` ends when nothing waits, not when something hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_that_never_ends_does_not_end_once_early() {
    let (mut arena, job, bytes) = arena_with_poison(6).await;
    let faults = format!("fetch=spin@bytes:{bytes};decode=spin@bytes:{bytes}");
    let mut worker = arena.worker_with(&["--stall", "1", "--once"], &faults);
    assert!(worker.end(crate::arena::PATIENCE).await.success(), "{}", arena.log());
    arena.check_with(0, &[job]).await.assert_sound(&arena);
    assert_quarantined(&arena, job);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_converted_is_told_at_once_and_in_full() {
    let mut arena = Arena::new().await;
    let text = b"no media at all, just words".repeat(100);
    let cut = clips::all()[0].bytes[..4000].to_vec();
    let jobs = arena.submit(2, &[Clip::junk("text", text), Clip::junk("cut", cut)]).await;
    let gone = arena.upload(&clips::all()[0]).await;
    arena.store.delete(&gone.input).await.unwrap();
    arena.queue.enqueue(std::slice::from_ref(&gone)).await.unwrap();
    arena.jobs.insert(gone.job, Arc::clone(&clips::all()[0]));
    let mut worker = arena.worker(&["--once"]);
    assert!(worker.end(crate::arena::PATIENCE).await.success());
    let verdict = arena.check_with(0, &[jobs[0], jobs[1], gone.job]).await;
    verdict.assert_sound(&arena);
    for job in [jobs[0], jobs[1], gone.job] {
        let record = arena.recorder.book().jobs[&job].clone();
        let End::Failed(failure) = &record.ends[0] else { panic!("{record:?}") };
        assert_eq!(failure.kind, FailureKind::BadInput, "{failure:?}");
        assert_eq!(record.attempts, 1);
        assert!(!failure.chain.is_empty() && !failure.advice.is_empty(), "{failure:?}");
    }
}

/// Nobody can say of such a file that it ends whole machines; a job that was tried often before,
/// and is tried again because somebody wants it, is not one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_lives_to_tell_of_is_given_up() {
    let mut arena = Arena::new().await;
    // One that was replayed, and one whose 24 attempts its queue has forgotten, and the ledger not.
    let mut others = Vec::new();
    for (attempts, forgiven) in [(100, 100), (24, 0)] {
        let mut message = arena.upload(&clips::all()[0]).await;
        message.history = History { attempts, forgiven, ..History::default() };
        arena.jobs.insert(message.job, Arc::clone(&clips::all()[0]));
        others.push(message);
    }
    let client = redis::Client::open(arena.redis.url()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let mut expected = HashMap::from([(others[0].job, true), (others[1].job, false)]);
    let jobs = arena.submit(2, clips::all()).await;
    for _ in &jobs {
        arena.queue.receive(crate::arena::PATIENCE).await.unwrap().expect("a job");
    }
    let mut pending = redis::cmd("XPENDING");
    pending.arg("{tonemill}:jobs:normal").arg("workers").arg("-").arg("+").arg(2);
    let entries: Vec<(String, String, u64, u64)> = pending.query_async(&mut direct).await.unwrap();
    for ((job, (entry, dead, ..)), deaths) in jobs.into_iter().zip(entries).zip([23, 24]) {
        let mut die = redis::cmd("XCLAIM");
        die.arg("{tonemill}:jobs:normal").arg("workers").arg(dead).arg(0).arg(entry);
        die.arg("IDLE").arg(3_600_000).arg("RETRYCOUNT").arg(deaths).arg("JUSTID");
        die.query_async::<redis::Value>(&mut direct).await.unwrap();
        expected.insert(job, deaths < 24);
    }
    arena.queue.enqueue(&others).await.unwrap();
    let mut worker = arena.worker(&[]);
    assert_eq!(arena.recorder.wait_for_ends(4, arena.patience).await, 4, "{}", arena.log());
    for (job, is_done) in expected {
        let record = arena.recorder.book().jobs[&job].clone();
        match &record.ends[0] {
            End::Finished(_) => assert!(is_done, "{record:?}"),
            End::Failed(failure) => {
                assert!(!is_done && failure.kind == FailureKind::Crash, "{record:?}");
                assert!(failure.message.contains("24 times"), "{failure:?}");
            }
            End::Cancelled => panic!("nobody asked for that: {record:?}"),
        }
    }
    worker.drain_worker().await;
}

/// A wish to cancel reaches queued and running jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_jobs_end_within_two_seconds() {
    let mut arena = Arena::new().await;
    let running = arena.submit(1, &[clips::long(600)]).await[0];
    let mut worker = arena.worker(&["--jobs", "1"]);
    arena.wait_for_log("attempt started", 1).await;
    let waiting = arena.submit(1, clips::all()).await[0];
    arena.queue.cancel(waiting).await.unwrap();
    arena.queue.cancel(running).await.unwrap();
    let asked = Instant::now();
    assert_eq!(arena.wait().await, 2, "{}", arena.log());
    let took = asked.elapsed();
    let verdict = arena.check_with(1, &[running, waiting]).await;
    verdict.assert_sound(&arena);
    assert!(took < Duration::from_secs(2), "{took:?}");
    for job in [running, waiting] {
        let record = arena.recorder.book().jobs[&job].clone();
        assert!(matches!(record.ends[0], End::Cancelled), "{record:?}");
    }
    worker.drain_worker().await;
}

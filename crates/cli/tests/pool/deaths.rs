//! Workers that are killed, told to end, or paused; at any time and at every step.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::arena::{Arena, LEASE, PATIENCE, Worker};
use crate::clips;
use crate::recorder::End;
use crate::size;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undisturbed_run_starts_each_job_once() {
    let mut arena = Arena::new().await;
    let jobs = size(100, 20);
    arena.submit(jobs, clips::all()).await;
    let mut worker = arena.worker(&[]);
    assert_eq!(arena.wait().await, jobs, "{}", arena.log());
    let verdict = arena.check(1).await;
    verdict.assert_sound(&arena);
    assert_eq!((verdict.extra_attempts, verdict.swept), (0, 0));
    worker.drain().await;
    arena.check(0).await.assert_sound(&arena);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_ends_when_nothing_waits() {
    let mut arena = Arena::new().await;
    arena.submit(3, clips::all()).await;
    let mut worker = arena.worker(&["--once"]);
    assert!(worker.end(PATIENCE).await.success(), "{}", arena.log());
    arena.check(0).await.assert_sound(&arena);
    let mut idle = arena.worker(&["--once"]);
    assert!(idle.end(PATIENCE).await.success(), "{}", arena.log());
}

/// Fault test 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random() {
    let mut arena = Arena::new().await;
    let jobs = size(500, 40);
    arena.submit(jobs, clips::all()).await;
    let mut workers: Vec<Worker> = (0..3).map(|_| arena.worker(&["--jobs", "2"])).collect();
    let pace = if size(1, 0) == 1 { Duration::from_secs(5) } else { Duration::from_millis(700) };
    let started = Instant::now();
    let mut kills = 0;
    while arena.recorder.wait_for_ends(jobs, pace).await < jobs {
        assert!(started.elapsed() < PATIENCE * 3, "{}", arena.log());
        // In the quick tier a few deaths are enough; the rest is to end.
        if size(1, 0) == 1 || kills < 3 {
            let victim = fastrand::usize(..workers.len());
            workers[victim].kill();
            workers[victim] = arena.worker(&["--jobs", "2"]);
            kills += 1;
        }
    }
    assert!(kills > 0, "nobody was killed");
    let verdict = arena.check(3).await;
    verdict.assert_sound(&arena);
    println!("{jobs} jobs, {kills} kills: {} extra attempts", verdict.extra_attempts);
    // Every extra attempt is the work of a death: two jobs at most each.
    assert!(verdict.extra_attempts <= kills * 2, "{} {kills}", verdict.extra_attempts);
}

/// Fault test 2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolled_over_one_by_one() {
    let mut arena = Arena::new().await;
    let jobs = size(300, 30);
    let mut clips = clips::all().to_vec();
    clips.push(clips::long(120));
    arena.submit(jobs, &clips).await;
    let mut workers: Vec<Worker> = (0..2).map(|_| arena.worker(&["--jobs", "2"])).collect();
    let pace = if size(1, 0) == 1 { Duration::from_secs(20) } else { Duration::from_millis(600) };
    let mut rolls = 0;
    while arena.recorder.wait_for_ends(jobs, pace).await < jobs && rolls < size(1000, 4) {
        let next = rolls % workers.len();
        workers[next].drain().await;
        workers[next] = arena.worker(&["--jobs", "2"]);
        rolls += 1;
    }
    assert_eq!(arena.wait().await, jobs, "{}", arena.log());
    let verdict = arena.check(2).await;
    verdict.assert_sound(&arena);
    let attempts = arena.recorder.book().jobs.values().map(|job| job.attempts).max();
    assert_eq!(attempts, Some(1), "an attempt was used up:\n{}", arena.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_and_a_sigint_end_at_once_and_lose_nothing() {
    for signals in [&[Signal::TERM, Signal::TERM][..], &[Signal::INT]] {
        let mut arena = Arena::new().await;
        let ids = arena.submit(2, &[clips::long(600)]).await;
        let mut worker = arena.worker(&["--jobs", "2"]);
        arena.wait_for_log("attempt started", ids.len()).await;
        let asked = Instant::now();
        for signal in signals {
            worker.signal(*signal);
            if signals.len() > 1 && *signal == signals[0] && asked.elapsed() < LEASE {
                // Two signals at the same time are one.
                arena.wait_for_log("SIGTERM", 1).await;
            }
        }
        assert!(worker.end(PATIENCE).await.success(), "{}", worker.log());
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(8), "{took:?}:\n{}", worker.log());
        let mut heir = arena.worker(&["--once"]);
        assert!(heir.end(PATIENCE).await.success());
        arena.check(0).await.assert_sound(&arena);
        let attempts = arena.recorder.book().jobs.values().map(|job| job.attempts).max();
        assert_eq!(attempts, Some(1), "an attempt was used up:\n{}", arena.log());
    }
}

/// Fault test 3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_for_three_leases() {
    let rounds = size(50, 2);
    let mut arena = Arena::new().await;
    for round in 0..rounds {
        arena.submit(1, &[clips::long(300)]).await;
        let mut zombie = arena.worker(&["--jobs", "1"]);
        arena.wait_for_log("attempt started", round * 2 + 1).await;
        zombie.signal(Signal::STOP);
        let mut other = arena.worker(&["--jobs", "1"]);
        tokio::time::sleep(LEASE * 3).await;
        assert_eq!(arena.wait().await, round + 1);
        zombie.signal(Signal::CONT);
        arena.wait_for_log("another worker has the job", round + 1).await;
        zombie.drain().await;
        other.drain().await;
    }
    let verdict = arena.check(0).await;
    verdict.assert_sound(&arena);
    assert_eq!(verdict.extra_attempts as usize, rounds);
}

/// Fault test 10: killed at each step, and what follows is as if it had not been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step() {
    let steps = ["received", "fetch", "store", "store_finish", "settle", "settled"];
    for step in steps {
        for round in 0..size(50, 1) {
            let mut arena = Arena::new().await;
            arena.submit(3, clips::all()).await;
            let nth = if step == "fetch" { round * 7 + 2 } else { 1 };
            let mut victim = arena.worker_with(&["--jobs", "2"], &format!("{step}=kill@nth:{nth}"));
            victim.end(PATIENCE).await;
            let mut heir = arena.worker(&[]);
            assert_eq!(arena.wait().await, 3, "{step}:\n{}", arena.log());
            let verdict = arena.check(1).await;
            verdict.assert_sound(&arena);
            heir.drain().await;
            let failed = |end: &End| !matches!(end, End::Finished(_));
            let book = arena.recorder.book();
            assert!(!book.jobs.values().any(|job| job.ends.iter().any(failed)), "{step}");
        }
    }
}

//! Workers that are killed, told to end, or paused; at any time and at every step.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::arena::{Arena, LEASE, PATIENCE};
use crate::clips;
use crate::support::daemon::Daemon;
use crate::{is_full, report, seeded, size};

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
    worker.drain_worker().await;
    arena.check(0).await.assert_sound(&arena);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_ends_when_nothing_waits() {
    let mut arena = Arena::new().await;
    arena.submit(3, clips::all()).await;
    let mut worker = arena.worker(&["--once"]);
    assert!(worker.end(PATIENCE).await.success(), "{}", arena.log());
    arena.check(0).await.assert_sound(&arena);
    // Nothing is to be done, so it does not matter what is away.
    for endpoint in [None, Some("http://127.0.0.1:1".to_owned())] {
        arena.s3_endpoint = endpoint;
        let mut idle = arena.worker(&["--once"]);
        assert!(idle.end(PATIENCE).await.success(), "{}", arena.log());
    }
}

/// A worker that cannot write, or may not, takes no job and uses up no attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_a_wrong_secret_does_no_harm() {
    let mut arena = Arena::new().await;
    arena.submit(4, clips::all()).await;
    let secret = std::mem::replace(&mut arena.s3.secret_access_key, "wrong".to_owned());
    let mut wrong = arena.worker(&[]);
    arena.wait_for_log("no jobs are taken", 2).await;
    arena.s3.secret_access_key = secret;
    let mut right = arena.worker(&[]);
    assert_eq!(arena.wait().await, 4, "{}", arena.log());
    let verdict = arena.check(2).await;
    verdict.assert_sound(&arena);
    assert_eq!(verdict.extra_attempts, 0);
    wrong.drain_worker().await;
    right.drain_worker().await;
}

/// Nothing that was accepted is lost because nobody reads the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_ends_no_worker() {
    let mut arena = Arena::new().await;
    arena.submit(4, clips::all()).await;
    let mut command = arena.command("worker");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    command.arg("--once").stdout(Stdio::null()).stderr(full);
    let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap();
    assert!(status.unwrap().success());
    arena.check(0).await.assert_sound(&arena);
}

/// Fault test 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random() {
    let mut arena = Arena::new().await;
    let (mut random, seed) = seeded();
    let jobs = size(500, 40);
    arena.submit(jobs, &clips::mixed()).await;
    let mut workers: Vec<Daemon> = (0..3).map(|_| arena.worker(&["--jobs", "2"])).collect();
    let pace = if is_full() { Duration::from_secs(5) } else { Duration::from_millis(700) };
    let started = Instant::now();
    let mut kills = 0;
    while arena.recorder.wait_for_ends(jobs, pace).await < jobs {
        assert!(started.elapsed() < PATIENCE * 5, "{}", arena.log());
        // In the quick tier a few deaths are enough; the rest is to end.
        if is_full() || kills < 3 {
            let victim = random.usize(..workers.len());
            workers[victim].kill();
            workers[victim] = arena.worker(&["--jobs", "2"]);
            kills += 1;
        }
    }
    assert!(kills > 0, "nobody was killed");
    let verdict = arena.check(3).await;
    verdict.assert_sound(&arena);
    let extra = verdict.extra_attempts;
    // Every extra attempt is the work of a death: two jobs at most each.
    assert!(extra <= kills * 2, "{extra} {kills}");
    report(1, &format!("seed {seed}: {jobs} jobs, {kills} kills, {extra} extra attempts, 0 lost"));
}

/// Fault test 2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolled_over_one_by_one() {
    let mut arena = Arena::new().await;
    let jobs = size(300, 30);
    let mut clips = clips::mixed();
    clips.push(clips::long(300));
    arena.submit(jobs, &clips).await;
    let mut workers: Vec<Daemon> = (0..2).map(|_| arena.worker(&["--jobs", "2"])).collect();
    let pace = if is_full() { Duration::from_secs(20) } else { Duration::from_millis(600) };
    let (mut rolls, mut longest) = (0, Duration::ZERO);
    while arena.recorder.wait_for_ends(jobs, pace).await < jobs && rolls < size(1000, 4) {
        let next = rolls % workers.len();
        longest = longest.max(workers[next].drain_worker().await);
        workers[next] = arena.worker(&["--jobs", "2"]);
        rolls += 1;
    }
    assert_eq!(arena.wait().await, jobs, "{}", arena.log());
    assert!(rolls > 0, "nobody was rolled over");
    let verdict = arena.check(2).await;
    verdict.assert_sound(&arena);
    let attempts = arena.recorder.book().jobs.values().map(|job| job.attempts).max();
    assert_eq!(attempts, Some(1), "an attempt was used up:\n{}", arena.log());
    let longest = longest.as_secs_f64();
    report(
        2,
        &format!("{jobs} jobs, {rolls} SIGTERMs, longest exit {longest:.1} s, 0 attempts used"),
    );
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
    let (rounds, at_once) = (size(5, 1), size(10, 2));
    let mut arena = Arena::new().await;
    arena.patience = PATIENCE * 2;
    let clip = clips::long(300);
    let mut rejected = 0;
    for _ in 0..rounds {
        let jobs = arena.jobs.len() + at_once;
        arena.submit(at_once, &[Arc::clone(&clip)]).await;
        let mut zombies: Vec<_> = (0..at_once).map(|_| arena.worker(&["--jobs", "1"])).collect();
        // What a zombie had before this round was done by somebody else.
        arena.wait_for_log("attempt started", rejected * 2 + at_once).await;
        for zombie in &zombies {
            zombie.signal(Signal::STOP);
        }
        let paused = Instant::now();
        let mut other = arena.worker(&[]);
        assert_eq!(arena.wait().await, jobs, "{}", arena.log());
        tokio::time::sleep((LEASE * 3).saturating_sub(paused.elapsed())).await;
        for zombie in &zombies {
            zombie.signal(Signal::CONT);
        }
        rejected += at_once;
        arena.wait_for_log("another worker has the job", rejected).await;
        for zombie in &mut zombies {
            zombie.drain_worker().await;
        }
        other.drain_worker().await;
    }
    let verdict = arena.check(0).await;
    verdict.assert_sound(&arena);
    assert_eq!(verdict.extra_attempts as usize, rejected);
    report(3, &format!("{rejected} of {} commits of zombies rejected", rounds * at_once));
}

/// Fault test 10: killed at each step, and what follows is as if it had not been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step() {
    let steps = ["received", "fetch", "store", "store_finish", "settle", "settled"];
    let (random, seed) = seeded();
    let rounds = size(50, 1);
    let mut running = JoinSet::new();
    for step in steps {
        let mut random = random.clone();
        running.spawn(async move {
            for _ in 0..rounds {
                // A clip is read in one range and a few reads, and written in one or two segments.
                let nth = if step == "fetch" { random.usize(1..20) } else { random.usize(1..3) };
                kill_at(step, nth).await;
            }
        });
        if !is_full() {
            running.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    report(10, &format!("seed {seed}: {rounds} kills at each of {}", steps.join(", ")));
}

/// A worker that dies when it comes by `step` for the `nth` time, and another.
async fn kill_at(step: &str, nth: usize) {
    let mut arena = Arena::new().await;
    arena.submit(5, clips::all()).await;
    let mut victim = arena.worker_with(&["--jobs", "2"], &format!("{step}=kill@nth:{nth}"));
    let status = victim.end(PATIENCE).await;
    assert_eq!(status.signal(), Some(9), "{step}, {nth}: it was not killed");
    let mut heir = arena.worker(&[]);
    assert_eq!(arena.wait().await, 5, "{step}, {nth}:\n{}", arena.log());
    arena.check(1).await.assert_sound(&arena);
    heir.drain_worker().await;
}

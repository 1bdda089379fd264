//! Workers that are killed, at any time and at every step.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use crate::checker::Verdict;
use crate::clips;
use crate::system::{LEASE, System};
use crate::{PATIENCE, report, seeded, size};

/// Fault test 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_killed_at_random() {
    let mut system = System::start(None).await;
    let (mut random, seed) = seeded();
    let jobs = size(500, 30);
    system.submit(jobs, &clips::mixed()).await;
    (0..3).for_each(|_| system.parts.add_worker(&[]));
    let pace = Duration::from_millis(size(5000, 500) as u64);
    let (started, mut kills) = (Instant::now(), 0);
    system.wait_until_running(1).await;
    // In the quick tier a few deaths are enough; the rest is to end.
    while kills < size(usize::MAX, 3) && system.ended().await < jobs {
        assert!(started.elapsed() < PATIENCE * 30, "{}", system.parts.log());
        system.parts.replace_worker(random.usize(..3));
        kills += 1;
        // How often somebody dies is what is chosen here, not what has to be waited for.
        tokio::time::sleep(pace).await;
    }
    assert!(kills > 0, "nobody was killed");
    system.wait().await;
    let took = started.elapsed().as_secs_f64();
    let mut verdict = system.check(LEASE * 4).await;
    let swept = system.sweep(&mut verdict).await;
    let extra = verdict.assert_sound(&system).extra_attempts;
    // Every extra attempt is the work of a death: two jobs at most each.
    assert!(extra <= kills * 2, "{extra} {kills}");
    let figures = format!("{jobs} jobs, {kills} kills in {took:.1} s, {extra} extra attempts");
    report(1, &format!("seed {seed}: {figures}, {swept} leftovers swept, 0 given up"));
    system.end().await;
}

/// Fault test 10: whatever a worker was about to do when it died, what follows is as if it had
/// lived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_killed_at_every_step() {
    let steps = ["received", "fetch", "store", "store_finish", "settle", "settled"];
    let (mut random, seed) = seeded();
    let rounds = size(50, 1);
    let mut system = System::start(None).await;
    let mut verdict = Verdict::default();
    for _ in 0..rounds {
        // A clip is read in one range and a few reads, and written in one or two segments.
        let faults = steps.map(|step| {
            let nth = if step == "fetch" { random.usize(1..20) } else { random.usize(1..3) };
            format!("{step}=kill@nth:{nth}")
        });
        system.submit(2 * steps.len(), clips::all()).await;
        for faults in &faults {
            system.parts.add_worker(&[("TONEMILL_FAULTS", faults)]);
        }
        let started = Instant::now();
        while !system.parts.workers.is_empty() {
            assert!(started.elapsed() < PATIENCE * 2, "{faults:?}:\n{}", system.parts.log());
            // Somebody else may have taken what one of them would have died of.
            if system.depth().await.lanes[1].waiting == 0 {
                system.submit(2, clips::all()).await;
            }
            for mut worker in std::mem::take(&mut system.parts.workers) {
                match worker.ended() {
                    Some(status) => assert_eq!(status.signal(), Some(9), "{faults:?}"),
                    None => system.parts.workers.push(worker),
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        system.parts.add_worker(&[]);
        system.wait().await;
        verdict = system.check(LEASE * 4).await.assert_sound(&system);
        for mut heir in std::mem::take(&mut system.parts.workers) {
            heir.drain().await;
        }
    }
    let swept = system.sweep(&mut verdict).await;
    let extra = verdict.assert_sound(&system).extra_attempts;
    let (jobs, steps) = (system.jobs.len(), steps.join(", "));
    let figures = format!("{jobs} jobs, {extra} extra attempts, {swept} leftovers swept");
    report(10, &format!("seed {seed}: {rounds} kills at each of {steps}; {figures}"));
    system.end().await;
}

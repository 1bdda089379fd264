//! Redis that is killed and comes back, and a store that refuses.

use std::time::{Duration, Instant};

use tonemill_testbed::fault_proxy::{Fault, FaultProxy, some};

use crate::clips;
use crate::system::{LEASE, System};
use crate::{is_full, report, seeded, size};

/// Fault test 4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_comes_back() {
    let (rounds, batch) = (size(10, 2), size(20, 8));
    let mut system = System::start(None).await;
    system.parts.add_worker(&[]);
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        system.submit(batch, clips::all()).await;
        // Is under way when Redis goes.
        system.submit(1, &[clips::long(60)]).await;
        system.wait_until_running(1).await;
        system.parts.redis.kill();
        let away = Instant::now();
        // The ledger has room for what Redis cannot hear of.
        system.submit(2, clips::all()).await;
        tokio::time::sleep((LEASE * 2).saturating_sub(away.elapsed())).await;
        let ended = system.ended().await;
        assert!(ended < system.jobs.len(), "nothing was left to do");
        system.parts.redis.restart();
        longest = longest.max(system.wait_for_more_than(ended).await);
        system.wait().await;
    }
    let mut verdict = system.check(LEASE * 4).await;
    let swept = system.sweep(&mut verdict).await;
    let extra = verdict.assert_sound(&system).extra_attempts;
    assert!(longest < Duration::from_secs(10), "{longest:?}:\n{}", system.parts.log());
    // Nobody died who had a job, so nothing had to be done again.
    assert_eq!(extra, 0, "{}", system.parts.log());
    let (jobs, longest) = (system.jobs.len(), longest.as_secs_f64());
    let figures = format!("{jobs} jobs, back within {longest:.1} s, {extra} redelivered");
    report(4, &format!("{rounds} kills, {figures}, {swept} leftovers swept"));
    system.end().await;
}

/// Fault test 11: refused are APIs as well as workers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_refuses_three_calls_in_ten() {
    let jobs = size(500, 24);
    let (_, seed) = seeded();
    let (mut took, mut extra) = (Vec::new(), 0);
    for percent in [0, 30] {
        let mut system = System::unstarted(None).await;
        let proxy = FaultProxy::http(&system.parts.s3.endpoint).await;
        system.parts.variables.push(("TONEMILL_S3_ENDPOINT", proxy.endpoint()));
        system.parts.add_api(&[]);
        system.parts.add_worker(&[]);
        system.log_in().await;
        proxy.plan(some(percent, Fault::Refuse, seed));
        let started = Instant::now();
        system.submit(jobs, clips::all()).await;
        system.wait().await;
        took.push(started.elapsed());
        proxy.set(Fault::None);
        let mut verdict = system.check(LEASE * 4).await;
        system.sweep(&mut verdict).await;
        extra = verdict.assert_sound(&system).extra_attempts;
        system.end().await;
    }
    // Seven tries of a call all fail once in 5,000 calls; 500 jobs make 1,500.
    assert!(extra <= 4, "{extra} extra attempts");
    let times = took[1].as_secs_f64() / took[0].as_secs_f64();
    let figures = format!("{jobs} jobs done, {extra} extra attempts, {times:.2} times as long");
    report(11, &format!("seed {seed}: {figures}"));
    assert!(!is_full() || times <= 2.0, "{took:?}");
}

//! A Redis that comes back with what it knew two seconds ago, or with nothing at all: the ledger
//! reminds it.

use std::time::{Duration, Instant};

use crate::clips;
use crate::system::{LEASE, System};
use crate::{at_once, report, size};

/// How soon all is done again.
const RECONCILED: Duration = Duration::from_mins(1);
/// How many lines of its logs a process may complain that its groups are gone.
const COMPLAINTS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Memory {
    /// An append-only file of two seconds ago.
    Old,
    None,
}

/// Fault test 5.
#[test]
fn redis_comes_back_with_less_than_it_had() {
    at_once([Memory::Old, Memory::None].map(|memory| move || forget(memory)));
}

async fn forget(memory: Memory) {
    let mut system = System::start(None).await;
    (0..2).for_each(|_| system.parts.add_worker(&[]));
    system.submit(size(60, 6), clips::all()).await;
    system.submit(2, &[clips::long(60)]).await;
    system.wait_for_more_than(0).await;
    let copy = system.parts.redis.copy_data();
    let copied = Instant::now();
    // What happens now it will not know of: jobs that begin, jobs that end.
    while copied.elapsed() < Duration::from_secs(2) {
        system.submit(size(10, 2), clips::all()).await;
        system.wait_for_more_than(system.jobs.len() / 2).await;
    }
    system.submit(size(20, 4), clips::all()).await;
    // Are under way when Redis goes.
    system.submit(2, &[clips::long(60)]).await;
    system.wait_until_running(2).await;
    system.parts.redis.kill();
    let ended = system.ended().await;
    match memory {
        Memory::Old => system.parts.redis.restart_from(copy),
        Memory::None => system.parts.redis.restart_empty(),
    }
    let left = system.jobs.len() - ended;
    assert!(left > 0, "nothing was left to do");
    let took = system.wait().await;
    // What an old Redis has of jobs that are over is done once more, for nothing.
    let mut verdict = system.check(LEASE * 8).await;
    let swept = system.sweep(&mut verdict).await;
    let extra = verdict.assert_sound(&system).extra_attempts;
    assert!(took < RECONCILED, "{memory:?}: {took:?}\n{}", system.parts.log());
    let complaints = system.parts.log().matches("NOGROUP").count();
    let processes = system.parts.workers.len() + 1;
    assert!(complaints <= processes * COMPLAINTS, "{memory:?}:\n{}", system.parts.log());
    let (jobs, took) = (system.jobs.len(), took.as_secs_f64());
    let figures = format!("{jobs} jobs, {left} left to do, done after {took:.1} s");
    let costs = format!("{extra} extra attempts, {swept} leftovers swept, {complaints} × NOGROUP");
    report(5, &format!("memory {memory:?}: {figures}, {costs}"));
    system.end().await;
}

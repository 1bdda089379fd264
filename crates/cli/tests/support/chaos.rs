//! What tests that break things share: how large they are, chance that can be repeated, and how
//! they tell what they have measured.

use std::panic::resume_unwind;
use std::thread;

/// The full number, or the small one in the quick tier.
pub fn size(full: usize, quick: usize) -> usize {
    if is_full() { full } else { quick }
}

pub fn is_full() -> bool {
    std::env::var_os("TONEMILL_CHAOS").is_some()
}

/// Chance for one test, and the seed that repeats it.
pub fn seeded() -> (fastrand::Rng, u64) {
    let given = std::env::var("TONEMILL_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..1 << 32), |seed| seed.parse().expect("a seed"));
    (fastrand::Rng::with_seed(seed), seed)
}

/// Tells what a test has measured.
pub fn report(fault_test: u32, figures: &str) {
    println!("fault test {fault_test}: {figures}");
}

/// Runs tests that wait most of the time at once. The first that fails is told when all are over:
/// what they started goes with them.
pub fn at_once<T, F>(tests: impl IntoIterator<Item = T>)
where
    T: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let start = |test: T| {
        thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).enable_all().build().expect("threads");
            runtime.block_on(test());
        })
    };
    let running: Vec<_> = tests.into_iter().map(start).collect();
    let outcomes: Vec<_> = running.into_iter().map(thread::JoinHandle::join).collect();
    if let Some(panic) = outcomes.into_iter().find_map(Result::err) {
        resume_unwind(panic);
    }
}

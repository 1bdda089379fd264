//! Workers as operators run them, over a real Redis and a real S3 server, while things break.
//!
//! Each test plays the service's part (`arena`, `recorder`), breaks something, and has the checker
//! (`checker`) prove that nothing was lost and nothing was done twice. The quick tier runs small
//! versions; with `TONEMILL_CHAOS=1` they run at full size (`make chaos`), and hold what takes time
//! against its limits. `TONEMILL_SEED` repeats a run as far as chance is ours; with
//! `TONEMILL_S3=garage` the store is Garage.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod arena;
mod bombs;
mod checker;
mod clips;
mod crashes;
mod deaths;
mod recorder;
mod sabotage;
mod stalls;
mod storms;
mod submit;
mod tls;

/// The full number, or the small one in the quick tier.
fn size(full: usize, quick: usize) -> usize {
    if is_full() { full } else { quick }
}

fn is_full() -> bool {
    std::env::var_os("TONEMILL_CHAOS").is_some()
}

/// Chance for one test, and the seed that repeats it.
fn seeded() -> (fastrand::Rng, u64) {
    let given = std::env::var("TONEMILL_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..1 << 32), |seed| seed.parse().expect("a seed"));
    (fastrand::Rng::with_seed(seed), seed)
}

/// Tells what a test has measured.
fn report(fault_test: u32, figures: &str) {
    println!("fault test {fault_test}: {figures}");
}

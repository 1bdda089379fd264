//! The client as its users know it: the program, against a real service that is started as its
//! operators start it, behind a wire that is slow and breaks, and against strangers.
//!
//! `home` is a user, `service` the other side, `wire` the network between, `fake` a server that is
//! none of ours.

#[path = "../support/mod.rs"]
mod support;

mod fake;
mod home;
mod service;
mod wire;

mod breaks;
mod downloads;
mod life;
mod log_ins;
mod strangers;

use std::time::{Duration, Instant};

/// Within this everything happens that is to happen.
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks until it is so, for as long as patience lasts.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

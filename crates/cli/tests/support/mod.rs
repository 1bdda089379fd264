//! What the tests of the program share: running it under watch, media to feed it, and other
//! programs' opinion of what came out.

// Each test is a program of its own and uses a part of this.
#![allow(dead_code)]

use std::io::Write;

pub mod chaos;
pub mod daemon;
pub mod fixtures;
pub mod media;
pub mod patience;
pub mod process;
pub mod served;
pub mod sound;
pub mod verdict;

/// Says that a test shows nothing here and why, past the harness, which hides what passing tests
/// print.
pub fn skip(why: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

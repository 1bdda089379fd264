//! Conversions in a process of their own, with real media and real deaths.
//!
//! This program starts itself again: as the child (`isolated-attempt`), to try the walls from
//! inside (`probe-sandbox`), and for an attempt with faults, whose variable only a process of its
//! own can have (`attempt`, `attempts`).

mod attempt;
mod deaths;
mod media;
mod results;
mod walls;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tonemill_worker::isolate::{CHILD_ARGUMENT, child_main};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(CHILD_ARGUMENT) => return child_main(),
        Some(walls::ARGUMENT) => return walls::try_all(),
        Some(attempt::ARGUMENT) => return attempt::run(arguments),
        Some(attempt::COUNT_ARGUMENT) => return attempt::run_many(arguments),
        _ => {}
    }
    let tests = [results::TESTS, deaths::TESTS, walls::TESTS].concat();
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    libtest_mimic::run(&Arguments::from_args(), tests.into_iter().map(trial).collect()).exit_code()
}

//! `peers`: Tonemill against ffmpeg, lame and moviepy, with proof that the work was equal.
//!
//! Ends with 0 when Tonemill did the whole work, 1 when an output of its has the wrong length or
//! settings (the report says which), 2 when the comparison could not be made.

use std::process::ExitCode;

use clap::Parser as _;
use tonemill_benches::peers::{self, Options};

fn main() -> ExitCode {
    match peers::run(&Options::parse()) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            for fault in faults {
                eprintln!("not equal work: {fault}");
            }
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(2)
        }
    }
}

//! `scaling`: what fleets can do, computed and simulated.

use std::process::ExitCode;

use clap::Parser as _;
use tonemill_benches::scaling::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    match scaling::run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scaling: {error}");
            ExitCode::from(2)
        }
    }
}

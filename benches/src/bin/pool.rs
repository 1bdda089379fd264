//! `pool`: what workers, Redis and an S3 server do with a job, on this machine.

use std::process::ExitCode;

use clap::Parser as _;
use tonemill_benches::pool::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    match pool::run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pool: {error}");
            ExitCode::from(2)
        }
    }
}

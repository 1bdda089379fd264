//! `service`: what the API, the ledger and the workers behind them do with requests, on this
//! machine.

use std::process::ExitCode;

use clap::Parser as _;
use tonemill_benches::service::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    match service::run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("service: {error}");
            ExitCode::from(2)
        }
    }
}

//! The worker pool over a real Redis and a real S3 server on loopback: jobs a second, the price of
//! a job, long files against `tonemill convert`, what a full queue costs, memory, what is read, and
//! what it costs to be watched.
//!
//! Every case checks that the work was done: each job must end with an output of the right length.

mod clips;
mod long;
mod memory;
mod reads;
pub(crate) mod servers;
mod telemetry;
mod waiting;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::error::{BenchError, file};
use crate::place::Place;

/// What to measure.
#[derive(Debug, Parser)]
pub struct Options {
    /// Cases
    #[arg(long = "case", value_enum, value_delimiter = ',')]
    pub cases: Vec<Case>,
    /// Rounds of the cases that compare
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// The report
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Short clips in the cases that count jobs
    #[arg(long, default_value_t = 1000)]
    pub clips: usize,
    /// Jobs that wait in the case `waiting`
    #[arg(long, default_value_t = 1_000_000)]
    pub waiting: usize,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Clips of one second, one worker: jobs a second, and where the CPU time goes
    Clips,
    /// A long video by a worker and by `tonemill convert`
    Long,
    /// Queueing and receiving beside a hundred and a million waiting jobs
    Waiting,
    /// Eight two-hour videos at once, and ten thousand clips one after the other
    Memory,
    /// Bytes and requests of one job, by container
    Reads,
    /// Clips of one second by workers that are watched, with metrics and traces, and by such that
    /// are not
    Telemetry,
}

/// Measures, and writes the report.
pub async fn run(options: &Options) -> Result<(), BenchError> {
    let cases = if options.cases.is_empty() { Case::value_variants() } else { &options.cases[..] };
    let place = Place::prepare("pool", None)?;
    let mut report = place.header("The worker pool")?;
    report.push_str(
        "; Redis with an append-only file, synced every second; s3s-fs\n\
         on the same disk. Servers, workers and measuring share the cores.\n\n",
    );
    for case in cases {
        eprintln!("pool: {case:?}");
        let section = match case {
            Case::Clips => clips::measure(&place, options).await?,
            Case::Long => long::measure(&place, options).await?,
            Case::Waiting => waiting::measure(options).await?,
            Case::Memory => memory::measure(&place, options).await?,
            Case::Reads => reads::measure(&place).await?,
            Case::Telemetry => telemetry::measure(&place, options).await?,
        };
        println!("{section}");
        report.push_str(&section);
    }
    if let Some(path) = &options.out {
        std::fs::write(path, report).map_err(file("write", path))?;
    }
    Ok(())
}

//! The service over HTTP and the ledger beneath it: what a job takes beyond its conversion,
//! uploads, reads, starts, a ledger that has grown, its backup, and what one user's crowd of jobs costs the
//! others.
//!
//! Every case checks that the work was done: outputs have equal audio, uploads are in the store
//! byte for byte, answers are what they should be.

mod backup;
mod costs;
mod deployment;
mod fair;
mod figures;
mod fill;
mod follow;
mod http;
mod latency;
mod ledger;
mod open_files;
mod reads;
mod start;
mod uploads;
mod video;

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
    /// Rounds [default: latency 50, start 20, ledger 300, the others 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// The report
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The program [default: that of the release build]
    #[arg(long, value_name = "FILE", env = "TONEMILL_BENCH_PROGRAM")]
    pub program: Option<PathBuf>,
    /// The large upload in the case `uploads`, in MB
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    pub upload_mb: u64,
    /// How long each measurement of the case `reads` lasts, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub read_seconds: u64,
    /// Jobs in the large ledger of the cases `start`, `ledger` and `backup`
    #[arg(long, default_value_t = 100_000)]
    pub ledger_jobs: usize,
    /// Jobs that one user has submitted before the others in the case `fair`
    #[arg(long, default_value_t = 10_000)]
    pub crowd: usize,
    /// Clips of each length in the case `costs`
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub cost_jobs: u32,
    /// How long the case `costs` looks at who has nothing to do, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub idle_seconds: u64,
    /// Where the case `costs` keeps its figures, for `capacity` and `simulate`
    #[arg(long, value_name = "FILE")]
    pub costs: Option<PathBuf>,
}

impl Options {
    fn rounds(&self, default: u32) -> u32 {
        self.rounds.unwrap_or(default)
    }
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// A clip of five seconds from the first byte to the event, against the conversion itself
    Latency,
    /// One large upload and fifty at once: throughput, memory, files
    Uploads,
    /// One job and lists of fifty, from 8 and 64 connections, idle and beside conversions
    Reads,
    /// From the start of the process to its readiness, with an empty and a large ledger
    Start,
    /// Each call of a small and of a large ledger, in three databases
    Ledger,
    /// A backup of a large ledger and back, in three databases: time and size
    Backup,
    /// What a hundred users wait when one of them has submitted thousands of jobs
    Fair,
    /// What a job costs workers, API, Redis, the store and two databases
    Costs,
}

/// Measures, and writes the report.
pub async fn run(options: &Options) -> Result<(), BenchError> {
    let cases = if options.cases.is_empty() { Case::value_variants() } else { &options.cases[..] };
    let place = Place::prepare("service", options.program.as_deref())?;
    let mut report = place.header("The service")?;
    report.push_str(". Servers, workers, clients and measuring share the\ncores and the disk.\n\n");
    for case in cases {
        eprintln!("service: {case:?}");
        let section = match case {
            Case::Latency => latency::measure(&place, options).await?,
            Case::Uploads => uploads::measure(&place, options).await?,
            Case::Reads => reads::measure(&place, options).await?,
            Case::Start => start::measure(&place, options).await?,
            Case::Ledger => ledger::measure(&place, options).await?,
            Case::Backup => backup::measure(&place, options).await?,
            Case::Fair => fair::measure(&place, options).await?,
            Case::Costs => costs::measure(&place, options).await?,
        };
        println!("{section}");
        report.push_str(&section);
        // After each case, so that an interrupted run keeps what it has measured.
        if let Some(path) = &options.out {
            std::fs::write(path, &report).map_err(file("write", path))?;
        }
    }
    Ok(())
}

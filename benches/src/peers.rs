//! The comparison with other programs: media, rounds, proof, report.
//!
//! Invariants: every program reads the same files from a warm page cache and writes new ones;
//! the programs take turns within a round, so that a slow minute of the machine hits all of them
//! and only ratios within one round are compared; nothing is reported without the length and the
//! settings of what was written.
//!
//! A tour: [`options`] → [`place`] (folders) → [`workloads`] (what to convert; [`media`] makes it)
//! → [`contenders`] (who converts it, by which command) → [`rounds`] ([`measure`], [`tree_rss`])
//! → [`proof`] → [`report`].

pub mod command;
pub mod contenders;
pub mod looped;
pub mod markdown;
pub mod measure;
pub mod media;
pub mod moviepy;
pub mod options;
pub mod place;
pub mod probe;
pub mod proof;
pub mod report;
pub mod rounds;
pub mod tree_rss;
pub mod versions;
pub mod workloads;

use crate::error::BenchError;
use crate::machine::Machine;
pub use options::Options;
use place::Place;
use report::Report;
use versions::Versions;
use workloads::Workload;

/// Makes the media, runs every chosen case, writes the report.
///
/// Returns what was wrong with Tonemill's outputs; empty when the work was equal.
pub fn run(options: &Options) -> Result<Vec<String>, BenchError> {
    let place = Place::prepare(options)?;
    let workloads = workloads::chosen(options, &place)?;
    if options.peers.contains(&options::Peer::Moviepy) && workloads.iter().any(Workload::has_peers)
    {
        moviepy::install(&place, &options.python)?;
    }
    let mut report = Report::new(
        Machine::read()?,
        Versions::read(options, &place)?,
        contenders::ffmpeg_default_quality(&place)?,
    );
    for workload in &workloads {
        let result = rounds::compare(workload, &place)?;
        print!("{}", markdown::summary(&result));
        report.results.push(result);
        // After each case, so that an interrupted run keeps what it has measured.
        if let Some(path) = &options.out {
            report.write(path, &place)?;
        }
    }
    Ok(report.faults())
}

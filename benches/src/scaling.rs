//! How far Tonemill scales: capacity, computed from what jobs cost, and simulations of arrivals,
//! autoscaling and machines that are taken away, which are held against the real thing once.
//!
//! The costs are what `service` measures (case `costs`).

mod capacity;
pub(crate) mod costs;
mod scenarios;
mod simulation;
mod validation;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use self::costs::Costs;
use crate::error::{BenchError, file};
use crate::place::Place;

/// What to compute.
#[derive(Debug, Parser)]
pub struct Options {
    /// What
    #[command(subcommand)]
    pub what: What,
    /// The report
    #[arg(long, value_name = "FILE", global = true)]
    pub out: Option<PathBuf>,
    /// A page that has a place for it, between `<!-- NAME: … -->` and `<!-- end of NAME -->`
    #[arg(long, value_name = "FILE", global = true)]
    pub into: Option<PathBuf>,
}

/// What can be computed.
#[derive(Debug, Subcommand)]
pub enum What {
    /// What fleets from 1 to 1,000 workers do, and who is full first
    Capacity {
        /// What `service --case costs --costs FILE` has kept
        #[arg(long, value_name = "FILE")]
        costs: PathBuf,
    },
    /// Fleets over a day, crowds, and machines that are taken away
    Simulate {
        /// What `service --case costs --costs FILE` has kept
        #[arg(long, value_name = "FILE")]
        costs: PathBuf,
        /// The same seed gives the same figures
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A small part of it
        #[arg(long)]
        quick: bool,
    },
    /// The simulation beside real workers
    Validate {
        /// Jobs of a round
        #[arg(long, default_value_t = 200)]
        jobs: usize,
        /// Rounds, each with other jobs
        #[arg(long, default_value_t = 3)]
        rounds: u64,
        /// The program [default: that of the release build]
        #[arg(long, value_name = "FILE", env = "TONEMILL_BENCH_PROGRAM")]
        program: Option<PathBuf>,
    },
}

/// Computes, and writes the report. Fails if a simulation lost a job, or is far off.
pub async fn run(options: &Options) -> Result<(), BenchError> {
    let (name, title, tables, wrong) = match &options.what {
        What::Capacity { costs } => {
            ("capacity", "# Capacity".to_owned(), capacity::tables(&read(costs)?), None)
        }
        What::Simulate { costs, seed, quick } => {
            let (tables, lost) = scenarios::tables(&read(costs)?, *seed, *quick);
            let wrong = (lost > 0).then(|| format!("{lost} jobs were lost or given up"));
            ("simulate", "# Simulations".to_owned(), tables, wrong)
        }
        What::Validate { jobs, rounds, program } => {
            let place = Place::prepare("pool", program.as_deref())?;
            let header = place.header("The simulation beside the real thing")?;
            let (tables, wrong) = validation::measure(&place, *jobs, *rounds).await?;
            ("validate", header, tables, wrong)
        }
    };
    println!("{tables}");
    if let Some(path) = &options.out {
        std::fs::write(path, format!("{title}\n\n{tables}")).map_err(file("write", path))?;
    }
    if let Some(path) = &options.into {
        let page = std::fs::read_to_string(path).map_err(file("read", path))?;
        let missing = || BenchError::work(format!("{} has no place for {name}", path.display()));
        let page = put(&page, name, &tables).ok_or_else(missing)?;
        std::fs::write(path, page).map_err(file("write", path))?;
    }
    wrong.map_or(Ok(()), |wrong| Err(BenchError::work(wrong)))
}

/// A page with this in its place; `None` if there is no place for it.
fn put(page: &str, name: &str, text: &str) -> Option<String> {
    let start = page.find(&format!("<!-- {name}:"))?;
    let start = start + page[start..].find("-->\n")? + "-->\n".len();
    let end = start + page[start..].find(&format!("<!-- end of {name} -->"))?;
    Some(format!("{}\n{}\n{}", &page[..start], text.trim(), &page[end..]))
}

fn read(path: &Path) -> Result<Costs, BenchError> {
    let costs = Costs::read(path)?;
    if costs.jobs.is_empty() {
        return Err(BenchError::work(format!("{} has no jobs in it", path.display())));
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_page_replaces_what_was_there() {
        let page = "a\n<!-- t: make t -->\nold\n<!-- end of t -->\nb\n";
        let due = "a\n<!-- t: make t -->\n\nnew\n<!-- end of t -->\nb\n";
        assert_eq!(put(page, "t", "new\n").as_deref(), Some(due));
        assert_eq!(put(due, "t", "new").as_deref(), Some(due));
        assert_eq!(put(page, "u", "new"), None);
    }
}

//! From the start of the process to its readiness.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tonemill_ledger::{JobFilter, JobState, Ledger, LedgerConfig, Owner};

use super::Options;
use super::deployment::{folder, ledger_url, listen};
use super::figures::Figures;
use super::fill::{fill, user};
use super::http::Connection;
use crate::error::BenchError;
use crate::place::Place;

/// A start may take this long, in ms.
const TARGET_MS: f64 = 1000.0;
/// How long anything may take to be ready.
const PATIENCE: Duration = Duration::from_mins(2);

/// Starts with an empty folder and with a large ledger, in turns.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let (rounds, jobs) = (options.rounds(20), options.ledger_jobs);
    let old = folder()?;
    let report = place.convert(&place.video(1)?)?;
    let ledger = Ledger::open(LedgerConfig::new(ledger_url(old.path()))).await?;
    let user = user(&ledger, "user").await?;
    fill(&ledger, user, jobs, &report).await?;
    ledger.close().await;
    let (mut empty, mut full) = (Figures::default(), Figures::default());
    for _ in 0..rounds {
        empty.push(start(place, folder()?.path()).await?);
        full.push(start(place, old.path()).await?);
    }
    // The same ledger was there all the time, and all of it.
    let ledger = Ledger::open(LedgerConfig::new(ledger_url(old.path()))).await?;
    let found = count(&ledger).await?;
    if found != jobs {
        return Err(BenchError::work(format!("{found} of {jobs} jobs are in the ledger")));
    }
    let mut text = format!(
        "## Start\n\n`tonemill serve`, everything embedded, from the start of the process to 200 from\n\
         `/readyz`; {rounds} rounds, in turns, each killed afterwards with SIGKILL. The machine's page\n\
         cache is warm. Finished jobs are in the ledger alone: their MP3s are not in the folder. In\n\
         ms.\n\n| data folder | median | p95 | range |\n|---|--:|--:|--:|\n"
    );
    let full_name = format!("{jobs} finished jobs");
    for (name, figures) in [("empty", &empty), (full_name.as_str(), &full)] {
        let (median, p95) = (figures.median(), figures.percentile(95.0));
        let (low, high) = (figures.low(), figures.high());
        let _ = writeln!(text, "| {name} | {median:.0} | {p95:.0} | {low:.0}–{high:.0} |");
    }
    let met = empty.high().max(full.high()) <= TARGET_MS;
    let verdict = if met { "met in every round" } else { "**missed**" };
    let _ = writeln!(text, "\nAt most {TARGET_MS:.0} ms: {verdict}.\n");
    Ok(text)
}

/// Starts it once; milliseconds until it was ready.
async fn start(place: &Place, data: &Path) -> Result<f64, BenchError> {
    let mut command = place.program();
    command.arg("serve").arg("--data").arg(data);
    let start = Instant::now();
    let (_process, address) = listen(&mut command, data)?;
    let mut connection = Connection::open(address).await?;
    loop {
        match connection.get("/readyz").await {
            Ok(_) => return Ok(start.elapsed().as_secs_f64() * 1e3),
            Err(BenchError::Answer { status: 503, .. }) if start.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Finished jobs in a ledger.
async fn count(ledger: &Ledger) -> Result<usize, BenchError> {
    let mut filter = JobFilter { states: vec![JobState::Finished], ..JobFilter::default() };
    let mut count = 0;
    loop {
        let page = ledger.list_jobs(Owner::Anyone, &filter, 1000).await?;
        let Some(last) = page.last() else { return Ok(count) };
        filter.before = Some(last.id);
        count += page.len();
    }
}

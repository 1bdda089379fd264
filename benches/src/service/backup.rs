//! A ledger with very many jobs as one file, and back, in three databases: how long, how large.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use tonemill_ledger::backup::{Backup, Header, Since};
use tonemill_ledger::{Ledger, LedgerConfig};

use super::Options;
use super::deployment::folder;
use super::figures::Figures;
use super::fill::{fill, user};
use super::ledger::{SERVERS, Server};
use crate::error::{BenchError, file};
use crate::place::Place;

/// What one database took, in seconds; and the size of the file, in bytes.
#[derive(Default)]
struct Taken {
    backup: Figures,
    check: Figures,
    restore: Figures,
    audit: Figures,
    bytes: u64,
}

/// Backs up, checks, restores into an empty ledger of the same kind, and looks through what came
/// back.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let (rounds, jobs) = (options.rounds(3), options.ledger_jobs);
    let report = place.convert(&place.video(1)?)?;
    let mut text = format!(
        "## Backup\n\nA ledger with {jobs} finished jobs of one user, with the report of a real\n\
         conversion each: backed up into one file; the file's seal checked; restored into an\n\
         empty ledger of the same kind; and what came back looked through. What came back is\n\
         backed up again, and has as many rows of each table. {rounds} rounds. The databases keep\n\
         nothing safe from a loss of power, as in the tests; SQLite does. Medians, in seconds.\n\n\
         | database | MB | bytes a job | backup | seal | restore | look through |\n\
         |---|--:|--:|--:|--:|--:|--:|\n"
    );
    for name in SERVERS {
        eprintln!("service: Backup in {name}");
        let taken = in_database(&Server::start(name)?, rounds, jobs, &report).await?;
        let megabytes = taken.bytes as f64 / 1e6;
        let _ = write!(text, "| {name} | {megabytes:.1} | {} |", taken.bytes / jobs.max(1) as u64);
        for figures in [&taken.backup, &taken.check, &taken.restore, &taken.audit] {
            let _ = write!(text, " {:.2} |", figures.median());
        }
        text.push('\n');
    }
    text.push('\n');
    Ok(text)
}

async fn in_database(
    server: &Server,
    rounds: u32,
    jobs: usize,
    report: &Value,
) -> Result<Taken, BenchError> {
    let folder = folder()?;
    let path = folder.path().join("backup.gz");
    let full = Ledger::open(LedgerConfig::new(server.fresh("full")?)).await?;
    let user = user(&full, "user").await?;
    fill(&full, user, jobs, report).await?;
    let mut taken = Taken::default();
    for round in 0..rounds {
        let start = Instant::now();
        let header = back_up(&full, &path).await?;
        taken.backup.push(start.elapsed().as_secs_f64());
        taken.bytes = std::fs::metadata(&path).map_err(file("look at", &path))?.len();
        if header.rows_of("jobs") != jobs as u64 {
            return Err(BenchError::work("not all jobs are in the backup"));
        }
        let start = Instant::now();
        let backup = Backup::open(File::open(&path).map_err(file("read", &path))?)?;
        taken.check.push(start.elapsed().as_secs_f64());
        let url = server.fresh(&format!("restored-{round}"))?;
        let restored = Ledger::open(LedgerConfig::new(url)).await?;
        let start = Instant::now();
        restored.restore(backup, Since::Nothing).await?;
        taken.restore.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let wrong = restored.audit_rows().await?;
        taken.audit.push(start.elapsed().as_secs_f64());
        let again = back_up(&restored, &folder.path().join("again.gz")).await?;
        if !wrong.is_empty() || again.rows != header.rows {
            return Err(BenchError::work(format!("something else came back: {wrong:?}")));
        }
        restored.close().await;
    }
    full.close().await;
    Ok(taken)
}

async fn back_up(ledger: &Ledger, path: &Path) -> Result<Header, BenchError> {
    let out = File::create(path).map_err(file("write", path))?;
    let mut out = BufWriter::new(out);
    let header = ledger.back_up(&mut out).await?;
    let written = out.into_inner().map_err(std::io::IntoInnerError::into_error);
    written.and_then(|file| file.sync_all()).map_err(file("write", path))?;
    Ok(header)
}

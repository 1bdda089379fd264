//! What ninety-nine users wait for one small video each when another has submitted thousands before
//! them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tonemill_ledger::{JobFilter, JobState, Ledger, Owner};
use uuid::Uuid;

use super::Options;
use super::deployment::{Deployment, Store};
use super::figures::Figures;
use super::follow::{Followed, follow, submit};
use super::http::{Connection, add_user};
use crate::error::BenchError;
use crate::place::Place;

const OTHERS: usize = 99;
/// Connections over which the first user submits.
const CONNECTIONS: usize = 8;
/// Jobs of the first user that are finished before the others come: the workers are at work.
const UNDER_WAY: u64 = 20;

/// Everybody one job, without and behind one user's thousands.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let rounds = options.rounds(3);
    let clip = place.video_bytes(1)?;
    let service = Deployment::api(place, Store::Folder)?;
    let ledger = service.ledger().await?;
    let mut admin = service.admin().await?;
    let first = add_user(&mut admin, "first").await?;
    let mut tokens = Vec::new();
    for number in 0..OTHERS {
        tokens.push(add_user(&mut admin, &format!("user-{number}")).await?);
    }
    let others = Others { address: service.address, tokens, clip: clip.clone() };
    let worker = service.worker(place)?;
    // The first job waits for the worker to start.
    let audio = follow(&mut admin, &clip).await?.audio_blake3;
    let alone = others.one_by_one(&audio).await?;
    let mut together = Figures::default();
    for _ in 0..rounds {
        others.together(&audio, &mut together).await?;
    }
    drop(worker);

    let start = Instant::now();
    submit_crowd(service.address, &first, &clip, options.crowd).await?;
    let submitting = start.elapsed();
    let crowd = Crowd::find(&ledger, options.crowd).await?;
    let mut worker = service.worker(place)?;
    while crowd.finished().await? < UNDER_WAY {
        worker.check()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (start, before) = (Instant::now(), crowd.finished().await?);
    let mut behind = Figures::default();
    for _ in 0..rounds {
        others.together(&audio, &mut behind).await?;
    }
    let (took, of_the_first) = (start.elapsed(), crowd.finished().await? - before);
    let left = crowd.check().await?;
    let mut text = introduction(rounds, clip.len(), options.crowd, submitting);
    let name = format!("all at once, behind {} jobs of one user", options.crowd);
    push_rows(
        &mut text,
        &[("one after the other", alone), ("all at once", together), (&name, behind)],
    );
    let done = of_the_first as f64 + f64::from(rounds) * OTHERS as f64;
    let rate = done / took.as_secs_f64();
    let (share, in_line) = (of_the_first as f64 / done * 100.0, options.crowd as f64 / rate);
    let _ = writeln!(
        text,
        "\nMeanwhile the worker did {rate:.1} jobs/s, {share:.0} % of them the first user's, of whose\n\
         jobs {left} were left at the end: first come, first served would have been a wait of\n\
         {in_line:.0} s.\n"
    );
    Ok(text)
}

fn push_rows(text: &mut String, rows: &[(&str, Figures)]) {
    for (name, figures) in rows {
        let (median, p95) = (figures.median(), figures.percentile(95.0));
        let (count, high) = (figures.len(), figures.high());
        let _ = writeln!(text, "| {name} | {count} | {median:.2} | {p95:.2} | {high:.2} |");
    }
}

fn introduction(rounds: u32, bytes: usize, crowd: usize, submitting: Duration) -> String {
    format!(
        "## Fairness\n\n`tonemill api`, one `tonemill worker`, Redis, objects in a folder, a ledger in\n\
         SQLite. {OTHERS} users upload a video of one second each ({bytes} bytes) over HTTP, at the\n\
         same moment, {rounds} rounds, and wait for the event that it is finished. Then another user\n\
         uploads {crowd} of them ({:.0} s without a worker, {CONNECTIONS} connections), the worker\n\
         starts, and when it has done {UNDER_WAY} the {OTHERS} come again. All their outputs have the\n\
         same audio, and no job failed. In s, from the first byte of the upload.\n\n\
         | {OTHERS} users | jobs | median | p95 | worst |\n|---|--:|--:|--:|--:|\n",
        submitting.as_secs_f64()
    )
}

/// Those who want one job each.
struct Others {
    address: SocketAddr,
    tokens: Vec<String>,
    clip: Bytes,
}

impl Others {
    async fn one_by_one(&self, audio: &str) -> Result<Figures, BenchError> {
        let mut waits = Figures::default();
        for token in &self.tokens {
            let mut connection = Connection::with(self.address, token).await?;
            waits.push(wait(&follow(&mut connection, &self.clip).await?, audio)?);
        }
        Ok(waits)
    }

    async fn together(&self, audio: &str, waits: &mut Figures) -> Result<(), BenchError> {
        let mut connections = Vec::new();
        for token in &self.tokens {
            connections.push(Connection::with(self.address, token).await?);
        }
        let mut waiting = JoinSet::new();
        for mut connection in connections {
            let clip = self.clip.clone();
            waiting.spawn(async move { follow(&mut connection, &clip).await });
        }
        while let Some(followed) = waiting.join_next().await {
            waits.push(wait(&followed??, audio)?);
        }
        Ok(())
    }
}

/// How long a user waited for this audio, in s.
fn wait(followed: &Followed, audio: &str) -> Result<f64, BenchError> {
    if followed.audio_blake3 != audio || audio.is_empty() {
        return Err(BenchError::work(format!("{} has other audio", followed.id)));
    }
    Ok(followed.whole.as_secs_f64())
}

async fn submit_crowd(
    address: SocketAddr,
    token: &str,
    clip: &Bytes,
    jobs: usize,
) -> Result<(), BenchError> {
    let mut submitting = JoinSet::new();
    for number in 0..CONNECTIONS {
        let mut connection = Connection::with(address, token).await?;
        let clip = clip.clone();
        submitting.spawn(async move {
            for _ in (number..jobs).step_by(CONNECTIONS) {
                submit(&mut connection, &clip).await?;
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(done) = submitting.join_next().await {
        done??;
    }
    Ok(())
}

/// The jobs of the first user.
struct Crowd<'a> {
    ledger: &'a Ledger,
    user: Uuid,
    jobs: u64,
}

impl<'a> Crowd<'a> {
    /// All of them, which must be there and wait.
    async fn find(ledger: &'a Ledger, jobs: usize) -> Result<Self, BenchError> {
        let user = ledger.user_by_name("first").await?;
        let (user, _) = user.ok_or_else(|| BenchError::work("the first user is away"))?;
        let crowd = Self { ledger, user: user.id, jobs: jobs as u64 };
        match crowd.finished().await? {
            0 => Ok(crowd),
            early => Err(BenchError::work(format!("{early} jobs are finished too early"))),
        }
    }

    /// How many are over.
    async fn finished(&self) -> Result<u64, BenchError> {
        let usage = self.ledger.usage(self.user).await?;
        let unfinished = usage.map_or(0, |(usage, _)| usage.unfinished_jobs);
        Ok(self.jobs.saturating_sub(unfinished))
    }

    /// How many are left, which must be some: else the others were not behind them.
    async fn check(&self) -> Result<u64, BenchError> {
        let states = vec![JobState::Failed, JobState::Cancelled];
        let filter = JobFilter { states, ..JobFilter::default() };
        let failed = self.ledger.list_jobs(Owner::Anyone, &filter, 1).await?;
        let left = self.jobs - self.finished().await?;
        if left <= OTHERS as u64 || !failed.is_empty() {
            return Err(BenchError::work(format!("{left} jobs left; failed: {failed:?}")));
        }
        Ok(left)
    }
}

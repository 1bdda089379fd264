//! Reads of one job and of a page of jobs, from many connections, when nothing else is to be done
//! and beside conversions on all cores.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinSet;

use super::Options;
use super::deployment::Deployment;
use super::figures::Figures;
use super::follow::{follow, submit};
use super::http::{Connection, text};
use crate::error::BenchError;
use crate::machine::cores;
use crate::place::Place;

/// Jobs that the reader has, all finished: a page of the list.
const PAGE: usize = 50;
const CONNECTIONS: [usize; 2] = [8, 64];
/// Long videos that are unfinished when a measurement beside them begins.
const FILMS: usize = 8;
const FILM_SECONDS: u32 = 1800;

/// Answers a second and what one takes.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let service = Deployment::embedded(place, &[])?;
    let token = service.user("reader").await?;
    let mut reader = Connection::with(service.address, &token).await?;
    let clip = place.video_bytes(1)?;
    let mut job = String::new();
    for _ in 0..PAGE {
        job = follow(&mut reader, &clip).await?.id;
    }
    let targets = [
        Target::find(&mut reader, "one job", format!("/v1/jobs/{job}")).await?,
        Target::find(&mut reader, "list of 50", format!("/v1/jobs?limit={PAGE}")).await?,
    ];
    let page: Value = serde_json::from_slice(&targets[1].answer)?;
    if page["jobs"].as_array().map(Vec::len) != Some(PAGE) || targets[0].state()? != "finished" {
        return Err(BenchError::work("the reader's jobs are not there"));
    }
    let film = place.video_bytes(FILM_SECONDS)?;
    let readers = Readers { service: &service, token, options };
    let mut text = introduction(options, &targets);
    for beside in ["nothing", "long videos"] {
        // Connected when it is needed: the service parts with who is idle for a minute.
        let mut films = match beside {
            "nothing" => None,
            _ => Some(Films { admin: service.admin().await?, film: film.clone() }),
        };
        for target in &targets {
            for connections in CONNECTIONS {
                let films = films.as_mut();
                let [rate, p50, p99, cores] = readers.rounds(target, connections, films).await?;
                let (low, high) = (rate.low(), rate.high());
                let medians = [rate, p50, p99, cores].map(|figures| figures.median());
                let [rate, p50, p99, cores] = medians;
                let _ = writeln!(
                    text,
                    "| {} | {beside} | {connections} | {rate:.0} ({low:.0}–{high:.0}) | {p50:.2} | \
                     {p99:.2} | {cores:.2} |",
                    target.name
                );
            }
        }
    }
    text.push('\n');
    Ok(text)
}

fn introduction(options: &Options, targets: &[Target; 2]) -> String {
    format!(
        "## Reads\n\n`tonemill serve`, everything embedded, {} cores. A user with {PAGE} finished jobs\n\
         reads for {} s over open connections, each asking again when it has its answer; {} rounds,\n\
         medians (range). Every answer has the same bytes as the first ({} for one job, {} for the\n\
         list). Beside long videos, conversions run on all cores from the beginning to the end of\n\
         each measurement, and the client, too, gets what they leave. Cores are those that the\n\
         service used, conversions included.\n\n\
         | what | beside | connections | answers/s | p50 ms | p99 ms | cores |\n\
         |---|---|--:|--:|--:|--:|--:|\n",
        cores(),
        options.read_seconds,
        options.rounds(3),
        targets[0].answer.len(),
        targets[1].answer.len(),
    )
}

/// What is read.
struct Target {
    name: &'static str,
    path: String,
    /// What it must be each time.
    answer: Bytes,
}

impl Target {
    async fn find(
        reader: &mut Connection,
        name: &'static str,
        path: String,
    ) -> Result<Self, BenchError> {
        let answer = reader.get(&path).await?;
        Ok(Self { name, path, answer })
    }

    fn state(&self) -> Result<String, BenchError> {
        Ok(text(&serde_json::from_slice(&self.answer)?, "state"))
    }
}

/// Who reads, over connections of its own.
struct Readers<'a> {
    service: &'a Deployment,
    token: String,
    options: &'a Options,
}

impl Readers<'_> {
    /// Of each round: answers a second, medians and 99th percentiles in ms, cores.
    async fn rounds(
        &self,
        target: &Target,
        connections: usize,
        mut films: Option<&mut Films>,
    ) -> Result<[Figures; 4], BenchError> {
        let mut all: [Figures; 4] = Default::default();
        for _ in 0..self.options.rounds(3) {
            if let Some(films) = &mut films {
                films.top_up().await?;
            }
            let (cpu, start) = (self.service.api.cpu_time(), Instant::now());
            let figures = self.read(target, connections).await?;
            let seconds = start.elapsed().as_secs_f64();
            let used = self.service.api.cpu_time().saturating_sub(cpu).as_secs_f64();
            if let Some(films) = &mut films {
                films.expect_running().await?;
            }
            let answers = figures.len() as f64 / seconds;
            let values = [answers, figures.median(), figures.percentile(99.0), used / seconds];
            all.iter_mut().zip(values).for_each(|(figures, value)| figures.push(value));
        }
        Ok(all)
    }

    /// What each answer took, in ms.
    async fn read(&self, target: &Target, connections: usize) -> Result<Figures, BenchError> {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(Connection::with(self.service.address, &self.token).await?);
        }
        let end = Instant::now() + Duration::from_secs(self.options.read_seconds);
        let mut reading = JoinSet::new();
        for mut connection in open {
            let (path, expected) = (target.path.clone(), target.answer.clone());
            reading.spawn(async move {
                let mut figures = Vec::new();
                while Instant::now() < end {
                    let start = Instant::now();
                    let answer = connection.get(&path).await?;
                    figures.push(start.elapsed().as_secs_f64() * 1e3);
                    if answer != expected {
                        let answer = String::from_utf8_lossy(&answer).into_owned();
                        return Err(BenchError::work(format!("another answer: {answer}")));
                    }
                }
                Ok(figures)
            });
        }
        let mut all = Figures::default();
        while let Some(figures) = reading.join_next().await {
            all.extend(figures??);
        }
        Ok(all)
    }
}

/// Long videos of another user.
struct Films {
    admin: Connection,
    film: Bytes,
}

impl Films {
    async fn top_up(&mut self) -> Result<(), BenchError> {
        for _ in self.count("waiting,queued,running").await?..FILMS {
            submit(&mut self.admin, &self.film).await?;
        }
        while self.count("running").await? < cores() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn count(&mut self, states: &str) -> Result<usize, BenchError> {
        let page = self.admin.get(&format!("/v1/jobs?limit=500&state={states}")).await?;
        let page: Value = serde_json::from_slice(&page)?;
        Ok(page["jobs"].as_array().map_or(0, Vec::len))
    }

    /// Nothing was submitted meanwhile: what runs now has run all the time.
    async fn expect_running(&mut self) -> Result<(), BenchError> {
        match self.count("running").await? {
            running if running >= cores() => Ok(()),
            running => Err(BenchError::work(format!("{running} conversions run at the end"))),
        }
    }
}

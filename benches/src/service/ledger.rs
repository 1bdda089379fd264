//! Each call of the ledger with a few and with very many finished jobs in it: they must take the
//! same.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonemill_job::JobId;
use tonemill_job::message::What;
use tonemill_job::queue::memory::MemoryQueue;
use tonemill_job::queue::{Hold, LaneWeights, Queue as _, Settlement};
use tonemill_ledger::dispatcher::{self, Window};
use tonemill_ledger::{JobFilter, JobState, Ledger, LedgerConfig, Owner};
use tonemill_testbed::mariadb::MariaDb;
use tonemill_testbed::postgres::Postgres;
use uuid::Uuid;

use super::Options;
use super::deployment::{folder, ledger_url};
use super::figures::Figures;
use super::fill::{accept, event, fill, finished, user};
use crate::error::{BenchError, file};
use crate::place::Place;

const FEW: usize = 100;
/// A page of the API, and one more.
const PAGE: u32 = 51;
/// What of the first rounds is not counted: connections and caches fill.
const WARM_UP: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(30);
/// All of them.
pub(super) const SERVERS: [&str; 3] = ["SQLite", "MariaDB", "PostgreSQL"];
const CALLS: [&str; 9] = [
    "accept",
    "dispatch",
    "`started`",
    "measure",
    "list unfinished",
    "`finished`",
    "list",
    "list finished",
    "list failed",
];

/// All calls in turns on a small and on a large ledger, in three databases.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let rounds = options.rounds(300);
    let report = place.convert(&place.video(1)?)?;
    let mut text = format!(
        "## A ledger that has grown\n\nOne client, one call at a time, in turns on two ledgers of the\n\
         same server, after {FEW} and after {} finished jobs, all of the user who asks; {rounds}\n\
         rounds, each of which finishes one more. `dispatch` is from the dispatcher's look at the\n\
         queue to the job in the hands of a worker, with a queue in memory; `started` and `finished`\n\
         record one event each; `measure` is what is looked up for the metrics; lists are pages of\n\
         {PAGE}, of all jobs, of those that are waiting, queued or running (one), finished, and failed\n\
         (none). The databases keep nothing safe from a\n\
         loss of power, as in the tests; SQLite does. Medians and p95 in µs.\n\n| database | jobs |",
        options.ledger_jobs
    );
    for call in CALLS {
        let _ = write!(text, " {call} |");
    }
    let _ = writeln!(text, "\n|---|--:|{}", "--:|".repeat(CALLS.len()));
    for server in SERVERS {
        eprintln!("service: Ledger in {server}");
        let server = Server::start(server)?;
        let mut few = server.grown("few", FEW, &report).await?;
        let mut many = server.grown("many", options.ledger_jobs, &report).await?;
        in_turns(&mut few, &mut many, rounds, &report).await?;
        for grown in [&few, &many] {
            let _ = write!(text, "| {} | {} |", server.name(), grown.jobs);
            for figures in &grown.figures {
                let (median, p95) = (figures.median(), figures.percentile(95.0));
                let _ = write!(text, " {median:.0} / {p95:.0} |");
            }
            text.push('\n');
        }
        let _ = write!(text, "| {} | times |", server.name());
        for (few, many) in few.figures.iter().zip(&many.figures) {
            let _ = write!(text, " {:.2} |", many.median() / few.median());
        }
        text.push('\n');
    }
    text.push('\n');
    Ok(text)
}

async fn in_turns(
    few: &mut Grown,
    many: &mut Grown,
    rounds: u32,
    report: &Value,
) -> Result<(), BenchError> {
    for round in 0..rounds + WARM_UP {
        // Who begins changes from round to round.
        let order = if round % 2 == 0 { [&mut *few, &mut *many] } else { [&mut *many, &mut *few] };
        for grown in order {
            let times = grown.round(report).await?;
            if round < WARM_UP {
                continue;
            }
            for (figures, time) in grown.figures.iter_mut().zip(times) {
                figures.push(time.as_secs_f64() * 1e6);
            }
        }
    }
    Ok(())
}

/// Where the databases are.
pub(super) enum Server {
    Sqlite(TempDir),
    MariaDb(MariaDb),
    Postgres(Postgres),
}

impl Server {
    pub(super) fn start(name: &str) -> Result<Self, BenchError> {
        Ok(match name {
            "MariaDB" => Self::MariaDb(MariaDb::start()),
            "PostgreSQL" => Self::Postgres(Postgres::start()),
            _ => Self::Sqlite(folder()?),
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::MariaDb(_) => "MariaDB",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// A ledger with so many finished jobs.
    async fn grown(&self, name: &str, jobs: usize, report: &Value) -> Result<Grown, BenchError> {
        let url = self.fresh(name)?;
        let grown = Grown::open(url.clone(), jobs, report).await?;
        if let Self::Postgres(server) = self {
            // Its autovacuum does so within a minute; without, it plans for an empty table.
            let analyze = server.client(&url).args(["--command", "ANALYZE"]).output();
            if !analyze.is_ok_and(|output| output.status.success()) {
                return Err(BenchError::work("ANALYZE fails"));
            }
        }
        Ok(grown)
    }

    /// The URL of an empty database.
    pub(super) fn fresh(&self, name: &str) -> Result<String, BenchError> {
        Ok(match self {
            Self::Sqlite(folder) => {
                let folder = folder.path().join(name);
                std::fs::create_dir(&folder).map_err(file("make", &folder))?;
                ledger_url(&folder)
            }
            Self::MariaDb(server) => server.fresh_database(),
            Self::Postgres(server) => server.fresh_database(),
        })
    }
}

/// A ledger with a past, and a queue.
struct Grown {
    ledger: Ledger,
    queue: MemoryQueue,
    worker: MemoryQueue,
    user: Uuid,
    /// Finished ones, at the beginning.
    jobs: usize,
    /// Of each of [`CALLS`].
    figures: [Figures; CALLS.len()],
}

impl Grown {
    async fn open(url: String, jobs: usize, report: &Value) -> Result<Self, BenchError> {
        let ledger = Ledger::open(LedgerConfig::new(url)).await?;
        let user = user(&ledger, "user").await?;
        fill(&ledger, user, jobs, report).await?;
        let queue = MemoryQueue::new(PATIENCE, LaneWeights::default());
        let worker = queue.another();
        Ok(Self { ledger, queue, worker, user, jobs, figures: Default::default() })
    }

    /// A job's whole life, and looks at it: what each of [`CALLS`] took.
    async fn round(&self, report: &Value) -> Result<[Duration; CALLS.len()], BenchError> {
        let at = Instant::now();
        let job = accept(&self.ledger, self.user).await?;
        let accepted = at.elapsed();
        let dispatched = self.dispatch(job).await?;
        let started = self.record(job, What::Started).await?;
        let measured = self.measure().await?;
        let (listed_unfinished, unfinished) = self.list(&JobState::UNFINISHED).await?;
        let finished = self.record(job, finished(job, report)).await?;
        let (listed, all) = self.list(&[]).await?;
        let (listed_finished, ended) = self.list(&[JobState::Finished]).await?;
        let (listed_failed, failed) = self.list(&[JobState::Failed]).await?;
        let page = (PAGE as usize).min(self.jobs + 1);
        let is_page = |jobs: &[JobId]| jobs.len() >= page && jobs[0] == job;
        if unfinished != [job] || !is_page(&all) || !is_page(&ended) || !failed.is_empty() {
            return Err(BenchError::work(format!("lists of {job} are wrong")));
        }
        Ok([
            accepted,
            dispatched,
            started,
            measured,
            listed_unfinished,
            finished,
            listed,
            listed_finished,
            listed_failed,
        ])
    }

    /// Lets the dispatcher take the job, which waits alone, into the queue and a worker take it
    /// out.
    async fn dispatch(&self, job: JobId) -> Result<Duration, BenchError> {
        let end = CancellationToken::new();
        let start = Instant::now();
        let taken = async {
            let delivery = self.worker.receive(PATIENCE).await;
            let took = start.elapsed();
            end.cancel();
            (took, delivery)
        };
        let dispatch = dispatcher::run(&self.ledger, &self.queue, Window::default(), &end);
        let ((), (took, delivery)) = tokio::join!(dispatch, taken);
        let delivery = delivery?.ok_or_else(|| BenchError::work("no job"))?;
        // As far as the queue goes; what the ledger is told comes from here.
        let reply = delivery.message.reply.clone();
        let end = Settlement::End { event: event(job, What::Cancelled), reply };
        if delivery.message.job != job
            || self.worker.settle(&delivery.lease, &end).await? != Hold::Held
        {
            return Err(BenchError::work("another job"));
        }
        let events = self.queue.events(10, Duration::ZERO).await?;
        let ids: Vec<_> = events.into_iter().map(|(id, _)| id).collect();
        self.queue.confirm(&ids).await?;
        Ok(took)
    }

    async fn record(&self, job: JobId, what: What) -> Result<Duration, BenchError> {
        let expected = if what.is_end() { JobState::Finished } else { JobState::Running };
        let events = [event(job, what)];
        let start = Instant::now();
        self.ledger.record(&events).await?;
        let took = start.elapsed();
        let job = self.ledger.job(Owner::Anyone, job).await?;
        match job.map(|job| job.state) {
            Some(state) if state == expected => Ok(took),
            other => Err(BenchError::work(format!("a job is {other:?}"))),
        }
    }

    async fn measure(&self) -> Result<Duration, BenchError> {
        let start = Instant::now();
        self.ledger.measure().await?;
        Ok(start.elapsed())
    }

    async fn list(&self, states: &[JobState]) -> Result<(Duration, Vec<JobId>), BenchError> {
        let filter = JobFilter { states: states.to_vec(), ..JobFilter::default() };
        let start = Instant::now();
        let jobs = self.ledger.list_jobs(Owner::User(self.user), &filter, PAGE).await?;
        let took = start.elapsed();
        if jobs.iter().any(|job| !states.is_empty() && !states.contains(&job.state)) {
            return Err(BenchError::work("a list holds what was not asked for"));
        }
        Ok((took, jobs.into_iter().map(|job| job.id).collect()))
    }
}

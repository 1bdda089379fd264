//! The dispatcher: moves waiting jobs into the queue, by their turns, when there is room.
//!
//! The queue is kept short, a few times what its workers run at once, because order is decided in
//! the ledger: what is in the queue already goes first, whoever comes. Any number of replicas
//! dispatch at once. A job is marked first and queued second; what a death between the two leaves
//! marked and not queued, the reconciler finds. A job that cannot be sent to any worker fails here,
//! and stops no other.

use std::error::Error;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonemill_job::queue::Queue;
use tonemill_job::{JobId, JobMessage, Lane, chain};
use tonemill_telemetry::trace;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::Ledger;
use crate::database::Tx;
use crate::deliveries::News;
use crate::error::{Result, Trouble};
use crate::events::defect;
use crate::job::{COLUMNS, Job, to_json};
use crate::measures::{Ended, seconds};
use crate::state::{Change, JobState, Transition};

/// Most jobs that are moved in one transaction.
const BATCH: u64 = 100;
/// How often is looked whether there is room, and whether a job's time has come.
pub const LOOK: Duration = Duration::from_millis(250);
/// After an error.
const PAUSE: Duration = Duration::from_secs(1);

/// How many jobs wait in each lane of the queue.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// At least. Default: 16.
    pub least: u64,
    /// For each job that runs. Default: 3.
    pub per_running: u64,
    /// At most. Default: 4,000.
    pub most: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { least: 16, per_running: 3, most: 4000 }
    }
}

impl Window {
    /// How many jobs wait in a lane, at most, while so many run.
    #[must_use]
    pub fn jobs(self, running: u64) -> u64 {
        running.saturating_mul(self.per_running).max(self.least).min(self.most)
    }
}

/// Dispatches until it is told to end.
pub async fn run(ledger: &Ledger, queue: &dyn Queue, window: Window, shutdown: &CancellationToken) {
    while !shutdown.is_cancelled() {
        let pause = match dispatch(ledger, queue, window).await {
            Ok(0) => LOOK,
            Ok(_) => continue,
            Err(trouble) => {
                tracing::warn!(error = chain(&trouble), "no job can be dispatched");
                PAUSE
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(pause) => {}
            // Not after an error: those who wait for a job would make it a storm.
            () = ledger.dispatcher_woken(), if pause == LOOK => {}
        }
    }
}

/// Moves what there is room for, at most a batch of each lane; how many that were.
async fn dispatch(ledger: &Ledger, queue: &dyn Queue, window: Window) -> Result<usize, Trouble> {
    let depth = queue.depth().await?;
    let running: u64 = depth.lanes.iter().map(|lane| lane.running).sum();
    let mut moved = 0;
    for (lane, depth) in Lane::ALL.into_iter().zip(depth.lanes) {
        let room = window.jobs(running).saturating_sub(depth.waiting).min(BATCH);
        if room == 0 {
            continue;
        }
        let mut jobs = ledger.take_waiting(lane, room).await?;
        if jobs.is_empty() {
            continue;
        }
        let spans: Vec<Span> = jobs.iter_mut().map(continue_trace).collect();
        if let Err(error) = queue.enqueue(&jobs).await {
            // What may be queued is left to the reconciler, which can tell.
            if !error.ambiguous {
                let ids: Vec<JobId> = jobs.iter().map(|job| job.job).collect();
                ledger.requeue(&ids).await?;
            }
            return Err(error.into());
        }
        drop(spans);
        metrics::counter!("tonemill_jobs_dispatched_total", "lane" => lane.name())
            .increment(jobs.len() as u64);
        moved += jobs.len();
    }
    Ok(moved)
}

/// Waiting jobs that were marked as queued, and those that could not be.
#[derive(Default)]
struct Taken {
    messages: Vec<JobMessage>,
    /// How long each waited that is queued for the first time.
    waited_ms: Vec<i64>,
    given_up: Vec<Ended>,
}

impl Ledger {
    /// Marks the next waiting jobs of a lane as queued: whoever calls this queues them.
    pub(crate) async fn take_waiting(&self, lane: Lane, most: u64) -> Result<Vec<JobMessage>> {
        let take = || self.try_take_waiting(lane, most);
        let Taken { messages, waited_ms, given_up } =
            self.db.run("take waiting jobs", take).await?;
        for job in &messages {
            self.tell_changed(job.job);
        }
        for waited in waited_ms {
            metrics::histogram!("tonemill_dispatch_wait_seconds", "lane" => lane.name())
                .record(seconds(waited));
        }
        given_up.into_iter().for_each(Ended::count);
        Ok(messages)
    }

    async fn try_take_waiting(&self, lane: Lane, most: u64) -> Result<Taken, sqlx::Error> {
        let now = self.db.now_ms();
        let mut taken = Taken::default();
        // Without a lock first: most looks find nothing, and none should wait for a writer.
        if self.first_waiting(lane, now).await?.is_none() {
            return Ok(taken);
        }
        let mut tx = self.db.begin().await?;
        let text = format!(
            "SELECT {COLUMNS} FROM jobs WHERE state = 'waiting' AND lane = ? AND \
             not_before_ms <= ? ORDER BY turn, id LIMIT ?{}",
            self.db.dialect.skip_locked()
        );
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let query = self.db.dialect.query_of(text).bind(lane.name()).bind(now).bind(most);
        let rows = query.fetch_all(&mut *tx).await?;
        let mut turn = 0;
        for row in &rows {
            let (job, message) = match sendable(row) {
                Ok(sendable) => sendable,
                Err(why) => {
                    let give_up = self.give_up(&mut tx, row, chain(&*why));
                    taken.given_up.extend(give_up.instrument(span_of(row)).await?);
                    continue;
                }
            };
            let change = Change::new(Transition::Dispatch).number("dispatched_ms", now);
            if change.apply(&self.db, &mut tx, &job.id.to_string()).await? {
                taken.messages.push(message);
                // Who was dispatched before has waited for a worker since, not for this.
                taken.waited_ms.extend(job.dispatched_ms.is_none().then_some(now - job.created_ms));
                turn = turn.max(job.turn);
            }
        }
        let serving = "UPDATE lanes SET serving_turn = ? WHERE lane = ? AND serving_turn < ?";
        let serving = self.db.query(serving).bind(turn).bind(lane.name()).bind(turn);
        serving.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(taken)
    }

    /// Fails a job that no worker can be sent: those behind it would wait for ever.
    async fn give_up(
        &self,
        tx: &mut Tx,
        row: &AnyRow,
        why: String,
    ) -> Result<Option<Ended>, sqlx::Error> {
        // Only what has to be known: the rest may be what is wrong.
        let (id, user): (String, String) = (row.try_get("id")?, row.try_get("user_id")?);
        tracing::error!(error = why, "a job that cannot be dispatched fails");
        let failure = defect("dispatch", "this job cannot be given to a worker", why);
        let change = Change::new(Transition::Fail).number("ended_ms", self.db.now_ms());
        let change = change.text("failure", to_json(&failure)?);
        let change = change.text("failure_kind", failure.kind.name().to_owned());
        if !change.apply(&self.db, tx, &id).await? {
            return Ok(None);
        }
        self.charge(tx, &user, -1, 0).await?;
        let Ok(job) = Job::from_row(row) else { return Ok(None) };
        self.owe(tx, &job, News::Failed(&failure)).await?;
        Ok(Some(Ended::of(&job, JobState::Failed, Some(failure.kind), self.db.now_ms())))
    }

    async fn first_waiting(&self, lane: Lane, now: i64) -> Result<Option<()>, sqlx::Error> {
        let text = "SELECT id FROM jobs WHERE state = 'waiting' AND lane = ? AND \
                    not_before_ms <= ? LIMIT 1";
        let query = self.db.query(text).bind(lane.name()).bind(now);
        Ok(query.fetch_optional(&self.db.read).await?.map(drop))
    }

    /// Ends when a job may have become ready to be dispatched.
    async fn dispatcher_woken(&self) {
        self.wake.notified().await;
    }
}

/// The part of a job's trace in which it is queued.
fn dispatching(job: &str, traceparent: Option<&str>) -> Span {
    trace::continued(tracing::info_span!("dispatch", job, trace_id = Empty), traceparent)
}

/// That of a job of which not much is known.
fn span_of(row: &AnyRow) -> Span {
    let text = |column| row.try_get::<Option<String>, _>(column).ok().flatten();
    dispatching(&text("id").unwrap_or_default(), text("traceparent").as_deref())
}

/// That of a job that is queued; its attempts follow from there.
fn continue_trace(message: &mut JobMessage) -> Span {
    let span = dispatching(&message.job.to_string(), message.traceparent.as_deref());
    message.traceparent = trace::traceparent_of(&span).or(message.traceparent.take());
    span
}

/// A waiting job, and what the workers are sent.
fn sendable(row: &AnyRow) -> Result<(Job, JobMessage), Box<dyn Error + Send + Sync>> {
    let job = Job::from_row(row)?;
    let message = job.message()?;
    Ok((job, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_with_the_fleet() {
        let window = Window::default();
        assert_eq!([0, 6, 100, 10_000].map(|running| window.jobs(running)), [16, 18, 300, 4000]);
    }
}

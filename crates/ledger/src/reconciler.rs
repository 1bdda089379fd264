//! The reconciler: brings the queue in line with the ledger, one replica at a time.
//!
//! Jobs that the ledger believes dispatched and the queue does not have are dispatched again. The
//! two cannot be looked at in one moment, so a job counts as forgotten when two looks in a row miss
//! it and nothing changed in between. A job leaves the queue in the same step in which its end is
//! told, so what the first look missed may be among the events that wait to be recorded: the second
//! look waits until the recorder has come past all that was there at the first. A job that is
//! queued twice all the same ends once (see `recorder`).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonemill_job::queue::Queue;
use tonemill_job::{JobId, chain};

use crate::Ledger;
use crate::error::Trouble;

/// The duty of one replica at a time.
const DUTY: &str = "reconciler";
/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// A job this young may be on its way from the dispatcher to the queue.
const YOUNG_MS: i64 = 10_000;
/// By how much a queue may tell the age of an event too low: it counts milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

/// Reconciles until it is told to end.
pub async fn run(ledger: &Ledger, queue: &dyn Queue, shutdown: &CancellationToken) {
    let mut missing = Missing::default();
    let looks = async {
        loop {
            if let Err(error) = ledger.db.set_clock().await {
                tracing::warn!(error = chain(&error), "the ledger's clock cannot be read");
            } else if ledger.while_leading(DUTY, missing.look(ledger, queue)).await.is_none() {
                missing = Missing::default();
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = looks => {}
    }
    ledger.stop_leading(DUTY).await;
}

/// Tells the queue of jobs in it that are over in the ledger: whoever cancelled them could not, or
/// did not get to it.
async fn tell_cancelled(
    ledger: &Ledger,
    queue: &dyn Queue,
    jobs: impl Iterator<Item = &JobId>,
) -> Result<(), Trouble> {
    let jobs: Vec<JobId> = jobs.copied().collect();
    for jobs in jobs.chunks(200) {
        let known = ledger.jobs_by_id(jobs).await?;
        for job in known.into_iter().filter(|job| job.state.is_ended()) {
            queue.cancel(job.id).await?;
        }
    }
    Ok(())
}

/// What the last look missed in the queue.
#[derive(Debug, Default)]
pub struct Missing {
    /// The jobs, with their versions.
    jobs: HashMap<JobId, i64>,
    /// When they were not there.
    looked: Option<Instant>,
}

impl Missing {
    /// Looks once; how many jobs were dispatched again.
    pub async fn look(&mut self, ledger: &Ledger, queue: &dyn Queue) -> usize {
        match self.try_look(ledger, queue).await {
            Ok(0) => 0,
            Ok(count) => {
                tracing::warn!(jobs = count, "the queue has lost jobs: they are queued again");
                count
            }
            Err(trouble) => {
                tracing::warn!(error = chain(&trouble), "the queue cannot be reconciled");
                0
            }
        }
    }

    async fn try_look(&mut self, ledger: &Ledger, queue: &dyn Queue) -> Result<usize, Trouble> {
        // Before the ledger is read, so that it knows what is recorded by now.
        let since = self.looked.map(|looked| looked.elapsed());
        let oldest = queue.depth().await?.oldest_event;
        let is_behind = since.zip(oldest).is_some_and(|(since, oldest)| oldest + ROUNDING >= since);
        let before = ledger.now_ms() - YOUNG_MS;
        let mut dispatched = HashMap::new();
        let mut last = None;
        loop {
            let page = ledger.dispatched(before, last).await?;
            let Some((job, _)) = page.last() else { break };
            last = Some(*job);
            dispatched.extend(page);
        }
        let queued = queue.jobs().await?;
        let looked = Instant::now();
        tell_cancelled(ledger, queue, queued.difference(&dispatched.keys().copied().collect()))
            .await?;
        if is_behind {
            return Ok(0);
        }
        dispatched.retain(|job, _| !queued.contains(job));
        let mut forgotten: Vec<JobId> = dispatched
            .iter()
            .filter(|(job, version)| self.jobs.get(job) == Some(version))
            .map(|(job, _)| *job)
            .collect();
        // In the order in which the recorder locks them.
        forgotten.sort_unstable();
        *self = Self { jobs: dispatched, looked: Some(looked) };
        let mut count = 0;
        for jobs in forgotten.chunks(500) {
            count += ledger.requeue(jobs).await?;
        }
        Ok(count)
    }
}

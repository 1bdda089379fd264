//! The reconciler: brings the queue and the store in line with the ledger, one replica at a time.
//!
//! Jobs that the ledger believes dispatched and the queue does not have are dispatched again. The two
//! cannot be looked at in one moment, so a job counts as forgotten when two looks in a row miss it,
//! nothing changed in between, and no event of the workers waited to be recorded: its last event may
//! be among them. A job that is queued twice all the same ends once (see `recorder`).

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonemill_job::objects::ObjectStore;
use tonemill_job::queue::Queue;
use tonemill_job::{JobId, chain};

use crate::Ledger;
use crate::sweep::{Retention, Sweeper};

/// The office that one replica holds.
const OFFICE: &str = "reconciler";
/// How long it is held after the last sign of life.
const OFFICE_LEASE_MS: i64 = 30_000;
/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// A job this young may be on its way from the dispatcher to the queue.
const YOUNG_MS: i64 = 10_000;

/// Reconciles until it is told to end.
pub async fn run(
    ledger: &Ledger,
    queue: &dyn Queue,
    store: &dyn ObjectStore,
    retention: Retention,
    shutdown: &CancellationToken,
) {
    let mut missing = Missing::default();
    let mut sweeper = Sweeper::new(retention);
    while !shutdown.is_cancelled() {
        if let Err(error) = ledger.db.set_clock().await {
            tracing::warn!(error = chain(&error), "the ledger's clock cannot be read");
        } else {
            match ledger.lead(OFFICE, OFFICE_LEASE_MS).await {
                Ok(true) => {
                    missing.look(ledger, queue).await;
                    sweeper.sweep(ledger, store).await;
                }
                Ok(false) => missing = Missing::default(),
                Err(error) => tracing::warn!(error = chain(&error), "no leader can be chosen"),
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(LOOK) => {}
        }
    }
    if let Err(error) = ledger.step_down(OFFICE).await {
        tracing::debug!(error = chain(&error), "left office without a word");
    }
}

/// Tells the queue of jobs in it that are over in the ledger: whoever cancelled them could not, or
/// did not get to it.
async fn tell_cancelled(
    ledger: &Ledger,
    queue: &dyn Queue,
    jobs: impl Iterator<Item = &JobId>,
) -> Result<(), String> {
    let jobs: Vec<JobId> = jobs.copied().collect();
    for jobs in jobs.chunks(200) {
        let known = ledger.jobs_by_id(jobs).await.map_err(|error| chain(&error))?;
        for job in known.into_iter().filter(|job| job.state.is_ended()) {
            queue.cancel(job.id).await.map_err(|error| chain(&error))?;
        }
    }
    Ok(())
}

/// Jobs that the last look missed in the queue, with their versions.
#[derive(Debug, Default)]
pub struct Missing(HashMap<JobId, i64>);

impl Missing {
    /// Looks once; how many jobs were dispatched again.
    pub async fn look(&mut self, ledger: &Ledger, queue: &dyn Queue) -> usize {
        match self.try_look(ledger, queue).await {
            Ok(0) => 0,
            Ok(count) => {
                tracing::warn!(jobs = count, "the queue has lost jobs: they are queued again");
                count
            }
            Err(why) => {
                tracing::warn!(error = why, "the queue cannot be reconciled");
                0
            }
        }
    }

    async fn try_look(&mut self, ledger: &Ledger, queue: &dyn Queue) -> Result<usize, String> {
        let before = ledger.now_ms() - YOUNG_MS;
        let mut dispatched = HashMap::new();
        let mut last = None;
        loop {
            let page = ledger.dispatched(before, last).await.map_err(|error| chain(&error))?;
            let Some((job, _)) = page.last() else { break };
            last = Some(*job);
            dispatched.extend(page);
        }
        let queued = queue.jobs().await.map_err(|error| chain(&error))?;
        tell_cancelled(ledger, queue, queued.difference(&dispatched.keys().copied().collect()))
            .await?;
        dispatched.retain(|job, _| !queued.contains(job));
        let depth = queue.depth().await.map_err(|error| chain(&error))?;
        if depth.events > 0 {
            return Ok(0);
        }
        let forgotten: Vec<JobId> = dispatched
            .iter()
            .filter(|(job, version)| self.0.get(job) == Some(version))
            .map(|(job, _)| *job)
            .collect();
        self.0 = dispatched;
        let mut count = 0;
        for jobs in forgotten.chunks(500) {
            count += ledger.requeue(jobs).await.map_err(|error| chain(&error))?;
        }
        Ok(count)
    }
}

//! The worker: permit, receive, spawn, settle.
//!
//! A permit is taken before a job is received, so that no job waits in a process that has no room
//! for it; the permit travels with the job. Each job runs on its own, under its own lease, until it
//! is settled. When the worker is to end it takes no more, lets jobs finish for a while, and
//! releases the rest unharmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rayon::ThreadPool;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonemill_job::chain;
use tonemill_job::objects::{ObjectStore, try_out};
use tonemill_job::queue::{Delivery, Queue};
use tonemill_telemetry::{Ended, Shutdown, trace};
use tracing::Instrument;

use crate::config::WorkerConfig;
use crate::control::Stop;
use crate::job::{After, JobRun};
use crate::running::Running;
use crate::state::WorkerState;

/// How long one call waits for a job; how soon a drain is noticed by an idle worker.
const RECEIVE: Duration = Duration::from_secs(1);
/// Pauses after errors start here and double, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long taking this worker's name out of the queue may take.
const LEAVE: Duration = Duration::from_secs(2);
/// How long jobs that were stopped have to notice.
const STOP: Duration = Duration::from_secs(5);

/// A worker.
#[derive(Debug)]
pub struct Worker {
    queue: Arc<dyn Queue>,
    store: Arc<dyn ObjectStore>,
    config: Arc<WorkerConfig>,
    pool: Arc<ThreadPool>,
    permits: Arc<Semaphore>,
    running: Running,
    shutdown: Shutdown,
    /// The store failed a job and was not seen to read and write since, or not yet.
    store_suspect: Arc<AtomicBool>,
}

impl Worker {
    /// A worker that takes jobs from `queue` when it is [run](Self::run).
    pub fn new(
        queue: Arc<dyn Queue>,
        store: Arc<dyn ObjectStore>,
        config: WorkerConfig,
        shutdown: Shutdown,
    ) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.threads)
            .thread_name(|n| format!("tonemill-encode-{n}"))
            .build()?;
        Ok(Self {
            permits: Arc::new(Semaphore::new(config.jobs)),
            queue,
            store,
            config: Arc::new(config),
            pool: Arc::new(pool),
            running: Running::default(),
            shutdown,
            store_suspect: Arc::new(AtomicBool::new(true)),
        })
    }

    /// What tells the state of this worker.
    #[must_use]
    pub fn state(&self) -> WorkerState {
        WorkerState {
            queue: Arc::clone(&self.queue),
            store: Arc::clone(&self.store),
            jobs: self.config.jobs,
            threads: self.config.threads,
            running: self.running.clone(),
            shutdown: self.shutdown.clone(),
        }
    }

    /// Takes and runs jobs until it is told to end.
    pub async fn run(self) -> Ended {
        tracing::info!(
            worker = self.queue.worker(),
            jobs = self.config.jobs,
            threads = self.config.threads,
            "worker started"
        );
        let mut jobs = JoinSet::new();
        let ended = tokio::select! {
            ended = self.consume(&mut jobs) => ended,
            () = self.running.watch_cancellations(&*self.queue) => Ended::Done,
        };
        let mut ended = self.wind_up(jobs, ended).await;
        if self.shutdown.is_draining() {
            // Who was told to end does not start again: the end of the process ends what hangs.
            ended = Ended::Done;
        }
        // The living sweep the names of those who could not.
        match timeout(LEAVE, self.queue.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = chain(&error), "left without a word"),
            Err(_) => tracing::debug!("left without a word: the queue does not answer"),
        }
        tracing::info!(worker = self.queue.worker(), ?ended, "worker ended");
        ended
    }

    /// Permit, receive, spawn; until the worker is to end.
    async fn consume(&self, jobs: &mut JoinSet<After>) -> Ended {
        let mut pause = FIRST_PAUSE;
        loop {
            while let Some(joined) = jobs.try_join_next() {
                if after(joined) == After::Hung {
                    return Ended::Hung;
                }
            }
            let permit = tokio::select! {
                permit = Arc::clone(&self.permits).acquire_owned() => permit,
                () = self.shutdown.draining() => return Ended::Done,
                Some(joined) = jobs.join_next() => {
                    if after(joined) == After::Hung {
                        return Ended::Hung;
                    }
                    continue;
                }
            };
            let Ok(permit) = permit else { return Ended::Done };
            if !self.store_answers().await {
                drop(permit);
                // Who ends when nothing waits needs no store for that.
                if self.config.once
                    && let Some(ended) = self.is_finished(jobs).await
                {
                    return ended;
                }
                self.pause(&mut pause).await;
                continue;
            }
            // Never dropped half-way: the answer may hold a job.
            let wait = if self.config.once { Duration::ZERO } else { RECEIVE };
            match self.queue.receive(wait).await {
                Ok(Some(delivery)) => {
                    pause = FIRST_PAUSE;
                    jobs.spawn(self.job(delivery, permit));
                }
                Ok(None) => {
                    pause = FIRST_PAUSE;
                    drop(permit);
                    if self.config.once
                        && let Some(ended) = self.is_finished(jobs).await
                    {
                        return ended;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "no job can be received");
                    metrics::counter!("tonemill_receive_errors_total").increment(1);
                    self.pause(&mut pause).await;
                }
            }
            if self.shutdown.is_draining() {
                return Ended::Done;
            }
        }
    }

    /// For a worker that ends when there is nothing to do: how it ended, if so. Waits for a change.
    async fn is_finished(&self, jobs: &mut JoinSet<After>) -> Option<Ended> {
        if let Some(joined) = jobs.join_next().await {
            return (after(joined) == After::Hung).then_some(Ended::Hung);
        }
        let depth = self.queue.depth().await;
        let is_empty = depth.is_ok_and(|depth| {
            depth.delayed == 0 && depth.lanes.iter().all(|lane| lane.waiting == 0)
        });
        if is_empty {
            return Some(Ended::Done);
        }
        sleep(FIRST_PAUSE).await;
        None
    }

    fn job(
        &self,
        delivery: Delivery,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) -> impl Future<Output = After> + Send + use<> {
        let message = &delivery.message;
        let span = tracing::info_span!(
            "attempt",
            job = %message.job,
            attempt = message.history.attempts + delivery.deliveries,
            trace_id = tracing::field::Empty,
        );
        let span = trace::continued(span, message.traceparent.as_deref());
        let run = JobRun {
            queue: Arc::clone(&self.queue),
            store: Arc::clone(&self.store),
            config: Arc::clone(&self.config),
            pool: Arc::clone(&self.pool),
            running: self.running.clone(),
            store_suspect: Arc::clone(&self.store_suspect),
        };
        async move {
            let after = run.run(delivery).await;
            drop(permit);
            after
        }
        .instrument(span)
    }

    /// Whether jobs can be expected to read and write. At the start, and after the store failed
    /// one, it has to prove itself before the next is taken: in an outage, and while a setting is
    /// wrong, jobs wait in the queue and use up no attempts.
    async fn store_answers(&self) -> bool {
        if !self.store_suspect.load(Ordering::Relaxed) {
            return true;
        }
        match try_out(&*self.store).await {
            Ok(()) => {
                self.store_suspect.store(false, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "no jobs are taken while the store is away");
                false
            }
        }
    }

    async fn pause(&self, pause: &mut Duration) {
        let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        let _ = timeout(jittered, self.shutdown.draining()).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }

    /// Lets jobs finish within the grace period, and releases the rest.
    async fn wind_up(&self, mut jobs: JoinSet<After>, mut ended: Ended) -> Ended {
        if ended == Ended::Done {
            tokio::select! {
                last = finish(&mut jobs) => ended = last,
                () = sleep(self.config.grace) => {}
                () = self.shutdown.stopping() => {}
                () = self.running.watch_cancellations(&*self.queue) => {}
            }
        }
        self.running.stop_all(Stop::Shutdown);
        match timeout(STOP, finish(&mut jobs)).await {
            Ok(Ended::Done) => {}
            Ok(Ended::Hung) => ended = Ended::Hung,
            Err(_) => {
                tracing::error!(jobs = jobs.len(), "jobs do not stop; their leases will run out");
                ended = Ended::Hung;
            }
        }
        ended
    }
}

/// Waits for the end of all jobs, or for the first that hangs.
async fn finish(jobs: &mut JoinSet<After>) -> Ended {
    while let Some(joined) = jobs.join_next().await {
        if after(joined) == After::Hung {
            return Ended::Hung;
        }
    }
    Ended::Done
}

fn after(joined: Result<After, tokio::task::JoinError>) -> After {
    joined.unwrap_or_else(|error| {
        tracing::error!(%error, "the handling of a job panicked; its lease will run out");
        After::Settled
    })
}

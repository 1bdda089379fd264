//! One job in this worker, from its lease to its settlement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rayon::ThreadPool;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tonemill_job::message::{
    Failure, Finished, JobEvent, Position, Progress, VERSION, What, now_ms,
};
use tonemill_job::objects::{ObjectStore, StoreErrorKind};
use tonemill_job::queue::{Delivery, Queue, Settlement};
use tonemill_job::{JobMessage, ObjectKey, chain};
use tonemill_telemetry::trace;
use tracing::{Instrument as _, Span};

use crate::attempt::{Attempt, Failed};
use crate::config::WorkerConfig;
use crate::control::{Control, Stop};
use crate::failure::{AttemptError, MAX_ATTEMPTS, Next, next, store_error};
use crate::fault;
use crate::lease::{Lease, Settled};
use crate::running::Running;

/// Progress is told at most this often.
const PROGRESS: Duration = Duration::from_millis(250);
/// How often it is looked whether an attempt is alive.
const LOOK: Duration = Duration::from_millis(500);
/// How long an attempt may take to notice that it was stopped: a packet or a segment, while many
/// others run.
const NOTICE: Duration = Duration::from_secs(20);
/// For how long a settlement is tried while the queue is away.
const SETTLE: Duration = Duration::from_mins(10);
/// The same when this process is to end.
const SETTLE_AT_END: Duration = Duration::from_secs(2);

/// How a lost lease is told.
const TAKEN: &str = "attempt ended in vain: another worker has the job";

/// What a job runs with.
pub(crate) struct JobRun {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) pool: Arc<ThreadPool>,
    pub(crate) running: Running,
    pub(crate) store_suspect: Arc<AtomicBool>,
}

/// What a job leaves behind in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing.
    Settled,
    /// A thread that does not end.
    Hung,
}

/// How an attempt ended.
enum Outcome {
    Finished(Box<Finished>),
    Failed(Box<Failed>),
    Stopped(Stop),
}

impl JobRun {
    /// Runs the job and settles it.
    pub(crate) async fn run(self, delivery: Delivery) -> After {
        let Delivery { message, lease, deliveries } = delivery;
        let number = message.history.attempts + deliveries;
        let counted = number.saturating_sub(message.history.forgiven);
        let control = Control::default();
        let _entry = self.running.add(message.job, control.clone());
        #[cfg(feature = "faults")]
        let token = lease.clone();
        let lease = Lease::hold(Arc::clone(&self.queue), lease, control.clone());
        let started = Instant::now();
        // Whoever had it before died with it, or was cut off.
        let alone = message.history.suspect || deliveries > 1;
        let outcome = if self.is_unwanted(&message).await {
            Outcome::Stopped(Stop::Cancelled)
        } else if counted > MAX_ATTEMPTS {
            let error = AttemptError::TooManyAttempts(counted - 1);
            let failure = error.failure(Position::default(), None);
            Outcome::Failed(Box::new(Failed { error, failure }))
        } else {
            tracing::info!(alone, "attempt started");
            let _ = fault::point("received", &[]);
            self.announce(&message, number).await;
            let output = ObjectKey::output(message.job, number);
            #[cfg(feature = "faults")]
            self.acknowledge_first(&token, &message, number, &output).await;
            self.attempt(&message, output, alone, &control).await
        };
        let after = match outcome {
            Outcome::Stopped(Stop::Hung) => After::Hung,
            _ => After::Settled,
        };
        if let Outcome::Failed(failed) = &outcome {
            trace::failed(&Span::current(), failed.failure.kind.name());
        }
        let span = tracing::info_span!(
            "settle",
            job = %message.job,
            attempt = number,
            trace_id = tracing::field::Empty,
        );
        let settle = self.settle(lease, message, number, alone, outcome, started);
        settle.instrument(trace::within(span)).await;
        after
    }

    async fn is_unwanted(&self, message: &JobMessage) -> bool {
        // A queue that is away is asked again while the job runs.
        self.queue.cancelled(&[message.job]).await.is_ok_and(|cancelled| !cancelled.is_empty())
    }

    async fn announce(&self, message: &JobMessage, number: u32) {
        let event = self.event(message, number, What::Started);
        if let Err(error) = self.queue.announce(message, &event).await {
            tracing::debug!(error = chain(&error), "the start of the attempt was not told");
        }
    }

    pub(crate) fn event(&self, message: &JobMessage, attempt: u32, what: What) -> JobEvent {
        JobEvent {
            v: VERSION,
            job: message.job,
            attempt,
            worker: self.queue.worker().to_owned(),
            at_ms: now_ms(),
            // Whoever writes it down continues from here.
            traceparent: trace::traceparent().or_else(|| message.traceparent.clone()),
            what,
        }
    }

    /// Runs the attempt on a thread of its own, and watches it.
    async fn attempt(
        &self,
        message: &JobMessage,
        output: ObjectKey,
        alone: bool,
        control: &Control,
    ) -> Outcome {
        let (progress, told) = watch::channel(None);
        let attempt = Attempt {
            message: message.clone(),
            output,
            alone,
            store: Arc::clone(&self.store),
            config: Arc::clone(&self.config),
            pool: Arc::clone(&self.pool),
            control: control.clone(),
            runtime: Handle::current(),
            progress,
        };
        let span = Span::current();
        let mut thread = tokio::task::spawn_blocking(move || span.in_scope(|| attempt.run()));
        let result = tokio::select! {
            result = &mut thread => result,
            // A child process is watched by those who started it.
            stop = watch_over(control, self.config.stall, !alone) => return Outcome::Stopped(stop),
            () = self.tell_progress(message, told) => (&mut thread).await,
        };
        match (result, control.why()) {
            // What is finished is finished, whoever wanted it stopped a moment ago.
            (Ok(Ok(finished)), _) => Outcome::Finished(Box::new(finished)),
            (_, Some(why)) => Outcome::Stopped(why),
            (Ok(Err(failed)), None) => Outcome::Failed(failed),
            (Err(_), None) => {
                let error = AttemptError::Panicked;
                let failure = error.failure(Position::default(), None);
                Outcome::Failed(Box::new(Failed { error, failure }))
            }
        }
    }

    /// Tells how far the attempt is, until it ends.
    async fn tell_progress(
        &self,
        message: &JobMessage,
        mut told: watch::Receiver<Option<Progress>>,
    ) {
        while told.changed().await.is_ok() {
            let progress = *told.borrow_and_update();
            if let Some(progress) = progress {
                // The next one makes up for it.
                let _ = self.queue.report_progress(message.job, progress).await;
            }
            sleep(PROGRESS).await;
        }
        std::future::pending::<()>().await;
    }

    async fn settle(
        &self,
        lease: Lease,
        message: JobMessage,
        number: u32,
        alone: bool,
        outcome: Outcome,
        started: Instant,
    ) {
        let _ = fault::point("settle", &[]);
        let output = match &outcome {
            Outcome::Finished(finished) => Some(finished.output.clone()),
            _ => None,
        };
        let label = match &outcome {
            Outcome::Finished(_) => "finished",
            Outcome::Failed(failed) => failed.failure.kind.name(),
            Outcome::Stopped(Stop::Cancelled) => "cancelled",
            Outcome::Stopped(Stop::Shutdown) => "released",
            Outcome::Stopped(Stop::LeaseLost) => "lost",
            Outcome::Stopped(Stop::Hung) => "hung",
        };
        let patience = if label == "released" || label == "hung" { SETTLE_AT_END } else { SETTLE };
        let Some(settlement) = self.settlement(message, number, alone, outcome) else {
            tracing::warn!(outcome = label, "{TAKEN}");
            return;
        };
        let (settled, error) = lease.settle(&settlement, Instant::now() + patience).await;
        let _ = fault::point("settled", &[]);
        let ms = started.elapsed().as_millis() as u64;
        metrics::counter!("tonemill_attempts_total", "outcome" => label).increment(1);
        metrics::histogram!("tonemill_attempt_duration_seconds", "outcome" => label)
            .record(started.elapsed());
        match (settled, error) {
            (Settled::Done, _) => tracing::info!(outcome = label, ms, "attempt ended"),
            (_, Some(error)) => {
                tracing::error!(outcome = label, ms, error = chain(&error), "not settled");
            }
            (Settled::Lost, None) => tracing::warn!(outcome = label, ms, "{TAKEN}"),
            (_, None) => tracing::warn!(outcome = label, ms, "attempt ended, settled or not"),
        }
        // An output that may have been told of stays; who sweeps knows which count.
        if let (Settled::Lost, Some(output)) = (settled, output)
            && let Err(error) = self.store.delete(&output).await
        {
            tracing::warn!(%output, error = chain(&error), "an output that nobody wants stays");
        }
    }

    /// How the lease is to end; `None` if it was lost.
    fn settlement(
        &self,
        mut message: JobMessage,
        number: u32,
        alone: bool,
        outcome: Outcome,
    ) -> Option<Settlement> {
        let failed = match outcome {
            Outcome::Stopped(Stop::LeaseLost) => return None,
            Outcome::Stopped(Stop::Shutdown) => return Some(Settlement::Release),
            Outcome::Stopped(Stop::Cancelled) => {
                return Some(self.end(message, number, What::Cancelled));
            }
            Outcome::Finished(finished) => {
                return Some(self.end(message, number, What::Finished(finished)));
            }
            Outcome::Failed(failed) => failed,
            Outcome::Stopped(Stop::Hung) => {
                let error = AttemptError::Hung(self.config.stall);
                let failure = error.failure(Position::default(), None);
                Box::new(Failed { error, failure })
            }
        };
        let Failed { error, failure } = *failed;
        self.suspect_store(&error);
        log_failure(&failure);
        let delay = self.config.retry_delay;
        Some(match next(failure.kind, message.history, number, alone, delay) {
            Next::GiveUp => self.end(message, number, What::Failed { failure: Box::new(failure) }),
            Next::TryAgain { history, delay } => {
                message.history = history;
                let not_before_ms = now_ms() + delay.as_millis() as u64;
                let what = What::Retrying { failure: Box::new(failure), not_before_ms };
                let event = self.event(&message, number, what);
                Settlement::Again { message: Box::new(message), delay, event }
            }
        })
    }

    fn end(&self, message: JobMessage, number: u32, what: What) -> Settlement {
        let event = self.event(&message, number, what);
        Settlement::End { event, reply: message.reply }
    }

    /// Remembers that the store is away: other jobs would fare no better.
    fn suspect_store(&self, error: &AttemptError) {
        let away = |kind| matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Denied);
        if store_error(error).is_some_and(|error| away(error.kind)) {
            self.store_suspect.store(true, Ordering::Relaxed);
        }
    }
}

fn log_failure(failure: &Failure) {
    tracing::warn!(
        kind = failure.kind.name(),
        stage = failure.stage,
        error = failure.chain.join(": "),
        encoded_seconds = failure.position.encoded_seconds,
        input_offset = failure.position.input_offset,
        "attempt failed"
    );
}

/// Ends when the attempt does not: it is silent for longer than `stall` (if that is to be watched),
/// or goes on long after it was stopped.
async fn watch_over(control: &Control, stall: Duration, watch_silence: bool) -> Stop {
    let silence = async {
        loop {
            sleep(LOOK).await;
            if watch_silence && control.silent_for() > stall {
                control.stop(Stop::Hung);
                return;
            }
        }
    };
    let deaf = async {
        control.stopped().await;
        sleep(NOTICE).await;
    };
    tokio::select! {
        () = silence => {}
        () = deaf => {}
    }
    Stop::Hung
}

//! The recorder: writes down what the workers tell.
//!
//! A batch of events is one transaction (see `events`). Only then is it confirmed to the queue. A
//! database that is too slow for a batch is given less at a time; an event that it refuses is put
//! aside, and its job fails. Any number of replicas record at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonemill_job::message::What;
use tonemill_job::objects::ObjectStore;
use tonemill_job::queue::{EventId, Queue};
use tonemill_job::{JobEvent, chain};
use tracing::Instrument as _;

use crate::Ledger;
use crate::error::{LedgerError, LedgerErrorKind};
use crate::events::{defect, span_of};
use crate::job::signed;
use crate::measures::seconds;
use crate::removal::Removal;

/// Most events in one transaction.
const BATCH: usize = 100;
/// How long one call waits for events.
const WAIT: Duration = Duration::from_secs(1);
/// After an error.
const PAUSE: Duration = Duration::from_millis(500);

/// Records until it is told to end, and then what is still there.
pub async fn run(
    ledger: &Ledger,
    queue: &dyn Queue,
    store: Arc<dyn ObjectStore>,
    shutdown: &CancellationToken,
) {
    let mut recorder = Recorder { ledger, queue, removal: Removal::start(store), most: BATCH };
    loop {
        let is_last = shutdown.is_cancelled();
        let wait = if is_last { Duration::ZERO } else { WAIT };
        // Never dropped half-way: what was handed out to nobody comes late.
        match queue.events(BATCH, wait).await {
            Ok(events) if events.is_empty() && is_last => break,
            Ok(events) if events.is_empty() => {}
            Ok(events) => recorder.record(events, shutdown).await,
            Err(error) => {
                tracing::warn!(error = chain(&error), "no events can be read");
                if is_last {
                    break;
                }
                sleep(PAUSE).await;
            }
        }
    }
    recorder.removal.end().await;
}

struct Recorder<'a> {
    ledger: &'a Ledger,
    queue: &'a dyn Queue,
    removal: Removal,
    /// Events in one transaction, as many as the database can do in time.
    most: usize,
}

impl Recorder<'_> {
    /// Writes a batch down and confirms it. What cannot be written is left unconfirmed: it comes
    /// again.
    async fn record(&mut self, mut batch: Vec<(EventId, JobEvent)>, shutdown: &CancellationToken) {
        // By job, so that two replicas lock rows in the same order; each job's own order stays.
        batch.sort_by_key(|(_, event)| event.job);
        let (ids, events): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let mut at = 0;
        while at < events.len() {
            let end = events.len().min(at + self.most);
            match self.ledger.record(&events[at..end]).await {
                Ok(unneeded) => {
                    events[at..end].iter().for_each(|event| self.count(event));
                    if let Err(error) = self.queue.confirm(&ids[at..end]).await {
                        // They come again, and change nothing.
                        tracing::warn!(error = chain(&error), "recorded events are not confirmed");
                        sleep(PAUSE).await;
                    }
                    self.removal.take(unneeded);
                    self.most = BATCH.min(self.most * 2);
                    at = end;
                }
                Err(error) if error.kind == LedgerErrorKind::Invalid && end - at == 1 => {
                    let refuse = self.refuse(&ids[at], &events[at], &error);
                    refuse.instrument(span_of(&events[at])).await;
                    at = end;
                }
                Err(error) => {
                    // What is less may be done in time, and one that is refused is found.
                    self.most = (end - at).div_ceil(2);
                    if error.kind == LedgerErrorKind::Invalid {
                        continue;
                    }
                    tracing::warn!(error = chain(&error), "events wait to be recorded");
                    if shutdown.is_cancelled() {
                        return;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Counts an event that is written down.
    fn count(&self, event: &JobEvent) {
        let name = event.what.name();
        metrics::counter!("tonemill_recorder_events_total", "event" => name).increment(1);
        let lag_ms = self.ledger.now_ms() - signed(event.at_ms);
        metrics::histogram!("tonemill_recorder_lag_seconds").record(seconds(lag_ms));
    }

    /// Puts an event aside that cannot be written down. A job that would never end without it
    /// fails: else it would be taken for lost, and done again and again.
    async fn refuse(&self, id: &EventId, event: &JobEvent, why: &LedgerError) {
        tracing::error!(error = chain(why), "an event is put aside");
        if event.what.is_end() {
            let told = "what became of this file could not be written down";
            let failure = Box::new(defect("record", told, chain(why)));
            let failed = JobEvent { what: What::Failed { failure }, ..event.clone() };
            if let Err(error) = self.ledger.record(&[failed]).await {
                tracing::error!(error = chain(&error), "nor does its job fail");
            }
        }
        if let Err(error) = self.queue.set_aside(std::slice::from_ref(id)).await {
            tracing::error!(error = chain(&error), "it cannot be put aside");
        }
    }
}

//! The loop: claim what is due, try it, settle what came of it.
//!
//! A claim is for a time, and everything that is done under it has its own share of that time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonemill_job::chain;
use tonemill_ledger::Ledger;
use tonemill_ledger::deliveries::NOBODY;
use tonemill_ledger::deliveries::claim::{AttemptOutcome, CLAIM_MS, CLAIMING, Claimed, Recipient};
use tonemill_telemetry::trace::{continued, failed};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::mail::LONGEST_MAIL;
use crate::places::{Place, Places};
use crate::schedule::Schedule;
use crate::webhook::LONGEST_CALL;
use crate::{Answer, Channels, Health, Verdict};

/// How often is looked for what is due.
const LOOK: Duration = Duration::from_millis(500);
/// After an error.
const PAUSE: Duration = Duration::from_secs(2);
/// For how long is tried to write down what came of an attempt: who was told would be told again.
const SETTLING: Duration = Duration::from_secs(30);

/// A claim lasts as long as whoever has it may take: or another would tell the same meanwhile.
const _: () = {
    let (mail, call) = (LONGEST_MAIL.as_millis(), LONGEST_CALL.as_millis());
    let attempt = if mail > call { mail } else { call };
    assert!(CLAIMING.as_millis() + attempt + SETTLING.as_millis() < CLAIM_MS as u128);
};

/// Brings what is owed.
pub struct Courier {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) channels: Arc<Channels>,
    pub(crate) schedule: Schedule,
    pub(crate) places: Places,
    pub(crate) under_way: JoinSet<Verdict>,
}

impl Courier {
    /// Asks, for as long as anybody wants to know, what this one needs.
    #[must_use]
    pub fn health(&self) -> Health {
        Health { ledger: Arc::clone(&self.ledger), channels: Arc::clone(&self.channels) }
    }

    /// Works until it is told to end, and then for `grace` at most on what is under way. What is
    /// not done by then is claimed by another when its claim runs out.
    pub async fn run(mut self, shutdown: &CancellationToken, grace: Duration) {
        self.channels.mail.announce();
        while !shutdown.is_cancelled() {
            let pause = match self.claim().await {
                Ok(0) => LOOK,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "no delivery can be claimed");
                    PAUSE
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(pause) => {}
                Some(ended) = self.under_way.join_next_with_id() => self.make_room(ended),
                () = self.ledger.notifier_woken(), if pause == LOOK => {}
            }
        }
        let rest = async { while self.under_way.join_next().await.is_some() {} };
        if timeout(grace, rest).await.is_err() {
            tracing::info!("deliveries that were under way are left to others");
        }
    }

    /// Begins as many attempts as there is room for; how many.
    async fn claim(&mut self) -> tonemill_ledger::Result<usize> {
        while let Some(ended) = self.under_way.try_join_next_with_id() {
            self.make_room(ended);
        }
        let room = self.places.room();
        if room.all == 0 {
            return Ok(0);
        }
        let claimed = self.ledger.claim_deliveries(&room).await?;
        let count = claimed.len();
        for one in claimed {
            let whose = Place::of(&one);
            let (ledger, channels, schedule) =
                (Arc::clone(&self.ledger), Arc::clone(&self.channels), self.schedule);
            let span = tracing::info_span!("notify", delivery = %one.id, event = one.event,
                job = one.job.map(display), trace_id = Empty);
            let span = continued(span, one.traceparent.as_deref());
            let attempt = async move { attempt(&ledger, &channels, schedule, &one).await };
            let task = self.under_way.spawn(attempt.instrument(span));
            self.places.take(task.id(), whose);
        }
        Ok(count)
    }

    fn make_room(&mut self, ended: Result<(Id, Verdict), JoinError>) {
        let (task, verdict) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "an attempt at a delivery panicked");
                (error.id(), Verdict::Failed { wait: None })
            }
        };
        self.places.free(task, verdict);
    }
}

/// Tries a delivery once, and writes down what came of it.
async fn attempt(
    ledger: &Ledger,
    channels: &Channels,
    schedule: Schedule,
    one: &Claimed,
) -> Verdict {
    let start = Instant::now();
    let (channel, answer) = match &one.to {
        Some(Recipient::Mail { name, address }) => {
            (Some("mail"), channels.mail.send(one, name, address, ledger.now_ms()).await)
        }
        Some(Recipient::Webhook { url, secrets, .. }) => {
            (Some("webhook"), channels.webhooks.call(one, url, secrets, ledger.now_ms()).await)
        }
        None => (None, Answer::new(Verdict::Refused, NOBODY)),
    };
    let now = ledger.now_ms();
    let age = Duration::from_millis(u64::try_from(now - one.since_ms).unwrap_or_default());
    let outcome = match answer.verdict {
        Verdict::Delivered => AttemptOutcome::Delivered,
        Verdict::Refused => AttemptOutcome::Dead,
        Verdict::Gone => AttemptOutcome::Gone,
        Verdict::Failed { wait } => match schedule.pause(one.attempt, age, wait) {
            Some(pause) => {
                let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                AttemptOutcome::Retry { not_before_ms: now.saturating_add(pause_ms) }
            }
            None => AttemptOutcome::Dead,
        },
    };
    let outcome_name = match outcome {
        AttemptOutcome::Delivered => "delivered",
        AttemptOutcome::Retry { .. } => "failed",
        AttemptOutcome::Dead | AttemptOutcome::Gone => "dead",
    };
    if let Some(channel) = channel {
        let labels = [("channel", channel), ("outcome", outcome_name)];
        metrics::counter!("tonemill_delivery_attempts_total", &labels).increment(1);
        metrics::histogram!("tonemill_delivery_duration_seconds", "channel" => channel)
            .record(start.elapsed());
    }
    tell(channel, one.attempt, outcome_name, &answer);
    settle(ledger, one, &outcome, &answer.text).await;
    answer.verdict
}

/// A mail that does not go is the operator's affair, a webhook that does not answer its user's.
fn tell(channel: Option<&str>, attempt: u64, outcome: &'static str, answer: &Answer) {
    let Answer { verdict, text } = answer;
    if *verdict != Verdict::Delivered && channel == Some("mail") {
        tracing::warn!(channel, attempt, outcome, answer = text, "not notified");
    } else {
        tracing::info!(channel, attempt, outcome, answer = text, "notified");
    }
    if *verdict != Verdict::Delivered {
        failed(&Span::current(), outcome);
    }
}

/// Who cannot write down that somebody was told tries again, for a while: or they are told twice.
async fn settle(ledger: &Ledger, one: &Claimed, outcome: &AttemptOutcome, answer: &str) {
    let tries = async {
        for number in 1.. {
            match ledger.settle_delivery(one, outcome, answer).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!("what came of a delivery is known too late");
                    return;
                }
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "what came of a delivery is not written down"
                    );
                    sleep(PAUSE * number).await;
                }
            }
        }
    };
    if timeout(SETTLING, tries).await.is_err() {
        tracing::warn!("a delivery will be tried again, whatever came of it");
    }
}

//! The loop: claim what is due, try it, settle what came of it.
//!
//! There is a place for each attempt under way, and a few places for each webhook, fewer for one that
//! does not answer: whoever is slow waits for itself, and for nobody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonemill_job::chain;
use tonemill_ledger::Ledger;
use tonemill_ledger::deliveries::NOBODY;
use tonemill_ledger::deliveries::claim::{AttemptOutcome, Claimed, Recipient, Room};
use tonemill_telemetry::trace::{continued, failed};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::schedule::Schedule;
use crate::{Answer, Channels, Health, Verdict};

/// How often is looked for what is due.
const LOOK: Duration = Duration::from_millis(500);
/// After an error.
const PAUSE: Duration = Duration::from_secs(2);
/// How often is tried to write down what came of an attempt: who was told would be told again.
const SETTLE_TRIES: u32 = 5;
/// Mails at a time.
const MAILS: usize = 4;
/// For how long a webhook that failed has one place only, unless it takes something.
const FAILING_FOR: Duration = Duration::from_hours(1);

/// Brings what is owed.
pub struct Courier {
    ledger: Arc<Ledger>,
    channels: Arc<Channels>,
    schedule: Schedule,
    at_once: usize,
    per_webhook: usize,
    under_way: JoinSet<Verdict>,
    /// The webhook of each attempt under way; none for mails.
    to: HashMap<Id, Option<Uuid>>,
    /// Webhooks that something is on its way to, or that failed lately.
    webhooks: HashMap<Uuid, Traffic>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    under_way: usize,
    failed: Option<Instant>,
}

impl Courier {
    pub(crate) fn with(
        ledger: Arc<Ledger>,
        channels: Arc<Channels>,
        schedule: Schedule,
        at_once: usize,
        per_webhook: usize,
    ) -> Self {
        Self {
            ledger,
            channels,
            schedule,
            at_once,
            per_webhook,
            under_way: JoinSet::new(),
            to: HashMap::new(),
            webhooks: HashMap::new(),
        }
    }

    /// Asks, for as long as anybody wants to know, what this one needs.
    #[must_use]
    pub fn health(&self) -> Health {
        Health { ledger: Arc::clone(&self.ledger), channels: Arc::clone(&self.channels) }
    }

    /// Works until it is told to end, and then for `grace` at most on what is under way. What is not done
    /// by then is claimed by another when its claim runs out.
    pub async fn run(mut self, shutdown: &CancellationToken, grace: Duration) {
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
        let room = self.room();
        if room.all == 0 {
            return Ok(0);
        }
        let claimed = self.ledger.claim_deliveries(&room).await?;
        let count = claimed.len();
        for one in claimed {
            let to = match &one.to {
                Some(Recipient::Webhook { id, .. }) => Some(*id),
                _ => None,
            };
            if let Some(webhook) = to {
                self.webhooks.entry(webhook).or_default().under_way += 1;
            }
            let (ledger, channels, schedule) =
                (Arc::clone(&self.ledger), Arc::clone(&self.channels), self.schedule);
            let span = tracing::info_span!("notify", delivery = %one.id, event = one.event,
                job = one.job.map(display), trace_id = Empty);
            let span = continued(span, one.traceparent.as_deref());
            let attempt = async move { attempt(&ledger, &channels, schedule, &one).await };
            let task = self.under_way.spawn(attempt.instrument(span));
            self.to.insert(task.id(), to);
        }
        Ok(count)
    }

    fn room(&mut self) -> Room {
        let is_failing = |failed: Instant| failed.elapsed() < FAILING_FOR;
        self.webhooks.retain(|_, traffic| {
            traffic.failed = traffic.failed.filter(|failed| is_failing(*failed));
            traffic.under_way > 0 || traffic.failed.is_some()
        });
        let webhooks = self.webhooks.iter().map(|(id, traffic)| {
            let places = if traffic.failed.is_some() { 1 } else { self.per_webhook };
            (*id, places.saturating_sub(traffic.under_way))
        });
        let mails = self.to.values().filter(|to| to.is_none()).count();
        Room {
            all: self.at_once.saturating_sub(self.to.len()),
            mails: MAILS.saturating_sub(mails),
            per_webhook: self.per_webhook,
            webhooks: webhooks.collect(),
        }
    }

    fn make_room(&mut self, ended: Result<(Id, Verdict), JoinError>) {
        let (task, verdict) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "an attempt at a delivery panicked");
                (error.id(), Verdict::Failed { wait: None })
            }
        };
        if let Some(Some(webhook)) = self.to.remove(&task)
            && let Some(traffic) = self.webhooks.get_mut(&webhook)
        {
            traffic.under_way -= 1;
            traffic.failed = matches!(verdict, Verdict::Failed { .. }).then(Instant::now);
        }
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
            (Some("webhook"), channels.webhooks.call(one, url, secrets).await)
        }
        None => (None, Answer::new(Verdict::Refused, NOBODY)),
    };
    let now = ledger.now_ms();
    let age = Duration::from_millis(u64::try_from(now - one.since_ms).unwrap_or_default());
    let outcome = match answer.verdict {
        Verdict::Delivered => AttemptOutcome::Delivered,
        Verdict::Refused => AttemptOutcome::Dead,
        Verdict::Gone => AttemptOutcome::Gone,
        Verdict::Failed { wait } => match schedule.pause(age, wait) {
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
    let (attempt, answered) = (one.attempt, &answer.text);
    tracing::info!(channel, attempt, outcome = outcome_name, answer = answered, "notified");
    if answer.verdict != Verdict::Delivered {
        failed(&Span::current(), outcome_name);
    }
    settle(ledger, one, &outcome, &answer.text).await;
    answer.verdict
}

/// Who cannot write down that somebody was told tries again, for a while: or they are told twice.
async fn settle(ledger: &Ledger, one: &Claimed, outcome: &AttemptOutcome, answer: &str) {
    for number in 1..=SETTLE_TRIES {
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
}

//! How many attempts of whom may be under way.
//!
//! There is a place for each attempt, and a few places for each webhook and each user, fewer for
//! those whose webhooks do not answer: whoever is slow waits for itself, and for nobody else. Users
//! are counted besides webhooks because each of their jobs may have a webhook of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::task::Id;
use tonemill_ledger::deliveries::claim::{Claimed, Recipient, Room};
use uuid::Uuid;

use crate::Verdict;

/// Mails at a time, and of these to one user: who has a thousand jobs leaves room for who has one.
const MAILS: usize = 4;
const MAILS_PER_USER: usize = 2;
/// For how long a webhook that failed has one place only, unless it takes something; and its user,
/// who may have others that do, only these.
const FAILING_FOR: Duration = Duration::from_hours(1);
const FAILING_WEBHOOK: usize = 1;
const FAILING_USER: usize = 4;

/// Whose an attempt is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    user: Uuid,
    way: PlaceWay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlaceWay {
    Mail,
    Webhook(Uuid),
    /// There is nobody to tell.
    Nobody,
}

impl Place {
    /// That of an attempt at `one`.
    pub(crate) fn of(one: &Claimed) -> Self {
        let way = match &one.to {
            Some(Recipient::Webhook { id, .. }) => PlaceWay::Webhook(*id),
            Some(Recipient::Mail { .. }) => PlaceWay::Mail,
            None => PlaceWay::Nobody,
        };
        Self { user: one.user, way }
    }
}

/// Who has attempts under way.
pub(crate) struct Places {
    at_once: usize,
    per_webhook: usize,
    per_user: usize,
    taken: HashMap<Id, Place>,
    /// Webhooks and users whom something is on its way to, or who failed lately.
    webhooks: HashMap<Uuid, Traffic>,
    users: HashMap<Uuid, Traffic>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    under_way: usize,
    failed: Option<Instant>,
}

impl Places {
    pub(crate) fn new(at_once: usize, per_webhook: usize, per_user: usize) -> Self {
        let (taken, webhooks, users) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { at_once, per_webhook, per_user, taken, webhooks, users }
    }

    /// What is left.
    pub(crate) fn room(&mut self) -> Room {
        let mut mail_users = HashMap::new();
        for place in self.taken.values().filter(|place| place.way == PlaceWay::Mail) {
            *mail_users.entry(place.user).or_insert(MAILS_PER_USER) -= 1;
        }
        let mails = mail_users.values().map(|left| MAILS_PER_USER - left).sum::<usize>();
        Room {
            all: self.at_once.saturating_sub(self.taken.len()),
            mails: MAILS - mails,
            mails_per_user: MAILS_PER_USER,
            mail_users,
            per_webhook: self.per_webhook,
            webhooks: left(&mut self.webhooks, self.per_webhook, FAILING_WEBHOOK),
            per_user: self.per_user,
            users: left(&mut self.users, self.per_user, FAILING_USER),
        }
    }

    /// An attempt has begun.
    pub(crate) fn take(&mut self, attempt: Id, place: Place) {
        if let PlaceWay::Webhook(webhook) = place.way {
            self.webhooks.entry(webhook).or_default().under_way += 1;
        }
        self.users.entry(place.user).or_default().under_way += 1;
        self.taken.insert(attempt, place);
    }

    /// An attempt is over.
    pub(crate) fn free(&mut self, attempt: Id, verdict: Verdict) {
        let Some(place) = self.taken.remove(&attempt) else { return };
        let failed = matches!(verdict, Verdict::Failed { .. }).then(Instant::now);
        let user = self.users.entry(place.user).or_default();
        user.under_way -= 1;
        if let PlaceWay::Webhook(webhook) = place.way {
            // A mail that fails is seldom its reader's fault; and what one webhook takes says
            // nothing about the others of its user.
            user.failed = failed.or(user.failed);
            let webhook = self.webhooks.entry(webhook).or_default();
            webhook.under_way -= 1;
            webhook.failed = failed;
        }
    }
}

/// The places that each has left; forgets those of whom there is nothing to know.
fn left(traffic: &mut HashMap<Uuid, Traffic>, most: usize, failing: usize) -> HashMap<Uuid, usize> {
    traffic.retain(|_, traffic| {
        traffic.failed = traffic.failed.filter(|failed| failed.elapsed() < FAILING_FOR);
        traffic.under_way > 0 || traffic.failed.is_some()
    });
    let left = traffic.iter().map(|(id, traffic)| {
        let places = if traffic.failed.is_some() { most.min(failing) } else { most };
        (*id, places.saturating_sub(traffic.under_way))
    });
    left.collect()
}

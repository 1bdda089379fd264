//! Who is told, and who is not any more.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tonemill_job::Lane;
use tonemill_job::message::{FailureKind, What};
use tonemill_ledger::alerts::Thresholds;
use tonemill_ledger::deliveries::claim::{AttemptOutcome, Claimed, Recipient, Room};
use tonemill_ledger::deliveries::{DeliveryFilter, DeliveryState, JOB_EVENTS, samples};
use tonemill_ledger::users::{Role, User, UserChange};
use tonemill_ledger::webhooks::{Webhook, WebhookChange};
use tonemill_ledger::{Acceptance, NewJob, Owner};

use crate::bed::{Bed, failure, finished, hook, new_job};
use crate::deliveries::{a_claim_later, a_job_that_ends, claim, room, settle};

async fn webhook(bed: &Bed, user: &User) -> Webhook {
    bed.ledger.add_webhook(user.id, &hook(&["job.finished"])).await.unwrap().unwrap()
}

/// A finished job that has a webhook of its own.
async fn a_job_with_its_own(bed: &Bed, user: &User) {
    let job = NewJob { webhook: Some(hook(&["job.finished"])), ..new_job(user) };
    assert_eq!(bed.ledger.accept(&job, None).await.unwrap(), Acceptance::Accepted);
    bed.record(job.id, 1, finished(job.id, 1)).await;
}

pub async fn one_user_takes_nobody_elses_place(bed: Bed) {
    let (many, other) = (bed.user("many").await, bed.with_mail("other", Role::User).await);
    for _ in 0..20 {
        a_job_with_its_own(&bed, &many).await;
    }
    a_job_that_ends(&bed, &other).await;
    let mut room = Room { per_user: 3, ..room(4) };
    let claimed = claim(&bed, &room).await;
    assert_eq!(claimed.len(), 3, "of 16 that are looked at");
    assert!(claimed.iter().all(|one| one.user == many.id), "{claimed:?}");
    room.users.insert(many.id, 0);
    let claimed = claim(&bed, &room).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].user, other.id);
    a_claim_later(&bed).await;
    room.users.insert(many.id, 1);
    room.users.insert(other.id, 0);
    let claimed = claim(&bed, &room).await;
    assert_eq!((claimed.len(), claimed[0].user), (1, many.id));
}

pub async fn one_reader_takes_nobody_elses_mails(bed: Bed) {
    let (many, other) =
        (bed.with_mail("many", Role::User).await, bed.with_mail("other", Role::User).await);
    for _ in 0..3 {
        a_job_that_ends(&bed, &many).await;
    }
    a_job_that_ends(&bed, &other).await;
    let mut room = Room { mails_per_user: 2, ..room(4) };
    let users: Vec<_> = claim(&bed, &room).await.iter().map(|one| one.user).collect();
    assert_eq!(users, [many.id, many.id, other.id]);
    room.mail_users.insert(many.id, 0);
    assert_eq!(claim(&bed, &room).await.len(), 0);
    // What is not a mail has places of its own.
    webhook(&bed, &many).await;
    a_job_that_ends(&bed, &many).await;
    let claimed = claim(&bed, &room).await;
    assert!(matches!(claimed[..], [Claimed { to: Some(Recipient::Webhook { .. }), .. }]));
    room.mail_users.insert(many.id, 1);
    let claimed = claim(&bed, &room).await;
    assert!(matches!(claimed[..], [Claimed { to: Some(Recipient::Mail { .. }), .. }]));
}

/// Whoever answered 410 to an attempt that another has taken over may be there again.
pub async fn a_410_that_is_late_ends_nothing(bed: Bed) {
    let user = bed.user("u").await;
    let webhook = webhook(&bed, &user).await;
    let job = a_job_that_ends(&bed, &user).await;
    let late = claim(&bed, &room(1)).await.pop().unwrap();
    a_claim_later(&bed).await;
    let second = claim(&bed, &room(1)).await.pop().unwrap();
    assert!(!settle(&bed, &late, AttemptOutcome::Gone).await);
    assert_eq!(bed.ledger.webhook(user.id, webhook.id).await.unwrap(), Some(webhook));
    assert!(settle(&bed, &second, AttemptOutcome::Delivered).await);
    assert_eq!(bed.owed(job).await[0].state, DeliveryState::Delivered);
}

pub async fn a_410_from_where_it_was_ends_nothing(bed: Bed) {
    let user = bed.user("u").await;
    let webhook = webhook(&bed, &user).await;
    a_job_that_ends(&bed, &user).await;
    let one = claim(&bed, &room(1)).await.pop().unwrap();
    let waits = a_job_that_ends(&bed, &user).await;
    let url = Some("https://example.org/A-new-place".to_owned());
    let change = WebhookChange { url, ..WebhookChange::default() };
    assert!(bed.ledger.change_webhook(user.id, webhook.id, &change).await.unwrap());
    assert!(settle(&bed, &one, AttemptOutcome::Gone).await);
    let found = bed.ledger.webhook(user.id, webhook.id).await.unwrap().unwrap();
    assert_eq!(found.disabled_ms, None);
    assert_eq!(bed.owed(waits).await[0].state, DeliveryState::Owed);
    let next = claim(&bed, &room(1)).await.pop().unwrap();
    assert!(settle(&bed, &next, AttemptOutcome::Gone).await);
    let found = bed.ledger.webhook(user.id, webhook.id).await.unwrap().unwrap();
    assert!(found.disabled_ms.is_some(), "it is where it was called");
}

pub async fn who_is_disabled_is_told_nothing(bed: Bed) {
    let user = bed.with_mail("u", Role::User).await;
    webhook(&bed, &user).await;
    let before = a_job_that_ends(&bed, &user).await;
    assert_eq!(bed.owed(before).await.len(), 2);
    let running = bed.accept(&user, Lane::Normal).await;
    let disable = async |disabled: bool| {
        let change = UserChange { disabled: Some(disabled), ..UserChange::default() };
        assert!(bed.ledger.change_user(user.id, &change).await.unwrap());
    };
    disable(true).await;
    let claimed = claim(&bed, &room(10)).await;
    assert_eq!(claimed.len(), 2);
    assert!(claimed.iter().all(|one| one.to.is_none()), "{claimed:?}");
    bed.record(running, 1, finished(running, 1)).await;
    assert_eq!(bed.owed(running).await, []);
    disable(false).await;
    let after = a_job_that_ends(&bed, &user).await;
    assert_eq!(bed.owed(after).await.len(), 2);
    let claimed = claim(&bed, &room(10)).await;
    assert!(claimed.iter().all(|one| one.to.is_some()), "{claimed:?}");
}

/// Every name in a value, with those that lead to it.
fn names(value: &Value, path: &str, all: &mut BTreeSet<String>) {
    if let Value::Object(fields) = value {
        for (name, value) in fields {
            let path = format!("{path}.{name}");
            names(value, &path, all);
            all.insert(path);
        }
    }
}

pub async fn samples_are_what_is_owed(bed: Bed) {
    let shape = |event: &str, payload: &Value| {
        let mut all = BTreeSet::new();
        names(payload, "", &mut all);
        let kind = payload["data"]["alert"]["kind"].as_str().unwrap_or_default().to_owned();
        (event.to_owned(), kind, all)
    };
    let samples: BTreeSet<_> =
        samples().iter().map(|(event, payload)| shape(event, payload)).collect();
    let user = bed.with_mail("admin", Role::Admin).await;
    let events = Some(JOB_EVENTS.map(str::to_owned).to_vec());
    let change = UserChange { mail_events: Some(events), ..UserChange::default() };
    assert!(bed.ledger.change_user(user.id, &change).await.unwrap());
    for what in [What::Started, What::Failed { failure: failure(FailureKind::Crash) }] {
        let job = bed.accept(&user, Lane::Normal).await;
        bed.record(job, 1, what).await;
    }
    a_job_that_ends(&bed, &user).await;
    bed.accept(&user, Lane::Normal).await;
    bed.sql("UPDATE jobs SET created_ms = created_ms - 61000").await;
    bed.sql("UPDATE deliveries SET state = 'dead'").await;
    let waiting = Duration::from_mins(1);
    let thresholds = Thresholds { waiting, quarantined: 0, dead_deliveries: 1 };
    bed.ledger.look_for_trouble(thresholds).await.unwrap();
    let all = DeliveryFilter::default();
    let mut seen = BTreeSet::new();
    for delivery in bed.ledger.list_deliveries(Owner::Anyone, &all, 100).await.unwrap() {
        let found = bed.ledger.delivery(Owner::Anyone, delivery.id).await.unwrap();
        let shape = shape(&delivery.event, &found.unwrap().1);
        assert!(samples.contains(&shape), "there is no sample like {shape:?}");
        seen.insert(shape);
    }
    assert_eq!(seen, samples);
}

pub async fn nobody_reads_secrets_in_a_log(bed: Bed) {
    let user = bed.user("u").await;
    let new = hook(&["job.finished"]);
    webhook(&bed, &user).await;
    a_job_that_ends(&bed, &user).await;
    let one = claim(&bed, &room(1)).await.pop().unwrap();
    assert!(matches!(one.to, Some(Recipient::Webhook { .. })));
    let change = WebhookChange { secret: Some("s3cret".to_owned()), ..WebhookChange::default() };
    let new = tonemill_ledger::webhooks::NewWebhook { secret: "s3cret".to_owned(), ..new };
    let told = format!("{one:?} {change:?} {new:?}");
    assert!(!told.contains("\"secret\"") && !told.contains("s3cret"), "{told}");
}

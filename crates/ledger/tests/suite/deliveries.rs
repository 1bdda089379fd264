//! What is owed, to whom, and what becomes of it.

use tonemill_job::message::{FailureKind, What};
use tonemill_job::{JobId, Lane};
use tonemill_ledger::deliveries::claim::{AttemptOutcome, CLAIM_MS, Claimed, Recipient, Room};
use tonemill_ledger::deliveries::{DeliveryFilter, DeliveryState, JOB_EVENTS, TEST_EVENT};
use tonemill_ledger::links::Link;
use tonemill_ledger::users::{Role, User, UserChange};
use tonemill_ledger::webhooks::{MAX_WEBHOOKS, ROTATION_MS, WebhookChange};
use tonemill_ledger::{Acceptance, NewJob, Owner, Quotas};

use crate::bed::{Bed, event, failure, finished, hook, new_job};

pub fn room(all: usize) -> Room {
    let (mails_per_user, per_webhook, per_user) = (all, all, all);
    Room { all, mails: all, mails_per_user, per_webhook, per_user, ..Room::default() }
}

pub async fn claim(bed: &Bed, room: &Room) -> Vec<Claimed> {
    bed.ledger.claim_deliveries(room).await.unwrap()
}

pub async fn settle(bed: &Bed, one: &Claimed, outcome: AttemptOutcome) -> bool {
    bed.ledger.settle_delivery(one, &outcome, "503").await.unwrap()
}

/// As if whatever is owed had been claimed, or was to be tried, long ago.
pub async fn a_claim_later(bed: &Bed) {
    bed.sql("UPDATE deliveries SET next_ms = 0 WHERE state = 'owed'").await;
}

pub async fn a_job_that_ends(bed: &Bed, user: &User) -> JobId {
    let job = bed.accept(user, Lane::Normal).await;
    bed.record(job, 1, finished(job, 1)).await;
    job
}

pub async fn webhooks_are_owed_once(bed: Bed) {
    let user = bed.user("u").await;
    let [_, done, failed] = JOB_EVENTS;
    let first = bed.ledger.add_webhook(user.id, &hook(&[done, failed])).await.unwrap().unwrap();
    let second = bed.ledger.add_webhook(user.id, &hook(&[done])).await.unwrap().unwrap();
    let other = bed.ledger.add_webhook(user.id, &hook(&[failed])).await.unwrap().unwrap();
    assert_eq!(first.events, [done, failed]);
    let job = bed.accept(&user, Lane::Normal).await;
    let end = event(job, 1, finished(job, 1));
    let batch = [event(job, 1, What::Started), end.clone(), end];
    bed.ledger.record(&batch).await.unwrap();
    bed.ledger.record(&batch).await.unwrap();
    let owed = bed.owed(job).await;
    assert!(owed.iter().all(|owed| owed.event == done), "{owed:?}");
    let mut whose: Vec<_> = owed.iter().map(|owed| owed.webhook.unwrap()).collect();
    whose.sort_unstable();
    assert_eq!(whose, [first.id, second.id], "who asked for it, and each once");
    assert_eq!(owed[0].event_id, owed[1].event_id);

    let stranger = bed.user("stranger").await;
    assert!(!bed.ledger.delete_webhook(stranger.id, first.id).await.unwrap());
    for hook in [&first, &second, &other] {
        assert!(bed.ledger.delete_webhook(user.id, hook.id).await.unwrap());
    }
    assert_eq!(bed.ledger.webhooks(user.id).await.unwrap(), []);
    let claimed = claim(&bed, &room(10)).await;
    assert!(claimed.iter().all(|one| one.to.is_none()), "nobody is there any more: {claimed:?}");
    for _ in 0..MAX_WEBHOOKS {
        assert!(bed.ledger.add_webhook(user.id, &hook(&[done])).await.unwrap().is_some());
    }
    assert!(bed.ledger.add_webhook(user.id, &hook(&[done])).await.unwrap().is_none());
}

pub async fn a_job_has_a_webhook_of_its_own(bed: Bed) {
    let user = bed.user("u").await;
    let own = hook(&["job.finished"]);
    let job = NewJob { webhook: Some(own.clone()), ..new_job(&user) };
    assert_eq!(bed.ledger.accept(&job, None).await.unwrap(), Acceptance::Accepted);
    let other = a_job_that_ends(&bed, &user).await;
    assert_eq!(bed.owed(other).await, []);
    bed.record(job.id, 1, finished(job.id, 1)).await;
    assert_eq!(bed.owed(job.id).await[0].webhook, Some(own.id));
    assert_eq!(bed.ledger.webhooks(user.id).await.unwrap(), [], "not one of the user's");
    let found = bed.ledger.job_webhook(user.id, job.id).await.unwrap().unwrap();
    assert_eq!((found.id, found.job), (own.id, Some(job.id)));
    let stranger = bed.user("stranger").await;
    assert_eq!(bed.ledger.job_webhook(stranger.id, job.id).await.unwrap(), None);
}

pub async fn mails_are_owed_to_who_wants_them(bed: Bed) {
    let nobody = bed.user("nobody").await;
    let user = bed.with_mail("user", Role::User).await;
    let job = a_job_that_ends(&bed, &nobody).await;
    assert_eq!(bed.owed(job).await, []);
    // As for everybody: ends, not starts.
    let job = bed.accept(&user, Lane::Normal).await;
    bed.record(job, 1, What::Started).await;
    bed.record(job, 1, What::Failed { failure: failure(FailureKind::BadInput) }).await;
    let owed = bed.owed(job).await;
    assert_eq!((owed.len(), owed[0].event.as_str(), owed[0].webhook), (1, "job.failed", None));

    let wants = async |events: Option<&[&str]>| {
        let events = events.map(|events| events.iter().map(ToString::to_string).collect());
        let change = UserChange { mail_events: Some(events), ..UserChange::default() };
        assert!(bed.ledger.change_user(user.id, &change).await.unwrap());
    };
    wants(Some(&["job.started"])).await;
    let job = bed.accept(&user, Lane::Normal).await;
    bed.record(job, 1, What::Started).await;
    bed.record(job, 1, finished(job, 1)).await;
    assert_eq!(bed.owed(job).await[0].event, "job.started");
    assert_eq!(bed.owed(job).await.len(), 1);
    // Who does not want any more gets none of what is owed.
    wants(Some(&[])).await;
    assert_eq!(bed.ledger.user(user.id).await.unwrap().unwrap().mail_events, Some(vec![]));
    let claimed = claim(&bed, &room(10)).await;
    assert_eq!(claimed.len(), 2);
    assert!(claimed.iter().all(|one| one.to.is_none()), "{claimed:?}");
    let job = a_job_that_ends(&bed, &user).await;
    assert_eq!(bed.owed(job).await, []);
    wants(None).await;
    let job = a_job_that_ends(&bed, &user).await;
    assert_eq!(bed.owed(job).await.len(), 1);
    let mail = claim(&bed, &room(10)).await.pop().unwrap();
    let (name, address) = ("user".to_owned(), "user@example.org".to_owned());
    assert_eq!(mail.to, Some(Recipient::Mail { name, address }));
    assert_eq!(mail.payload["data"]["job"]["state"], "finished");
}

pub async fn a_delivery_is_claimed_by_one(bed: Bed) {
    let user = bed.user("u").await;
    bed.ledger.add_webhook(user.id, &hook(&["job.finished"])).await.unwrap().unwrap();
    for _ in 0..30 {
        a_job_that_ends(&bed, &user).await;
    }
    let other = bed.another_ledger(Quotas::default()).await;
    let room = room(7);
    let mut ids = Vec::new();
    loop {
        let (ours, theirs) =
            tokio::join!(bed.ledger.claim_deliveries(&room), other.claim_deliveries(&room));
        let claimed = [ours.unwrap(), theirs.unwrap()].concat();
        if claimed.is_empty() && ids.len() == 30 {
            break;
        }
        ids.extend(claimed.iter().map(|one| one.id));
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 30, "each once, and all of them");

    // Nobody said what came of them: they are claimed again, with the same event id.
    a_claim_later(&bed).await;
    let again = claim(&bed, &room).await;
    assert_eq!((again.len(), again[0].attempt), (7, 2));
    let first = bed.ledger.delivery(Owner::Anyone, again[0].id).await.unwrap().unwrap();
    assert_eq!((first.0.event_id, first.0.attempts), (again[0].event_id, 2));
    assert!(first.0.next_ms > bed.ledger.now_ms() + CLAIM_MS - 10_000);
    assert_eq!(first.2.len(), 2);
    assert!(first.2.iter().all(|attempt| attempt.ended_ms.is_none()));
}

pub async fn what_is_said_too_late_changes_nothing(bed: Bed) {
    let user = bed.user("u").await;
    bed.ledger.add_webhook(user.id, &hook(&["job.finished"])).await.unwrap().unwrap();
    a_job_that_ends(&bed, &user).await;
    let late = claim(&bed, &room(1)).await.pop().unwrap();
    a_claim_later(&bed).await;
    let second = claim(&bed, &room(1)).await.pop().unwrap();
    assert!(!settle(&bed, &late, AttemptOutcome::Dead).await);
    let not_before_ms = bed.ledger.now_ms() + 5_000;
    assert!(settle(&bed, &second, AttemptOutcome::Retry { not_before_ms }).await);
    let (delivery, _, attempts) =
        bed.ledger.delivery(Owner::User(user.id), late.id).await.unwrap().unwrap();
    assert_eq!((delivery.state, delivery.next_ms), (DeliveryState::Owed, not_before_ms));
    assert_eq!(delivery.answer.as_deref(), Some("503"));
    assert!(attempts.iter().all(|attempt| attempt.ended_ms.is_some()), "both are told of");
    assert_eq!(claim(&bed, &room(1)).await.len(), 0, "its time has not come");

    a_claim_later(&bed).await;
    let third = claim(&bed, &room(1)).await.pop().unwrap();
    assert!(settle(&bed, &third, AttemptOutcome::Delivered).await);
    a_claim_later(&bed).await;
    assert_eq!(claim(&bed, &room(1)).await.len(), 0, "nothing is owed");
    assert!(!settle(&bed, &second, AttemptOutcome::Dead).await, "what is delivered stays so");
    let stranger = bed.user("stranger").await;
    let strangers = Owner::User(stranger.id);
    assert_eq!(bed.ledger.delivery(strangers, late.id).await.unwrap(), None);
    assert!(!bed.ledger.replay_delivery(strangers, late.id).await.unwrap());
    assert!(bed.ledger.replay_delivery(Owner::User(user.id), late.id).await.unwrap());
    assert!(!bed.ledger.replay_delivery(Owner::User(user.id), late.id).await.unwrap());
    let again = claim(&bed, &room(1)).await.pop().unwrap();
    assert_eq!((again.event_id, again.attempt), (late.event_id, 4));
    assert!(again.since_ms > late.since_ms, "its age counts from now");
}

pub async fn one_webhook_takes_nobody_elses_place(bed: Bed) {
    let (slow, other) = (bed.user("slow").await, bed.with_mail("other", Role::User).await);
    let full = bed.ledger.add_webhook(slow.id, &hook(&["job.finished"])).await.unwrap().unwrap();
    for _ in 0..20 {
        a_job_that_ends(&bed, &slow).await;
    }
    a_job_that_ends(&bed, &other).await;
    let mut room = Room { per_webhook: 2, ..room(4) };
    let claimed = claim(&bed, &room).await;
    let hooks = claimed.iter().filter(|one| matches!(one.to, Some(Recipient::Webhook { .. })));
    assert_eq!((hooks.count(), claimed.len()), (2, 2), "20 are looked at before the mail");
    room.webhooks.insert(full.id, 0);
    let claimed = claim(&bed, &room).await;
    assert!(matches!(claimed[..], [Claimed { to: Some(Recipient::Mail { .. }), .. }]));
    a_claim_later(&bed).await;
    room.mails = 0;
    assert_eq!(claim(&bed, &room).await.len(), 0);
}

pub async fn webhooks_change_and_end(bed: Bed) {
    let user = bed.user("u").await;
    let new = hook(&["job.finished"]);
    let webhook = bed.ledger.add_webhook(user.id, &new).await.unwrap().unwrap();
    let change = async |change: WebhookChange| {
        assert!(bed.ledger.change_webhook(user.id, webhook.id, &change).await.unwrap());
    };
    let secrets = async || {
        bed.ledger.try_webhook_out(user.id, &webhook).await.unwrap();
        let one = claim(&bed, &room(1)).await.pop().unwrap();
        assert_eq!(one.event, TEST_EVENT);
        let Some(Recipient::Webhook { secrets, url, .. }) = one.to else { panic!("{one:?}") };
        (secrets, url)
    };
    assert_eq!(secrets().await, (vec!["secret".to_owned()], new.url));
    change(WebhookChange { secret: Some("new".to_owned()), ..WebhookChange::default() }).await;
    assert_eq!(secrets().await.0, ["new", "secret"]);
    bed.sql(&format!(
        "UPDATE webhooks SET old_secret_until_ms = old_secret_until_ms - {ROTATION_MS}"
    ))
    .await;
    assert_eq!(secrets().await.0, ["new"]);
    let (url, events) = ("http://h/".to_owned(), vec!["job.failed".to_owned()]);
    let elsewhere = WebhookChange {
        url: Some(url.clone()),
        events: Some(events.clone()),
        ..WebhookChange::default()
    };
    change(elsewhere).await;
    assert_eq!(secrets().await.1, url);
    let stranger = bed.user("stranger").await;
    let nothing = WebhookChange::default();
    assert!(!bed.ledger.change_webhook(stranger.id, webhook.id, &nothing).await.unwrap());

    // One that is gone takes everything with it that is owed to it.
    for _ in 0..3 {
        bed.ledger.try_webhook_out(user.id, &webhook).await.unwrap();
    }
    let one = claim(&bed, &room(1)).await.pop().unwrap();
    assert!(settle(&bed, &one, AttemptOutcome::Gone).await);
    let found = bed.ledger.webhook(user.id, webhook.id).await.unwrap().unwrap();
    assert!(found.disabled_ms.is_some());
    assert_eq!(found.disabled_why.as_deref(), Some("503"), "what it answered");
    assert_eq!(found.events, events);
    let dead = DeliveryFilter { state: Some(DeliveryState::Dead), ..DeliveryFilter::default() };
    let dead = bed.ledger.list_deliveries(Owner::User(user.id), &dead, 10).await.unwrap();
    assert_eq!(dead.len(), 3 + 4, "those that were never settled as well");
    change(WebhookChange { disabled: Some(false), ..WebhookChange::default() }).await;
    bed.ledger.try_webhook_out(user.id, &webhook).await.unwrap();
    assert!(claim(&bed, &room(1)).await[0].to.is_some());
}

pub async fn a_disabled_webhook_says_why(bed: Bed) {
    let user = bed.user("u").await;
    let webhook = bed.ledger.add_webhook(user.id, &hook(&["job.failed"])).await.unwrap().unwrap();
    let look = async || bed.ledger.webhook(user.id, webhook.id).await.unwrap().unwrap();
    let disable = async |disabled| {
        let change = WebhookChange { disabled: Some(disabled), ..WebhookChange::default() };
        assert!(bed.ledger.change_webhook(user.id, webhook.id, &change).await.unwrap());
    };
    disable(true).await;
    let first = look().await;
    assert_eq!(first.disabled_why.as_deref(), Some("its user disabled it"));
    bed.sql("UPDATE webhooks SET disabled_ms = 5, disabled_why = 'gone'").await;
    disable(true).await;
    let still = look().await;
    assert_eq!((still.disabled_ms, still.disabled_why.as_deref()), (Some(5), Some("gone")));
    disable(false).await;
    assert_eq!(look().await, webhook);
    disable(true).await;
    assert!(bed.ledger.enable_webhook(webhook.id).await.unwrap());
    assert!(bed.ledger.enable_webhook(webhook.id).await.unwrap(), "it is enabled still");
    assert_eq!(look().await, webhook);
    assert!(!bed.ledger.enable_webhook(uuid::Uuid::now_v7()).await.unwrap());
    // The delivery by which it is tried out is the one that is named.
    let delivery = bed.ledger.try_webhook_out(user.id, &webhook).await.unwrap();
    let (found, ..) = bed.ledger.delivery(Owner::User(user.id), delivery).await.unwrap().unwrap();
    assert_eq!((found.webhook, found.event.as_str()), (Some(webhook.id), TEST_EVENT));
}

pub async fn answers_are_written_down_whatever_they_are(bed: Bed) {
    let user = bed.user("u").await;
    bed.ledger.add_webhook(user.id, &hook(&["job.finished"])).await.unwrap().unwrap();
    let job = a_job_that_ends(&bed, &user).await;
    let one = claim(&bed, &room(1)).await.pop().unwrap();
    let answer = format!("550 no\0such\u{1b}[2J\u{202e}{}", "ü".repeat(1000));
    assert!(bed.ledger.settle_delivery(&one, &AttemptOutcome::Dead, &answer).await.unwrap());
    let delivery = bed.owed(job).await.pop().unwrap();
    assert_eq!(delivery.state, DeliveryState::Dead);
    let answer = delivery.answer.unwrap();
    assert!(answer.starts_with("550 no\u{fffd}such\u{fffd}[2J\u{fffd}üü"), "{answer}");
    assert_eq!(answer.chars().count(), 200);
}

pub async fn a_delivery_that_makes_no_sense_stops_no_other(bed: Bed) {
    let user = bed.user("u").await;
    bed.ledger.add_webhook(user.id, &hook(&["job.finished"])).await.unwrap().unwrap();
    let broken = a_job_that_ends(&bed, &user).await;
    bed.sql(&format!("UPDATE deliveries SET payload = '{{' WHERE job_id = '{broken}'")).await;
    let whole = a_job_that_ends(&bed, &user).await;
    let claimed = claim(&bed, &room(10)).await;
    assert_eq!(claimed[0].payload["data"]["job"]["id"], whole.to_string());
    assert_eq!(claimed.len(), 1);
    assert_eq!(bed.owed(broken).await[0].state, DeliveryState::Dead);
}

pub async fn secrets_are_the_same_for_all(bed: Bed) {
    let other = bed.another_ledger(Quotas::default()).await;
    let (ours, theirs) = tokio::join!(bed.ledger.secret("links"), other.secret("links"));
    assert_eq!(ours.unwrap(), theirs.unwrap());
    assert_ne!(bed.ledger.secret("links").await.unwrap(), other.secret("x").await.unwrap());
    let link = bed.ledger.link_key().await.unwrap().unsubscribe(uuid::Uuid::nil());
    let user = uuid::Uuid::nil();
    assert_eq!(other.link_key().await.unwrap().read(&link), Some(Link::Unsubscribe { user }));
}

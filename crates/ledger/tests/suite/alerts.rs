//! What administrators are told about the system, and what about it is no trouble.

use std::time::Duration;

use tonemill_job::message::{FailureKind, What};
use tonemill_job::{JobId, Lane};
use tonemill_ledger::alerts::Thresholds;
use tonemill_ledger::deliveries::{ALERT_EVENT, Delivery, DeliveryFilter};
use tonemill_ledger::users::Role;
use tonemill_ledger::{Owner, TransitionOutcome};

use crate::bed::{Bed, failure, finished, hook};

/// What administrators are owed after one more look.
async fn alerts(bed: &Bed) -> Vec<Delivery> {
    let thresholds =
        Thresholds { waiting: Duration::from_mins(1), dead_deliveries: 0, ..Thresholds::default() };
    bed.ledger.look_for_trouble(thresholds).await.unwrap();
    let all = DeliveryFilter::default();
    let mut owed = bed.ledger.list_deliveries(Owner::Anyone, &all, 100).await.unwrap();
    owed.retain(|owed| owed.event == ALERT_EVENT);
    assert!(owed.iter().all(|owed| owed.job.is_none() && owed.webhook.is_none()));
    owed
}

/// A job was accepted a minute and a second before.
async fn a_minute_older(bed: &Bed, job: JobId) {
    bed.sql(&format!("UPDATE jobs SET created_ms = created_ms - 61000 WHERE id = '{job}'")).await;
}

pub async fn administrators_are_told_once_of_trouble(bed: Bed) {
    let user = bed.with_mail("user", Role::User).await;
    let admin = bed.with_mail("admin", Role::Admin).await;
    let job = bed.accept(&user, Lane::Normal).await;
    assert_eq!(alerts(&bed).await, []);
    a_minute_older(&bed, job).await;
    assert_eq!(alerts(&bed).await.len(), 1);
    assert_eq!(alerts(&bed).await.len(), 1, "it is known");
    bed.record(job, 1, What::Failed { failure: failure(FailureKind::Crash) }).await;
    assert_eq!(alerts(&bed).await.len(), 2, "it waits no more, but has crashed");
    let job = bed.accept(&user, Lane::Normal).await;
    a_minute_older(&bed, job).await;
    let all = alerts(&bed).await;
    assert_eq!(all.len(), 3, "it was all right meanwhile");
    assert!(all.iter().all(|owed| owed.user == admin.id));
}

pub async fn all_administrators_are_told_of_one_event(bed: Bed) {
    let user = bed.user("user").await;
    for name in ["one", "two", "three"] {
        bed.with_mail(name, Role::Admin).await;
    }
    let job = bed.accept(&user, Lane::Normal).await;
    a_minute_older(&bed, job).await;
    let told = alerts(&bed).await;
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|owed| owed.event_id == told[0].event_id), "{told:?}");
}

pub async fn a_job_that_is_replayed_has_not_waited_since_it_was_accepted(bed: Bed) {
    let user = bed.user("user").await;
    bed.with_mail("admin", Role::Admin).await;
    let job = bed.accept(&user, Lane::Normal).await;
    bed.record(job, 1, What::Failed { failure: failure(FailureKind::Transient) }).await;
    a_minute_older(&bed, job).await;
    let replayed = bed.ledger.replay(Owner::Anyone, job).await.unwrap();
    assert_eq!(replayed, TransitionOutcome::Done);
    assert_eq!(alerts(&bed).await, []);
    let longer = "UPDATE jobs SET not_before_ms = not_before_ms - 61000";
    bed.sql(longer).await;
    assert_eq!(alerts(&bed).await.len(), 1);
}

pub async fn what_a_webhook_that_is_gone_was_owed_is_no_trouble(bed: Bed) {
    let user = bed.user("user").await;
    bed.with_mail("admin", Role::Admin).await;
    let webhook = bed.ledger.add_webhook(user.id, &hook(&["job.finished"])).await.unwrap().unwrap();
    let job = bed.accept(&user, Lane::Normal).await;
    bed.record(job, 1, finished(job, 1)).await;
    let buried = format!(
        "UPDATE deliveries SET state = 'dead', next_ms = {0}, ended_ms = {0}, answer = ",
        bed.ledger.now_ms()
    );
    let of_it = format!(" WHERE webhook_id = '{}'", webhook.id);
    bed.sql(&format!("{buried}'the webhook is disabled'{of_it}")).await;
    assert_eq!(alerts(&bed).await, []);
    bed.sql(&format!("{buried}'503'{of_it}")).await;
    assert_eq!(alerts(&bed).await.len(), 1);
}

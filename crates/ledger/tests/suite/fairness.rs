//! Who comes when, and how much anybody may have.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonemill_job::queue::Queue;
use tonemill_job::{JobId, Lane};
use tonemill_ledger::dispatcher::{self, Window};
use tonemill_ledger::{
    Acceptance, Idempotency, JobState, NewJob, OverQuota, Owner, Quotas, TransitionOutcome,
};

use crate::bed::{Bed, new_job};

/// Dispatches until `count` jobs are in the queue.
pub async fn dispatch(bed: &Bed, count: u64) {
    let shutdown = CancellationToken::new();
    let window = Window { least: count, per_running: 0, most: count };
    let all = async {
        loop {
            let depth = bed.queue.depth().await.unwrap();
            if depth.lanes.iter().map(|lane| lane.waiting).sum::<u64>() >= count {
                shutdown.cancel();
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(dispatcher::run(&bed.ledger, &*bed.queue, window, &shutdown), all);
}

pub async fn who_has_much_waits_for_nobody_and_nobody_for_him(bed: Bed) {
    let (many, few) = (bed.user("many").await, bed.user("few").await);
    let mut many_jobs = Vec::new();
    for _ in 0..30 {
        many_jobs.push(bed.accept(&many, Lane::Normal).await);
    }
    dispatch(&bed, 10).await;
    assert_eq!(bed.receive_all().await, many_jobs[..10], "alone, in order");

    let mut few_jobs = Vec::new();
    for _ in 0..3 {
        few_jobs.push(bed.accept(&few, Lane::Normal).await);
    }
    dispatch(&bed, 8).await;
    let next = bed.receive_all().await;
    // One each by turns. Of the same turn the older job comes first.
    let position = |job: &JobId| next.iter().position(|n| n == job);
    assert!(position(&few_jobs[0]).unwrap() <= 1, "{next:?} {few_jobs:?}");
    assert!(position(&few_jobs[1]).unwrap() <= 3, "{next:?}");
    assert!(position(&few_jobs[2]).unwrap() <= 5, "{next:?}");
    assert_eq!(next.iter().filter(|job| many_jobs.contains(job)).count(), 5);

    let waiting = bed.job(many_jobs[20]).await;
    assert_eq!(waiting.state, JobState::Waiting);
    assert_eq!(bed.ledger.waiting_before(&waiting, 100).await.unwrap(), 5);
    assert_eq!(bed.ledger.waiting_before(&waiting, 3).await.unwrap(), 3);
}

pub async fn replicas_take_each_job_once(bed: Bed) {
    let user = bed.user("u").await;
    let mut jobs = HashSet::new();
    for lane in Lane::ALL {
        for _ in 0..40 {
            jobs.insert(bed.accept(&user, lane).await);
        }
    }
    let shutdown = CancellationToken::new();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let ledger = bed.another_ledger(Quotas::default()).await;
        let (queue, shutdown) = (Arc::new(bed.queue.another()), shutdown.clone());
        replicas.push(tokio::spawn(async move {
            dispatcher::run(&ledger, &*queue, Window::default(), &shutdown).await;
        }));
    }
    let mut taken = Vec::new();
    while taken.len() < jobs.len() {
        taken.extend(bed.receive_all().await);
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    for replica in replicas {
        replica.await.unwrap();
    }
    taken.extend(bed.receive_all().await);
    assert_eq!(taken.len(), jobs.len());
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), jobs);
}

pub async fn quotas_hold(bed: Bed) {
    let quotas =
        Quotas { unfinished_jobs: Some(3), stored_bytes: Some(2500), daily_audio_ms: Some(12_501) };
    let ledger = bed.another_ledger(quotas).await;
    let user = bed.user("u").await;
    let accept = async |bytes| {
        let job = NewJob { input_bytes: bytes, ..new_job(&user) };
        (job.id, ledger.accept(&job, None).await.unwrap())
    };
    let (first, outcome) = accept(1500).await;
    assert_eq!(outcome, Acceptance::Accepted);
    let too_long = OverQuota::StoredBytes { limit: 2500 };
    assert_eq!(accept(1001).await.1, Acceptance::OverQuota(too_long));
    let (second, outcome) = accept(1000).await;
    assert_eq!(outcome, Acceptance::Accepted);
    assert_eq!(accept(0).await.1, Acceptance::Accepted);
    let too_many = OverQuota::UnfinishedJobs { limit: 3 };
    assert_eq!(accept(0).await.1, Acceptance::OverQuota(too_many));

    // The upload of 1,500 bytes makes room for an output of 400.
    bed.record(first, 1, crate::bed::finished(first, 1)).await;
    let (usage, _) = ledger.usage(user.id).await.unwrap().unwrap();
    assert_eq!((usage.unfinished_jobs, usage.stored_bytes), (2, 1400));
    assert_eq!(usage.daily_audio_ms, 12_500);
    assert_eq!(accept(1100).await.1, Acceptance::Accepted);
    bed.record(second, 1, crate::bed::finished(second, 1)).await;
    let enough = accept(0).await.1;
    let is_daily = matches!(
        enough,
        Acceptance::OverQuota(OverQuota::DailyAudio { limit_ms: 12_501, day_ends_in_ms })
            if day_ends_in_ms <= 24 * 3600 * 1000
    );
    assert!(is_daily, "{enough:?}");

    // Many at once get no more than there is room for.
    let other = bed.user("other").await;
    let ledger = Arc::new(ledger);
    let tries = (0..12).map(|_| {
        let (ledger, job) = (Arc::clone(&ledger), NewJob { input_bytes: 0, ..new_job(&other) });
        tokio::spawn(async move { ledger.accept(&job, None).await.unwrap() })
    });
    let mut accepted = 0;
    for outcome in tries.collect::<Vec<_>>() {
        accepted += usize::from(outcome.await.unwrap() == Acceptance::Accepted);
    }
    assert_eq!(accepted, 3);

    // A user's own quotas count.
    let change = tonemill_ledger::users::UserChange {
        quotas: Some(Quotas { unfinished_jobs: Some(4), ..Quotas::default() }),
        ..Default::default()
    };
    assert!(bed.ledger.change_user(other.id, &change).await.unwrap());
    let fourth = NewJob { input_bytes: 0, ..new_job(&other) };
    assert_eq!(ledger.accept(&fourth, None).await.unwrap(), Acceptance::Accepted);
    let fifth = new_job(&other);
    let outcome = ledger.accept(&fifth, None).await.unwrap();
    assert_eq!(outcome, Acceptance::OverQuota(OverQuota::UnfinishedJobs { limit: 4 }));
}

/// To cancel and replay leads no further than to submit.
pub async fn quotas_hold_for_replays(bed: Bed) {
    let quotas = Quotas { unfinished_jobs: Some(3), ..Quotas::default() };
    let ledger = bed.another_ledger(quotas).await;
    let user = bed.user("u").await;
    let cancelled = bed.accept(&user, Lane::Normal).await;
    ledger.cancel(Owner::Anyone, cancelled).await.unwrap();
    for _ in 0..3 {
        bed.accept(&user, Lane::Normal).await;
    }
    let refused = ledger.replay(Owner::User(user.id), cancelled).await.unwrap();
    let too_many = OverQuota::UnfinishedJobs { limit: 3 };
    assert_eq!(refused, TransitionOutcome::OverQuota(too_many));
    assert_eq!(bed.state(cancelled).await, JobState::Cancelled);
    let by_operator = ledger.replay(Owner::Anyone, cancelled).await.unwrap();
    assert_eq!(by_operator, TransitionOutcome::Done);
}

pub async fn requests_are_known_again(bed: Bed) {
    let (user, other) = (bed.user("u").await, bed.user("o").await);
    let key = Idempotency { key: "Schlüssel".to_owned(), request_hash: "h".to_owned() };
    let first = new_job(&user);
    assert_eq!(bed.ledger.accept(&first, Some(&key)).await.unwrap(), Acceptance::Accepted);
    let again = bed.ledger.accept(&new_job(&user), Some(&key)).await.unwrap();
    let Acceptance::Known(known) = again else { panic!("{again:?}") };
    assert_eq!((known.job, known.request_hash.as_str()), (first.id, "h"));
    assert_eq!(bed.ledger.known_request(user.id, &key.key).await.unwrap(), Some(known));
    assert_eq!(bed.ledger.known_request(user.id, "schlüssel").await.unwrap(), None);

    // A key is one user's.
    assert_eq!(bed.ledger.known_request(other.id, &key.key).await.unwrap(), None);
    let theirs = new_job(&other);
    assert_eq!(bed.ledger.accept(&theirs, Some(&key)).await.unwrap(), Acceptance::Accepted);

    // At once, one is accepted and the others are told which.
    let key = Arc::new(Idempotency { key: "race".to_owned(), request_hash: "h".to_owned() });
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let (ledger, job, key) = (Arc::clone(&bed.ledger), new_job(&user), Arc::clone(&key));
            tokio::spawn(async move { (job.id, ledger.accept(&job, Some(&key)).await.unwrap()) })
        })
        .collect();
    let mut named = HashSet::new();
    for outcome in tries {
        named.insert(match outcome.await.unwrap() {
            (job, Acceptance::Accepted) => job,
            (_, Acceptance::Known(known)) => known.job,
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(named.len(), 1);
    let gone = new_job(&tonemill_ledger::users::User { id: uuid::Uuid::now_v7(), ..user });
    assert_eq!(bed.ledger.accept(&gone, None).await.unwrap(), Acceptance::NoUser);
}

//! What goes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonemill_job::message::What;
use tonemill_job::{JobId, Lane, ObjectKey};
use tonemill_ledger::sweep::{self, Retention, Sweeper, Swept};
use tonemill_ledger::uploads::{NewUpload, UploadBegun, UploadKind};
use tonemill_ledger::{Acceptance, JobState, NewJob, Owner, Quotas};

use crate::bed::{Bed, finished, new_job, slow_store};

const NOTHING: Retention = Retention {
    jobs: Duration::ZERO,
    nameless: Duration::ZERO,
    unfinished: Duration::ZERO,
    sweep_every: Duration::ZERO,
};

/// Sweeps until it is done: the database's clock is not quite that of the store. What was swept.
async fn sweep_until(bed: &Bed, retention: Retention, is_done: impl Fn(Swept) -> bool) -> Swept {
    let mut sweeper = Sweeper::new(retention);
    let mut all = Swept::default();
    while !is_done(all) {
        let swept = sweeper.sweep(&bed.ledger, &*bed.store).await.unwrap();
        all.expired += swept.expired;
        all.uploads += swept.uploads;
        all.purged += swept.purged;
        all.orphans += swept.orphans;
        all.unfinished += swept.unfinished;
    }
    all
}

pub async fn what_is_old_goes_with_its_objects(bed: Bed) {
    let user = bed.user("u").await;
    let done = bed.accept(&user, Lane::Normal).await;
    bed.record(done, 1, What::Started).await;
    bed.record(done, 1, finished(done, 1)).await;
    let output = bed.job(done).await.output.unwrap().key;
    bed.put(&output).await;
    let cancelled = bed.accept(&user, Lane::Normal).await;
    let input = bed.job(cancelled).await.input.unwrap();
    bed.put(&input).await;
    bed.ledger.cancel(Owner::Anyone, cancelled).await.unwrap();
    let waiting = bed.accept(&user, Lane::Normal).await;

    let mut keeps = Sweeper::new(Retention::default());
    assert_eq!(keeps.sweep(&bed.ledger, &*bed.store).await.unwrap(), Swept::default());
    assert!(bed.store.head(&output).await.is_ok() && bed.store.head(&input).await.is_ok());

    // A millisecond, so that "before now" is true of what was just over.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let swept = Sweeper::new(NOTHING).sweep(&bed.ledger, &*bed.store).await.unwrap();
    assert_eq!((swept.expired, swept.purged), (2, 2));
    assert!(bed.store.head(&output).await.is_err() && bed.store.head(&input).await.is_err());
    assert_eq!(bed.ledger.job(Owner::Anyone, done).await.unwrap(), None);
    assert_eq!(bed.ledger.attempts(done).await.unwrap(), []);
    assert_eq!(bed.state(waiting).await, JobState::Waiting);
    let (usage, _) = bed.ledger.usage(user.id).await.unwrap().unwrap();
    assert_eq!((usage.unfinished_jobs, usage.stored_bytes), (1, 1000));
}

pub async fn orphans_go_and_named_objects_stay(bed: Bed) {
    let user = bed.user("u").await;
    let job = new_job(&user);
    bed.ledger.accept(&job, None).await.unwrap();
    let done = bed.accept(&user, Lane::Normal).await;
    bed.record(done, 1, finished(done, 1)).await;
    let output = bed.job(done).await.output.unwrap().key;
    let nobodys = ObjectKey::upload(JobId::new());
    let orphans = [ObjectKey::output(done, 1), ObjectKey::upload(done), nobodys];
    for key in orphans.iter().chain([&output, &job.input]) {
        bed.put(key).await;
    }
    let mut upload = bed.store.create(&ObjectKey::upload(JobId::new()), "", 0).await.unwrap();
    upload.write(bytes::Bytes::from_static(b"begun")).await.unwrap();

    let patient = Retention { sweep_every: Duration::ZERO, ..Retention::default() };
    let swept = Sweeper::new(patient).sweep(&bed.ledger, &*bed.store).await.unwrap();
    assert_eq!(swept, Swept::default(), "all of it is young");

    let week = Duration::from_hours(7 * 24);
    let hasty = Retention { jobs: week, ..NOTHING };
    let swept = sweep_until(&bed, hasty, |swept| swept.orphans + swept.unfinished >= 4).await;
    assert_eq!((swept.orphans, swept.expired, swept.unfinished), (3, 0, 1));
    for key in &orphans {
        assert!(bed.store.head(key).await.is_err(), "{key}");
    }
    assert!(bed.store.head(&output).await.is_ok() && bed.store.head(&job.input).await.is_ok());
    drop(upload);
}

/// The service was away for an hour while its workers went on: what they made is not told yet.
pub async fn outputs_of_unfinished_jobs_stay(bed: Bed) {
    let user = bed.user("u").await;
    let (told, untold) =
        (bed.accept(&user, Lane::Normal).await, bed.accept(&user, Lane::Normal).await);
    bed.record(told, 1, finished(told, 1)).await;
    let (loser, output) = (ObjectKey::output(told, 1), ObjectKey::output(untold, 1));
    bed.put(&output).await;
    bed.put(&loser).await;
    let week = Duration::from_hours(7 * 24);
    let hasty = Retention { jobs: week, ..NOTHING };
    let swept = sweep_until(&bed, hasty, |swept| swept.orphans > 0).await;
    assert_eq!(swept.orphans, 1);
    assert!(bed.store.head(&output).await.is_ok() && bed.store.head(&loser).await.is_err());
    // It lost after all.
    bed.ledger.cancel(Owner::Anyone, untold).await.unwrap();
    sweep_until(&bed, hasty, |swept| swept.orphans > 0).await;
    assert!(bed.store.head(&output).await.is_err());
}

/// An object may look old the moment it is there: nobody had time to name it.
pub async fn what_is_named_meanwhile_stays(bed: Bed) {
    let user = bed.user("u").await;
    let week = Duration::from_hours(7 * 24);
    let mut sweeper = Sweeper::new(Retention { jobs: week, unfinished: week, ..NOTHING });
    let (job, nobodys) = (new_job(&user), ObjectKey::upload(JobId::new()));
    bed.put(&job.input).await;
    bed.put(&nobodys).await;
    assert_eq!(
        sweeper.sweep(&bed.ledger, &*bed.store).await.unwrap().orphans,
        0,
        "the first time says little"
    );
    bed.ledger.accept(&job, None).await.unwrap();
    while bed.store.head(&nobodys).await.is_ok() {
        sweeper.sweep(&bed.ledger, &*bed.store).await.unwrap();
    }
    assert!(bed.store.head(&job.input).await.is_ok());
}

/// What came to an address can be overwritten there by what comes late, when nobody needs it any
/// more.
pub async fn what_comes_late_to_an_address_goes_and_inputs_stay(bed: Bed) {
    let user = bed.user("u").await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let job = NewJob { is_upload: true, ..new_job(&user) };
        let upload = NewUpload {
            id: job.id,
            user: user.id,
            kind: UploadKind::Direct,
            key: job.input.clone(),
            parts: None,
            file_name: job.file_name.clone(),
            metadata: String::new(),
            total_bytes: job.input_bytes,
            lifetime_ms: 1_000_000,
        };
        assert_eq!(bed.ledger.begin_upload(&upload).await.unwrap(), UploadBegun::Begun);
        assert_eq!(bed.ledger.accept(&job, None).await.unwrap(), Acceptance::Accepted);
        assert_eq!(bed.ledger.accept(&job, None).await.unwrap(), Acceptance::NoUpload);
        assert!(bed.ledger.upload(user.id, job.id).await.unwrap().is_none());
        bed.ledger.give_up_direct(job.id).await.unwrap();
        jobs.push(job);
    }
    let [waiting, done, deleted] = &jobs[..] else { panic!("three jobs") };
    bed.record(done.id, 1, What::Started).await;
    bed.record(done.id, 1, finished(done.id, 1)).await;
    bed.ledger.cancel(Owner::Anyone, deleted.id).await.unwrap();
    bed.ledger.delete_job(Owner::Anyone, deleted.id).await.unwrap();
    let mut sweeper = Sweeper::new(Retention::default());
    sweeper.sweep(&bed.ledger, &*bed.store).await.unwrap();
    for job in &jobs {
        bed.put(&job.input).await;
    }
    let usage = async || bed.ledger.usage(user.id).await.unwrap().unwrap().0.stored_bytes;
    assert_eq!(usage().await, 1400, "an input and an output");
    assert_eq!(sweeper.sweep(&bed.ledger, &*bed.store).await.unwrap(), Swept::default());

    bed.sql("UPDATE uploads SET expires_ms = expires_ms - 15 * 60 * 1000").await;
    assert_eq!(sweeper.sweep(&bed.ledger, &*bed.store).await.unwrap().uploads, 3);
    assert!(bed.store.head(&waiting.input).await.is_ok());
    for job in [done, deleted] {
        assert!(bed.store.head(&job.input).await.is_err(), "{}", job.input);
    }
    assert_eq!(usage().await, 1400);
}

/// One object cannot be deleted: its job's row stays to name it, and all others go.
pub async fn what_cannot_go_stops_nothing_else(bed: Bed) {
    let user = bed.user("u").await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let job = bed.accept(&user, Lane::Normal).await;
        bed.record(job, 1, finished(job, 1)).await;
        jobs.push((job, bed.job(job).await.output.unwrap().key));
    }
    let (stuck, key) = jobs.remove(0);
    for (_, key) in &jobs {
        bed.put(key).await;
    }
    // A folder in its place.
    bed.put(&ObjectKey::try_from(format!("{key}/x")).unwrap()).await;
    for job in jobs.iter().map(|(job, _)| *job).chain([stuck]) {
        bed.ledger.delete_job(Owner::Anyone, job).await.unwrap();
    }
    let mut sweeper = Sweeper::new(Retention::default());
    for purged in [2, 0] {
        assert_eq!(sweeper.sweep(&bed.ledger, &*bed.store).await.unwrap().purged, purged);
    }
    for (job, key) in &jobs {
        assert!(bed.store.head(key).await.is_err());
        assert_eq!(bed.ledger.attempts(*job).await.unwrap(), []);
    }
    assert_eq!(bed.ledger.attempts(stuck).await.unwrap().len(), 1);
}

/// Whoever sweeps may take hours; reconciling is a duty of its own, and shutting down does not
/// wait.
pub async fn sweeping_ends_when_it_is_told(bed: Bed) {
    let store = slow_store().await;
    let user = bed.user("u").await;
    let job = bed.accept(&user, Lane::Normal).await;
    bed.record(job, 1, finished(job, 1)).await;
    bed.ledger.delete_job(Owner::Anyone, job).await.unwrap();
    let shutdown = CancellationToken::new();
    let (ledger, told) = (bed.ledger.clone(), shutdown.clone());
    let (asked, asks) = (store.asked.clone(), store.store.clone());
    let sweeping = tokio::spawn(async move {
        sweep::run(&ledger, &*asks, Retention::default(), &told).await;
    });
    asked.notified().await;
    let other = bed.another_ledger(Quotas::default()).await;
    assert!(!other.lead("sweeper", 30_000).await.unwrap());
    assert!(other.lead("reconciler", 30_000).await.unwrap());
    shutdown.cancel();
    sweeping.await.unwrap();
    assert!(other.lead("sweeper", 30_000).await.unwrap(), "nobody has to wait for its lease");
}

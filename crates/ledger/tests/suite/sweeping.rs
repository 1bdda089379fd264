//! What goes.

use std::time::Duration;

use tonemill_job::{JobId, Lane, ObjectKey};
use tonemill_ledger::sweep::{Retention, Sweeper, Swept};
use tonemill_ledger::{JobState, Owner};

use crate::bed::{Bed, finished, new_job};

const NOTHING: Retention = Retention {
    jobs: Duration::ZERO,
    nameless: Duration::ZERO,
    unfinished: Duration::ZERO,
    sweep_every: Duration::ZERO,
};

pub async fn what_is_old_goes_with_its_objects(bed: Bed) {
    let user = bed.user("u").await;
    let done = bed.accept(&user, Lane::Normal).await;
    bed.record(done, 1, tonemill_job::message::What::Started).await;
    bed.record(done, 1, finished(done, 1)).await;
    let output = bed.job(done).await.output.unwrap().key;
    bed.put(&output).await;
    let cancelled = bed.accept(&user, Lane::Normal).await;
    let input = bed.job(cancelled).await.input.unwrap();
    bed.put(&input).await;
    bed.ledger.cancel(Owner::Anyone, cancelled).await.unwrap();
    let waiting = bed.accept(&user, Lane::Normal).await;

    let mut keeps = Sweeper::new(Retention::default());
    assert_eq!(keeps.sweep(&bed.ledger, &*bed.store).await, Swept::default());
    assert!(bed.store.head(&output).await.is_ok() && bed.store.head(&input).await.is_ok());

    // A millisecond, so that "before now" is true of what was just over.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let swept = Sweeper::new(NOTHING).sweep(&bed.ledger, &*bed.store).await;
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
    let swept = Sweeper::new(patient).sweep(&bed.ledger, &*bed.store).await;
    assert_eq!(swept, Swept::default(), "all of it is young");

    let week = Duration::from_hours(7 * 24);
    let hasty = Retention { jobs: week, ..NOTHING };
    tokio::time::sleep(Duration::from_millis(5)).await;
    let swept = Sweeper::new(hasty).sweep(&bed.ledger, &*bed.store).await;
    assert_eq!((swept.orphans, swept.expired, swept.unfinished), (3, 0, 1));
    for key in &orphans {
        assert!(bed.store.head(key).await.is_err(), "{key}");
    }
    assert!(bed.store.head(&output).await.is_ok() && bed.store.head(&job.input).await.is_ok());
    drop(upload);
}

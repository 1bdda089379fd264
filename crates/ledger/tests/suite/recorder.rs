//! The task that records: what is slow or bad stops nothing.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonemill_job::message::{FailureKind, What};
use tonemill_job::objects::ObjectStore;
use tonemill_job::queue::Queue;
use tonemill_job::{JobId, JobMessage, Lane};
use tonemill_ledger::{JobState, Owner, recorder};

use crate::bed::{Bed, event, finished, slow_store};

/// Tells of the end of a job.
async fn tell(bed: &Bed, job: JobId, what: What) {
    let input = tonemill_job::ObjectKey::upload(job);
    bed.queue.announce(&JobMessage::new(job, input), &event(job, 1, what)).await.unwrap();
}

/// Records until no event is left, and ends.
async fn record_all(bed: &Bed, store: Arc<dyn ObjectStore>) {
    let shutdown = CancellationToken::new();
    let (ledger, queue, told) = (bed.ledger.clone(), bed.queue.clone(), shutdown.clone());
    let recorder = tokio::spawn(async move { recorder::run(&ledger, &*queue, store, &told).await });
    while bed.queue.depth().await.unwrap().events > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    shutdown.cancel();
    recorder.await.unwrap();
}

/// Each of these leaves an upload that nobody needs. One after the other, they would take an hour.
pub async fn a_store_that_is_away_holds_up_no_event(bed: Bed) {
    let user = bed.user("u").await;
    let mut jobs = Vec::new();
    for _ in 0..120 {
        let job = bed.accept(&user, Lane::Normal).await;
        tell(&bed, job, finished(job, 1)).await;
        jobs.push(job);
    }
    record_all(&bed, slow_store().await.store).await;
    for job in jobs {
        assert_eq!(bed.state(job).await, JobState::Finished);
    }
}

pub async fn uploads_that_nobody_needs_go(bed: Bed) {
    let user = bed.user("u").await;
    let mut inputs = Vec::new();
    for _ in 0..40 {
        let job = bed.accept(&user, Lane::Normal).await;
        let input = bed.job(job).await.input.unwrap();
        bed.put(&input).await;
        tell(&bed, job, finished(job, 1)).await;
        inputs.push(input);
    }
    record_all(&bed, Arc::clone(&bed.store)).await;
    for input in inputs {
        assert!(bed.store.head(&input).await.is_err());
    }
}

/// An event that the database refuses is put aside. Its job fails, or it would be done again for
/// ever.
pub async fn an_event_that_is_refused_stops_no_other(bed: Bed) {
    let user = bed.user("u").await;
    if bed.url.starts_with("sqlite:") {
        // The others know how long a text may be.
        bed.sql(
            "CREATE TRIGGER strict BEFORE UPDATE ON jobs WHEN length(NEW.audio_blake3) > 64 \
             BEGIN SELECT RAISE(ABORT, 'too long'); END",
        )
        .await;
    }
    let mut jobs = Vec::new();
    for number in 0..11 {
        let job = bed.accept(&user, Lane::Normal).await;
        let mut what = finished(job, 1);
        if number == 5
            && let What::Finished(finished) = &mut what
        {
            finished.audio_blake3 = "ab".repeat(100);
        }
        tell(&bed, job, what).await;
        jobs.push(job);
    }
    record_all(&bed, Arc::clone(&bed.store)).await;
    let refused = jobs.remove(5);
    for job in jobs {
        assert_eq!(bed.state(job).await, JobState::Finished);
    }
    assert_eq!(bed.state(refused).await, JobState::Failed);
    let detail = bed.ledger.job_detail(Owner::Anyone, refused).await.unwrap().unwrap();
    assert_eq!(detail.failure.unwrap().kind, FailureKind::Bug);
}

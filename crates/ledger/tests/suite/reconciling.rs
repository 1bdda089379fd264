//! What the queue forgets.

use tonemill_job::Lane;
use tonemill_job::message::What;
use tonemill_job::queue::memory::MemoryQueue;
use tonemill_job::queue::{LaneWeights, Queue};
use tonemill_ledger::reconciler::Missing;
use tonemill_ledger::{JobState, Owner, Quotas};

use crate::bed::{Bed, finished};

/// A job that was dispatched long ago, as far as the reconciler can see.
async fn dispatched(bed: &Bed) -> tonemill_job::JobId {
    let user = bed.user(&format!("u{}", fastrand::u64(..))).await;
    let job = bed.accept(&user, Lane::Normal).await;
    bed.record(job, 1, What::Started).await;
    bed.sql("UPDATE jobs SET dispatched_ms = 1 WHERE dispatched_ms IS NULL").await;
    job
}

pub async fn what_the_queue_forgot_is_queued_again(bed: Bed) {
    let job = dispatched(&bed).await;
    let mut missing = Missing::default();
    assert_eq!(missing.look(&bed.ledger, &*bed.queue).await, 0, "the first look may be wrong");
    // It changed since: it is alive.
    bed.record(job, 2, What::Started).await;
    assert_eq!(missing.look(&bed.ledger, &*bed.queue).await, 0);
    assert_eq!(missing.look(&bed.ledger, &*bed.queue).await, 1);
    assert_eq!(bed.state(job).await, JobState::Waiting);
    // Its attempts go on counting, or the next one's start would be taken for the last one's.
    assert_eq!(bed.job(job).await.message().unwrap().history.attempts, 2);
    bed.record(job, 3, What::Started).await;
    assert_eq!(bed.state(job).await, JobState::Running);
    // Both copies end it once.
    bed.record(job, 2, finished(job, 2)).await;
    bed.record(job, 3, finished(job, 3)).await;
    assert_eq!(bed.state(job).await, JobState::Finished);
}

pub async fn an_empty_queue_is_filled(bed: Bed) {
    let jobs = [dispatched(&bed).await, dispatched(&bed).await, dispatched(&bed).await];
    let user = bed.user("done").await;
    let done = bed.accept(&user, Lane::Normal).await;
    bed.record(done, 1, finished(done, 1)).await;
    assert_eq!(bed.ledger.requeue_all().await.unwrap(), 3);
    for job in jobs {
        assert_eq!(bed.state(job).await, JobState::Waiting);
    }
    assert_eq!(bed.ledger.requeue_all().await.unwrap(), 0);
}

pub async fn what_is_on_its_way_is_left_alone(bed: Bed) {
    // In the queue.
    let queued = dispatched(&bed).await;
    let message = bed.job(queued).await.message().unwrap();
    bed.queue.enqueue(std::slice::from_ref(&message)).await.unwrap();
    let mut missing = Missing::default();
    for _ in 0..3 {
        assert_eq!(missing.look(&bed.ledger, &*bed.queue).await, 0);
    }
    // With a worker.
    let delivery = bed.queue.receive(std::time::Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(delivery.message.job, queued);
    for _ in 0..3 {
        assert_eq!(missing.look(&bed.ledger, &*bed.queue).await, 0);
    }
    // Cancelled, by somebody who could not reach the queue.
    let unwanted = dispatched(&bed).await;
    let message = bed.job(unwanted).await.message().unwrap();
    bed.queue.enqueue(std::slice::from_ref(&message)).await.unwrap();
    bed.ledger.cancel(Owner::Anyone, unwanted).await.unwrap();
    missing.look(&bed.ledger, &*bed.queue).await;
    assert_eq!(bed.queue.cancelled(&[queued, unwanted]).await.unwrap(), [unwanted]);
    // Over, but not yet recorded.
    let other = MemoryQueue::new(std::time::Duration::from_secs(30), LaneWeights::default());
    let event = crate::bed::event(queued, 1, finished(queued, 1));
    other.announce(&message, &event).await.unwrap();
    for _ in 0..3 {
        assert_eq!(missing.look(&bed.ledger, &other).await, 0);
    }
    // Young.
    let user = bed.user("young").await;
    let young = bed.accept(&user, Lane::Normal).await;
    let empty = MemoryQueue::new(std::time::Duration::from_secs(30), LaneWeights::default());
    let now = bed.ledger.now_ms();
    let text = format!("UPDATE jobs SET dispatched_ms = {now} WHERE dispatched_ms IS NULL");
    bed.sql(&text).await;
    bed.record(young, 1, What::Started).await;
    let mut missing = Missing::default();
    missing.look(&bed.ledger, &empty).await;
    missing.look(&bed.ledger, &empty).await;
    assert_eq!(bed.state(young).await, JobState::Running);
}

/// Under load there is always an event that waits. Only those count that were there at the last
/// look.
pub async fn a_steady_stream_of_events_hides_no_loss(bed: Bed) {
    let lost = dispatched(&bed).await;
    let busy = dispatched(&bed).await;
    let message = bed.job(busy).await.message().unwrap();
    bed.queue.enqueue(std::slice::from_ref(&message)).await.unwrap();
    let mut missing = Missing::default();
    let mut waiting = Vec::new();
    let mut found = 0;
    while found == 0 {
        let event = crate::bed::event(busy, 1, What::Started);
        bed.queue.announce(&message, &event).await.unwrap();
        let new = bed.queue.events(10, std::time::Duration::ZERO).await.unwrap();
        bed.queue.confirm(&waiting).await.unwrap();
        waiting = new.into_iter().map(|(id, _)| id).collect();
        found = missing.look(&bed.ledger, &*bed.queue).await;
        assert_eq!(bed.queue.depth().await.unwrap().events, 1);
    }
    assert_eq!((found, bed.state(lost).await), (1, JobState::Waiting));
    assert_eq!(bed.state(busy).await, JobState::Running);
}

pub async fn one_leads(bed: Bed) {
    let other = bed.another_ledger(Quotas::default()).await;
    assert!(bed.ledger.lead("duty", 30_000).await.unwrap());
    assert!(bed.ledger.lead("duty", 30_000).await.unwrap(), "goes on");
    assert!(!other.lead("duty", 30_000).await.unwrap());
    assert!(other.lead("another duty", 30_000).await.unwrap());
    bed.ledger.step_down("duty").await.unwrap();
    // Their clocks agree to some milliseconds only.
    assert!(other.lead("duty", -60_000).await.unwrap());
    assert!(bed.ledger.lead("duty", 30_000).await.unwrap(), "the other's time is over");
}

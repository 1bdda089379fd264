//! What every queue does, run against every implementation: in memory, and in a real Redis, alone
//! or as a cluster.

mod failover;
mod holdings;
mod place;
mod recorders;
mod strange;
mod trial;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tonemill_job::message::{JobEvent, JobMessage, Progress, Reply, VERSION, What};
use tonemill_job::queue::{Delivery, Depth, Hold, LaneDepth, LaneWeights, Queue, Settlement};
use tonemill_job::{JobId, Lane, ObjectKey};
use uuid::Uuid;

use crate::holdings::{
    jobs_are_held_until_they_end, more_jobs_are_held_than_fit_on_a_page,
    no_job_is_missed_while_it_moves, the_oldest_event_ages_until_it_is_put_aside,
};
use crate::place::{Place, in_a_cluster, in_memory, in_redis};

const LEASE: Duration = Duration::from_secs(1);
/// Long enough for anything that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// For what is not to happen: a look, not a wait.
const NOW: Duration = Duration::ZERO;

macro_rules! every_queue {
    ($($test:ident),* $(,)?) => {
        mod memory { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(crate::in_memory(Default::default()).await).await }
        )* }
        mod redis { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(crate::in_redis(Default::default()).await).await }
        )* }
        mod cluster { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(crate::in_a_cluster(Default::default()).await).await }
        )* }
    };
}

every_queue!(
    jobs_come_in_order_and_once,
    an_empty_queue_says_so_after_the_wait,
    a_waiting_worker_gets_a_job_at_once,
    an_end_is_told_and_leaves_nothing,
    a_lease_lasts_as_long_as_it_is_renewed,
    an_abandoned_job_comes_again_and_its_first_holder_can_do_nothing,
    a_released_job_comes_at_once_and_first_and_unharmed,
    a_job_to_try_again_waits_its_time,
    mailboxes_are_apart_from_the_service,
    events_come_until_they_are_confirmed,
    the_oldest_event_ages_until_it_is_put_aside,
    cancellation_is_seen_until_the_end,
    progress_is_the_last_that_was_said,
    many_workers_share_and_none_gets_anothers,
    names_go_with_their_workers,
    depth_counts_what_waits_and_what_runs,
    jobs_are_held_until_they_end,
    more_jobs_are_held_than_fit_on_a_page,
    no_job_is_missed_while_it_moves,
);

fn job(lane: Lane) -> JobMessage {
    let id = JobId::new();
    JobMessage { lane, ..JobMessage::new(id, ObjectKey::upload(id)) }
}

fn event(delivery: &Delivery, what: What) -> JobEvent {
    JobEvent {
        v: VERSION,
        job: delivery.message.job,
        attempt: delivery.deliveries,
        worker: "test".to_owned(),
        at_ms: 0,
        traceparent: None,
        what,
    }
}

fn end(delivery: &Delivery) -> Settlement {
    let reply = delivery.message.reply.clone();
    Settlement::End { event: event(delivery, What::Cancelled), reply }
}

async fn next(worker: &Arc<dyn Queue>) -> Delivery {
    worker.receive(PATIENCE).await.unwrap().expect("a job")
}

async fn none(worker: &Arc<dyn Queue>) {
    let found = worker.receive(NOW).await.unwrap();
    assert!(found.is_none(), "{found:?}");
}

async fn jobs_come_in_order_and_once(place: Place) {
    let worker = place.worker();
    let jobs = [job(Lane::Normal), job(Lane::Normal), job(Lane::Normal)];
    worker.enqueue(&jobs).await.unwrap();
    worker.enqueue(&[]).await.unwrap();
    for job in &jobs {
        let delivery = next(&worker).await;
        assert_eq!((&delivery.message, delivery.deliveries), (job, 1));
    }
    none(&worker).await;
}

async fn an_empty_queue_says_so_after_the_wait(place: Place) {
    let worker = place.worker();
    none(&worker).await;
    let wait = Duration::from_millis(120);
    let started = Instant::now();
    assert!(worker.receive(wait).await.unwrap().is_none());
    assert!(started.elapsed() >= wait);
}

async fn a_waiting_worker_gets_a_job_at_once(place: Place) {
    let (worker, service) = (place.worker(), place.worker());
    for lane in Lane::ALL {
        let waiting = {
            let worker = Arc::clone(&worker);
            tokio::spawn(async move { next(&worker).await })
        };
        let job = job(lane);
        service.enqueue(std::slice::from_ref(&job)).await.unwrap();
        assert_eq!(waiting.await.unwrap().message, job);
    }
}

async fn an_end_is_told_and_leaves_nothing(place: Place) {
    let worker = place.worker();
    worker.enqueue(&[job(Lane::High)]).await.unwrap();
    let delivery = next(&worker).await;
    assert_eq!(worker.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Held);
    // Once only.
    assert_eq!(worker.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Lost);
    assert_eq!(worker.renew(&delivery.lease).await.unwrap(), Hold::Lost);
    let events = worker.events(10, PATIENCE).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].1, event(&delivery, What::Cancelled));
    worker.confirm(&[events[0].0.clone()]).await.unwrap();
    worker.leave().await.unwrap();
    assert_eq!(worker.depth().await.unwrap(), Depth::default());
}

async fn a_lease_lasts_as_long_as_it_is_renewed(place: Place) {
    let (holder, other) = (place.worker(), place.worker());
    holder.enqueue(&[job(Lane::Normal)]).await.unwrap();
    let delivery = next(&holder).await;
    let started = Instant::now();
    let mut renewed = started;
    while started.elapsed() < LEASE * 3 {
        // A machine that sleeps for a whole lease between two renewals proves nothing.
        assert!(renewed.elapsed() < LEASE, "this machine is too slow for the test");
        assert_eq!(holder.renew(&delivery.lease).await.unwrap(), Hold::Held);
        renewed = Instant::now();
        assert!(other.receive(LEASE / 10).await.unwrap().is_none());
    }
    assert_eq!(holder.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Held);
}

async fn an_abandoned_job_comes_again_and_its_first_holder_can_do_nothing(place: Place) {
    let (zombie, other) = (place.worker(), place.worker());
    zombie.enqueue(&[job(Lane::Low)]).await.unwrap();
    let first = next(&zombie).await;
    let second = next(&other).await;
    assert_eq!((&second.message, second.deliveries), (&first.message, 2));
    assert_eq!(zombie.renew(&first.lease).await.unwrap(), Hold::Lost);
    assert_eq!(zombie.settle(&first.lease, &Settlement::Release).await.unwrap(), Hold::Lost);
    assert_eq!(zombie.settle(&first.lease, &end(&first)).await.unwrap(), Hold::Lost);
    // Even if it comes back to its first holder, the first lease stays lost.
    let third = next(&zombie).await;
    assert_eq!(third.deliveries, 3);
    assert_eq!(zombie.renew(&first.lease).await.unwrap(), Hold::Lost);
    assert_eq!(other.settle(&second.lease, &end(&second)).await.unwrap(), Hold::Lost);
    assert_eq!(zombie.settle(&third.lease, &end(&third)).await.unwrap(), Hold::Held);
    assert_eq!(zombie.events(10, PATIENCE).await.unwrap().len(), 1);
}

async fn a_released_job_comes_at_once_and_first_and_unharmed(place: Place) {
    let (first, second) = (place.worker(), place.worker());
    let jobs = [job(Lane::Normal), job(Lane::Normal)];
    first.enqueue(&jobs).await.unwrap();
    let delivery = next(&first).await;
    let released = first.settle(&delivery.lease, &Settlement::Release).await.unwrap();
    assert_eq!(released, Hold::Held);
    assert_eq!(first.renew(&delivery.lease).await.unwrap(), Hold::Lost);
    // Without waiting for a lease to end.
    let again = second.receive(NOW).await.unwrap().expect("the released job");
    assert_eq!((&again.message, again.deliveries), (&jobs[0], 1));
    assert_eq!(next(&second).await.message, jobs[1]);
}

async fn a_job_to_try_again_waits_its_time(place: Place) {
    let worker = place.worker();
    worker.enqueue(&[job(Lane::High)]).await.unwrap();
    let first = next(&worker).await;
    let mut message = first.message.clone();
    message.history.transient_failures = 1;
    let delay = Duration::from_millis(300);
    let started = Instant::now();
    let again = Settlement::Again {
        message: Box::new(message.clone()),
        delay,
        event: event(&first, What::Started),
    };
    assert_eq!(worker.settle(&first.lease, &again).await.unwrap(), Hold::Held);
    assert_eq!(worker.depth().await.unwrap().delayed, 1);
    let second = next(&worker).await;
    assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
    assert_eq!((&second.message, second.deliveries), (&message, 1));
    assert_eq!(worker.events(10, PATIENCE).await.unwrap().len(), 1);
}

async fn mailboxes_are_apart_from_the_service(place: Place) {
    let worker = place.worker();
    let mailbox = Uuid::new_v4();
    let mut job = job(Lane::Normal);
    job.reply = Reply::Mailbox(mailbox);
    assert!(worker.mail(mailbox, None, Duration::from_millis(1)).await.unwrap().is_empty());
    worker.enqueue(&[job]).await.unwrap();
    let delivery = next(&worker).await;
    worker.announce(&delivery.message, &event(&delivery, What::Started)).await.unwrap();
    let mail = worker.mail(mailbox, None, PATIENCE).await.unwrap();
    assert_eq!(mail[0].1.what, What::Started);
    assert_eq!(worker.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Held);
    let rest = worker.mail(mailbox, Some(&mail[0].0), PATIENCE).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].1.what, What::Cancelled);
    assert!(worker.events(10, Duration::from_millis(1)).await.unwrap().is_empty());
    worker.close_mailbox(mailbox).await.unwrap();
    assert!(worker.mail(mailbox, None, Duration::from_millis(1)).await.unwrap().is_empty());
}

async fn events_come_until_they_are_confirmed(place: Place) {
    let (worker, recorder) = (place.worker(), place.worker());
    worker.enqueue(&[job(Lane::Normal), job(Lane::Normal)]).await.unwrap();
    for _ in 0..2 {
        let delivery = next(&worker).await;
        assert_eq!(worker.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Held);
    }
    let events = recorder.events(10, PATIENCE).await.unwrap();
    assert_eq!(events.len(), 2);
    recorder.confirm(&[events[0].0.clone()]).await.unwrap();
    let depth = recorder.depth().await.unwrap();
    assert_eq!((depth.events, depth.oldest_event.is_some()), (1, true));
    // The recorder dies; another is given what it did not confirm.
    let other = place.worker();
    let again = loop {
        let events = other.events(10, LEASE / 4).await.unwrap();
        if !events.is_empty() {
            break events;
        }
    };
    assert_eq!(again, events[1..]);
    other.confirm(&[again[0].0.clone()]).await.unwrap();
    let depth = other.depth().await.unwrap();
    assert_eq!((depth.events, depth.oldest_event), (0, None));
}

async fn cancellation_is_seen_until_the_end(place: Place) {
    let (service, worker) = (place.worker(), place.worker());
    service.enqueue(&[job(Lane::Normal), job(Lane::Normal)]).await.unwrap();
    let (first, second) = (next(&worker).await, next(&worker).await);
    let both = [first.message.job, second.message.job];
    assert!(worker.cancelled(&both).await.unwrap().is_empty());
    assert!(worker.cancelled(&[]).await.unwrap().is_empty());
    service.cancel(both[1]).await.unwrap();
    assert_eq!(worker.cancelled(&both).await.unwrap(), [both[1]]);
    assert_eq!(worker.settle(&second.lease, &end(&second)).await.unwrap(), Hold::Held);
    assert!(worker.cancelled(&both).await.unwrap().is_empty());
}

async fn progress_is_the_last_that_was_said(place: Place) {
    let (service, worker) = (place.worker(), place.worker());
    service.enqueue(&[job(Lane::Normal)]).await.unwrap();
    let delivery = next(&worker).await;
    let id = delivery.message.job;
    assert_eq!(service.progress(id).await.unwrap(), None);
    for seconds in [1.5, 2.5] {
        let progress = Progress { encoded_seconds: seconds, declared_seconds: Some(9.0) };
        worker.report_progress(id, progress).await.unwrap();
        assert_eq!(service.progress(id).await.unwrap(), Some(progress));
    }
    assert_eq!(worker.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Held);
    assert_eq!(service.progress(id).await.unwrap(), None);
}

async fn many_workers_share_and_none_gets_anothers(place: Place) {
    const JOBS: usize = 200;
    let service = place.worker();
    let jobs: Vec<_> = (0..JOBS).map(|n| job(Lane::ALL[n % 3])).collect();
    let workers = (0..8).map(|_| {
        let worker = place.worker();
        tokio::spawn(async move {
            let mut done = Vec::new();
            while let Some(delivery) = worker.receive(LEASE / 2).await.unwrap() {
                assert_eq!(delivery.deliveries, 1);
                let hold = worker.settle(&delivery.lease, &end(&delivery)).await.unwrap();
                assert_eq!(hold, Hold::Held);
                done.push(delivery.message.job);
            }
            done
        })
    });
    let workers: Vec<_> = workers.collect();
    for batch in jobs.chunks(7) {
        service.enqueue(batch).await.unwrap();
    }
    let mut done = Vec::new();
    for worker in workers {
        done.extend(worker.await.unwrap());
    }
    let mut expected: Vec<_> = jobs.iter().map(|job| job.job).collect();
    done.sort();
    expected.sort();
    assert_eq!(done, expected);
    assert_eq!(service.depth().await.unwrap().lanes, [LaneDepth::default(); 3]);
    assert_eq!(service.depth().await.unwrap().events, JOBS as u64);
}

async fn names_go_with_their_workers(place: Place) {
    let worker = place.worker();
    worker.enqueue(&[job(Lane::Normal)]).await.unwrap();
    let delivery = next(&worker).await;
    assert_eq!(worker.depth().await.unwrap().workers, 1);
    // Who leaves while it holds a lease would take the job along.
    worker.leave().await.unwrap();
    assert_eq!(worker.depth().await.unwrap().workers, 1);
    assert_eq!(worker.renew(&delivery.lease).await.unwrap(), Hold::Held);
    assert_eq!(worker.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Held);
    worker.leave().await.unwrap();
    assert_eq!(worker.depth().await.unwrap().workers, 0);
}

async fn depth_counts_what_waits_and_what_runs(place: Place) {
    let worker = place.worker();
    assert_eq!(worker.depth().await.unwrap(), Depth::default());
    worker.enqueue(&[job(Lane::Low), job(Lane::Low), job(Lane::Low)]).await.unwrap();
    let delivery = next(&worker).await;
    let depth = worker.depth().await.unwrap();
    assert_eq!((depth.lanes[2].waiting, depth.lanes[2].running), (2, 1));
    assert_eq!(depth.lanes[..2], [LaneDepth::default(); 2]);
    assert_eq!(worker.settle(&delivery.lease, &Settlement::Release).await.unwrap(), Hold::Held);
    worker.check().await.unwrap();
}

/// Weights hold while every lane has jobs.
async fn lanes_share_by_weight(place: Place) {
    let worker = place.worker();
    for lane in Lane::ALL {
        let jobs: Vec<_> = (0..300).map(|_| job(lane)).collect();
        worker.enqueue(&jobs).await.unwrap();
    }
    let mut taken = [0; 3];
    for _ in 0..300 {
        let lane = next(&worker).await.message.lane;
        taken[Lane::ALL.iter().position(|l| *l == lane).unwrap()] += 1;
    }
    // 200, 75 and 25 are expected; these are five standard deviations.
    assert!((160..=240).contains(&taken[0]) && taken[2] > 0, "{taken:?}");
    assert!((37..=113).contains(&taken[1]), "{taken:?}");
}

#[tokio::test]
async fn lanes_share_by_weight_in_memory() {
    lanes_share_by_weight(in_memory(LaneWeights([8, 3, 1])).await).await;
}

#[tokio::test]
async fn lanes_share_by_weight_in_redis() {
    lanes_share_by_weight(in_redis(LaneWeights([8, 3, 1])).await).await;
}

//! What the queue says that it holds, while jobs rest and while they move about, and since when.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tonemill_job::message::{JobMessage, What};
use tonemill_job::queue::{Delivery, Depth, Hold, Queue, QueueErrorKind, Settlement};
use tonemill_job::{JobId, Lane};

use crate::place::Place;
use crate::{LEASE, PATIENCE, end, event, job, next};

/// Times that a test looks at jobs on the move.
const LISTS: u32 = 50;
const HOUR: Duration = Duration::from_hours(1);

fn names(jobs: &[JobMessage]) -> HashSet<JobId> {
    jobs.iter().map(|job| job.job).collect()
}

async fn again(worker: &Arc<dyn Queue>, delivery: &Delivery, delay: Duration) {
    let mut message = delivery.message.clone();
    // As workers do, so that it is never the same again.
    message.history.attempts += 1;
    let again = Settlement::Again {
        message: Box::new(message),
        delay,
        event: event(delivery, What::Started),
    };
    assert_eq!(worker.settle(&delivery.lease, &again).await.unwrap(), Hold::Held);
}

pub async fn jobs_are_held_until_they_end(place: Place) {
    let worker = place.worker();
    assert_eq!(worker.jobs().await.unwrap(), HashSet::new());
    let jobs: Vec<_> = Lane::ALL.into_iter().flat_map(|lane| [job(lane), job(lane)]).collect();
    worker.enqueue(&jobs).await.unwrap();
    let all = names(&jobs);
    assert_eq!(worker.jobs().await.unwrap(), all);
    let deliveries = [next(&worker).await, next(&worker).await, next(&worker).await];
    assert_eq!(worker.jobs().await.unwrap(), all, "some are under a lease");
    let [released, delayed, ended] = deliveries;
    let hold = worker.settle(&released.lease, &Settlement::Release).await.unwrap();
    assert_eq!(hold, Hold::Held);
    assert_eq!(worker.jobs().await.unwrap(), all, "one is released");
    again(&worker, &delayed, HOUR).await;
    assert_eq!(worker.jobs().await.unwrap(), all, "one is delayed");
    assert_eq!(worker.settle(&ended.lease, &end(&ended)).await.unwrap(), Hold::Held);
    let mut rest = all;
    rest.remove(&ended.message.job);
    assert_eq!(worker.jobs().await.unwrap(), rest);
}

pub async fn more_jobs_are_held_than_fit_on_a_page(place: Place) {
    let worker = place.worker();
    let mut jobs: Vec<_> = (0..600).map(|_| job(Lane::Normal)).collect();
    worker.enqueue(&jobs).await.unwrap();
    for _ in 0..600 {
        again(&worker, &next(&worker).await, HOUR).await;
    }
    // To the end of a page, and past it.
    for (lane, count) in [(Lane::High, 500), (Lane::Normal, 501), (Lane::Low, 1_001)] {
        let waiting: Vec<_> = (0..count).map(|_| job(lane)).collect();
        worker.enqueue(&waiting).await.unwrap();
        jobs.extend(waiting);
        assert_eq!(worker.jobs().await.unwrap(), names(&jobs));
    }
}

/// Tries jobs again at once, as fast as it can, until it is to stop.
fn shuffle(worker: Arc<dyn Queue>, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            if let Some(delivery) = worker.receive(Duration::from_millis(1)).await.unwrap() {
                again(&worker, &delivery, Duration::ZERO).await;
            }
        }
    })
}

pub async fn no_job_is_missed_while_it_moves(place: Place) {
    let service = place.worker();
    // With few delayed jobs, all of them are read at once; with many, others move in between.
    for at_rest in [0, 1_200] {
        let resting: Vec<_> = (0..at_rest).map(|_| job(Lane::Normal)).collect();
        service.enqueue(&resting).await.unwrap();
        for _ in 0..at_rest {
            again(&service, &next(&service).await, HOUR).await;
        }
        let moving: Vec<_> = (0..20).map(|n| job(Lane::ALL[n % 3])).collect();
        service.enqueue(&moving).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let movers = [(); 2].map(|()| shuffle(place.worker(), stop.clone()));
        let (mut listed, all) = (0, names(&resting).union(&names(&moving)).copied().collect());
        for _ in 0..LISTS {
            match service.jobs().await {
                Ok(jobs) => {
                    assert!(jobs.is_superset(&all), "missed {}", all.difference(&jobs).count());
                    listed += 1;
                }
                // They are faster than anything real.
                Err(error) => assert_eq!(error.kind, QueueErrorKind::Unavailable),
            }
        }
        stop.store(true, Ordering::Relaxed);
        for mover in movers {
            mover.await.unwrap();
        }
        println!("{listed} of {LISTS} with {at_rest} at rest");
        assert!(listed > 0 && (listed == LISTS || at_rest > 0));
    }
}

pub async fn the_oldest_event_ages_until_it_is_put_aside(place: Place) {
    let worker = place.worker();
    let message = job(Lane::Normal);
    worker.enqueue(std::slice::from_ref(&message)).await.unwrap();
    let delivery = next(&worker).await;
    worker.announce(&message, &event(&delivery, What::Started)).await.unwrap();
    let since = Instant::now();
    let aged = |depth: Depth| depth.oldest_event.is_some_and(|age| age >= LEASE / 20);
    // Whoever has it makes it no younger, and what comes later is younger.
    let events = worker.events(10, PATIENCE).await.unwrap();
    assert_eq!(worker.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Held);
    while !aged(worker.depth().await.unwrap()) {
        assert!(since.elapsed() < PATIENCE, "it does not age");
    }
    assert!(worker.depth().await.unwrap().oldest_event.unwrap() <= since.elapsed() + LEASE);
    for (id, _) in events.into_iter().chain(worker.events(10, PATIENCE).await.unwrap()) {
        // Twice: the first answer may have been lost.
        worker.set_aside(std::slice::from_ref(&id)).await.unwrap();
        worker.set_aside(&[id]).await.unwrap();
    }
    let depth = worker.depth().await.unwrap();
    assert_eq!((depth.events, depth.oldest_event), (0, None));
}

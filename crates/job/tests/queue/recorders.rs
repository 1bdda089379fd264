//! Processes of the service that read events, in Redis: what they leave behind, and what comes
//! between them and their events.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tonemill_job::message::{VERSION, What};
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};
use tonemill_job::queue::{EventId, Queue};
use tonemill_job::{JobEvent, JobId, Lane};
use tonemill_testbed::fault_proxy::{Fault, FaultProxy};
use tonemill_testbed::redis::RedisServer;

use crate::strange::{queue, run};
use crate::{NOW, PATIENCE, job};

/// Names in the group that reads events.
async fn recorders(direct: &mut MultiplexedConnection, config: &RedisConfig) -> usize {
    let events = format!("{}:events", config.namespace);
    let mut info = redis::cmd("XINFO");
    info.arg("CONSUMERS").arg(events).arg("recorders");
    info.query_async::<Vec<redis::Value>>(direct).await.unwrap().len()
}

/// Tells of `count` jobs.
async fn announce(queue: &dyn Queue, count: usize) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for _ in 0..count {
        let message = job(Lane::Normal);
        let event = JobEvent {
            v: VERSION,
            job: message.job,
            attempt: 1,
            worker: "test".to_owned(),
            at_ms: 0,
            traceparent: None,
            what: What::Started,
        };
        queue.announce(&message, &event).await.unwrap();
        jobs.push(message.job);
    }
    jobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_takes_its_name_along() {
    let (_, config, mut direct) = queue().await;
    let service = RedisQueue::new(config.clone()).unwrap();
    announce(&service, 1).await;
    let events = service.events(10, PATIENCE).await.unwrap();
    // Its event would go with its name, and never come again.
    service.leave().await.unwrap();
    assert_eq!(recorders(&mut direct, &config).await, 1);
    service.confirm(&[events[0].0.clone()]).await.unwrap();
    assert_eq!(recorders(&mut direct, &config).await, 1);
    service.leave().await.unwrap();
    assert_eq!(recorders(&mut direct, &config).await, 0);
    service.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_the_dead_are_swept_by_workers() {
    let (_, config, mut direct) = queue().await;
    let config = RedisConfig { lease: Duration::from_millis(20), ..config };
    let dead = RedisQueue::new(config.clone()).unwrap();
    announce(&dead, 1).await;
    let events = dead.events(10, PATIENCE).await.unwrap();
    dead.confirm(&[events[0].0.clone()]).await.unwrap();
    assert_eq!(recorders(&mut direct, &config).await, 1);
    let worker = RedisQueue::new(config.clone()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while recorders(&mut direct, &config).await > 0 {
        assert!(worker.receive(config.lease).await.unwrap().is_none());
        assert!(Instant::now() < deadline, "it is still there");
    }
}

/// A recorder that has been given much hides nothing that a dead one was given after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_the_dead_are_found_behind_those_of_the_living() {
    let (_, config, mut direct) = queue().await;
    // Nothing of this test is that old unless it says so.
    let config = RedisConfig { lease: Duration::from_mins(10), ..config };
    let first = RedisQueue::new(config.clone()).unwrap();
    // Redis looks at ten times as many as it is asked for.
    let jobs = announce(&first, 35).await;
    let events = first.events(100, PATIENCE).await.unwrap();
    assert_eq!(events.len(), 35);
    let ids = ids(&mut direct, &config).await;
    age(&mut direct, &config, &ids[34..]).await;
    let other = RedisQueue::new(config.clone()).unwrap();
    let found = other.events(1, NOW).await.unwrap();
    assert_eq!(found.iter().map(|(_, event)| event.job).collect::<Vec<_>>(), jobs[34..]);
    assert!(other.events(1, NOW).await.unwrap().is_empty());
    let found: Vec<EventId> = found.into_iter().map(|(id, _)| id).collect();
    other.confirm(&found).await.unwrap();
}

/// To wait for the lease would hold up what became of a job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_whose_confirmation_is_lost_come_again_at_once() {
    let (service, config, _) = queue().await;
    let server = config.url.trim_start_matches("redis://").trim_end_matches('/');
    let proxy = FaultProxy::tcp(server.parse().unwrap()).await;
    let url = format!("redis://{}", proxy.address());
    let lease = Duration::from_mins(10);
    let recorder = RedisQueue::new(RedisConfig { url, lease, ..config }).unwrap();
    let jobs = announce(&*service, 3).await;
    let events = recorder.events(2, PATIENCE).await.unwrap();
    proxy.set(Fault::Reset);
    proxy.plan(|_| Fault::Reset);
    recorder.confirm(&[events[0].0.clone()]).await.unwrap_err();
    // The connection that waits for events has to find out.
    recorder.events(1, NOW).await.unwrap_err();
    proxy.plan(|_| Fault::None);
    for _ in 0..2 {
        let again = recorder.events(10, PATIENCE).await.unwrap();
        assert_eq!(again, events, "until they are confirmed");
    }
    recorder.confirm(&events.into_iter().map(|(id, _)| id).collect::<Vec<_>>()).await.unwrap();
    let next = recorder.events(10, PATIENCE).await.unwrap();
    assert_eq!(next.iter().map(|(_, event)| event.job).collect::<Vec<_>>(), jobs[2..]);
    assert!(recorder.events(10, NOW).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_event_hides_none() {
    let (_, config, mut direct) = queue().await;
    let config = RedisConfig { lease: Duration::from_mins(10), ..config };
    let stream = format!("{}:events", config.namespace);
    for _ in 0..35 {
        run(&mut direct, &["XADD", &stream, "*", "event", "no event"]).await;
    }
    let first = RedisQueue::new(config.clone()).unwrap();
    let jobs = announce(&first, 1).await;
    let is_it = |found: Vec<(EventId, JobEvent)>| {
        assert_eq!(found.iter().map(|(_, event)| event.job).collect::<Vec<_>>(), jobs);
    };
    is_it(first.events(1, PATIENCE).await.unwrap());
    let ids = ids(&mut direct, &config).await;
    assert_eq!(ids.len(), 1, "what is none is put aside, not left for ever");
    let mut length = redis::cmd("XLEN");
    length.arg(format!("{}:unreadable", config.namespace));
    assert_eq!(length.query_async::<u64>(&mut direct).await.unwrap(), 35);
    age(&mut direct, &config, &ids).await;
    let other = RedisQueue::new(config.clone()).unwrap();
    is_it(other.events(1, NOW).await.unwrap());
}

/// This recorder cannot read it, but another that is newer can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_later_version_stays() {
    let (_, config, mut direct) = queue().await;
    let stream = format!("{}:events", config.namespace);
    run(&mut direct, &["XADD", &stream, "*", "event", r#"{"v":2,"job":{"new":1}}"#]).await;
    let service = RedisQueue::new(config.clone()).unwrap();
    assert!(service.events(10, NOW).await.unwrap().is_empty());
    let depth = service.depth().await.unwrap();
    assert_eq!((depth.events, depth.oldest_event.is_some()), (1, true));
}

/// What is confirmed is gone for who asks for its age, even if it cannot be deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_that_may_not_tidy_up() {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let rights = ["ACL", "SETUSER", "r", "on", ">p", "~*", "&*", "+@all", "-xdel"];
    run(&mut direct, &rights).await;
    let url = format!("redis://r:p@127.0.0.1:{}", server.port());
    let service = RedisQueue::new(RedisConfig::new(url)).unwrap();
    announce(&service, 2).await;
    let ids: Vec<EventId> =
        service.events(10, PATIENCE).await.unwrap().into_iter().map(|(id, _)| id).collect();
    service.confirm(&ids[..1]).await.unwrap();
    assert!(service.depth().await.unwrap().oldest_event.is_some());
    service.confirm(&ids[1..]).await.unwrap();
    assert_eq!(service.depth().await.unwrap().oldest_event, None);
}

/// Redis's names of all events, in their order.
async fn ids(direct: &mut MultiplexedConnection, config: &RedisConfig) -> Vec<String> {
    let mut range = redis::cmd("XRANGE");
    range.arg(format!("{}:events", config.namespace)).arg("-").arg("+");
    let entries: Vec<(String, Vec<String>)> = range.query_async(direct).await.unwrap();
    entries.into_iter().map(|(id, _)| id).collect()
}

/// Makes it an hour since these were handed out, to one who is dead.
async fn age(direct: &mut MultiplexedConnection, config: &RedisConfig, ids: &[String]) {
    let stream = format!("{}:events", config.namespace);
    for id in ids {
        run(direct, &["XCLAIM", &stream, "recorders", "dead", "0", id, "IDLE", "3600000"]).await;
    }
}

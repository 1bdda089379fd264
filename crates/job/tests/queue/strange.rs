//! What others put into Redis, or forbid there: it stops nobody.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tonemill_job::message::Reply;
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};
use tonemill_job::queue::{Hold, LaneWeights, Queue};
use tonemill_job::{JobId, JobMessage, Lane};
use tonemill_testbed::redis::RedisServer;
use uuid::Uuid;

use crate::place::{Place, in_redis};
use crate::{LEASE, NOW, end, job, next, none};

/// A queue of its own, how to reach it, and its Redis as others see it.
pub async fn queue() -> (Arc<dyn Queue>, RedisConfig, MultiplexedConnection) {
    let place = in_redis(LaneWeights::default()).await;
    let worker = place.worker();
    let Place::Redis(config) = place else { unreachable!("it is in Redis") };
    let client = redis::Client::open(config.url.as_str()).unwrap();
    (worker, config, client.get_multiplexed_async_connection().await.unwrap())
}

pub async fn run(direct: &mut MultiplexedConnection, command: &[&str]) {
    let mut sent = redis::cmd(command[0]);
    sent.arg(&command[1..]);
    sent.query_async::<redis::Value>(direct).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_no_jobs() {
    let (worker, config, mut direct) = queue().await;
    let (normal, delayed) =
        (format!("{}:jobs:normal", config.namespace), format!("{}:delayed", config.namespace));
    let deep = format!(r#"{{"v":2,"x":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    let texts = [r#"{"v":2,"x":"\ud800"}"#, &deep, "", "null", "[1]", "no JSON", r#"{"v":2}"#];
    for text in texts {
        run(&mut direct, &["XADD", &normal, "*", "job", text]).await;
        run(&mut direct, &["ZADD", &delayed, "1", text]).await;
    }
    let good = job(Lane::Normal);
    worker.enqueue(std::slice::from_ref(&good)).await.unwrap();
    assert_eq!(worker.jobs().await.unwrap(), [good.job].into());
    assert_eq!(next(&worker).await.message, good);
    none(&worker).await;
}

/// No worker of this version takes it, but it is held for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_later_version() {
    let (worker, config, mut direct) = queue().await;
    let id = JobId::new();
    let text = format!(r#"{{"v":2,"job":"{id}","lane":{{"new":true}}}}"#);
    let normal = format!("{}:jobs:normal", config.namespace);
    run(&mut direct, &["XADD", &normal, "*", "job", &text]).await;
    assert_eq!(worker.jobs().await.unwrap(), [id].into());
    none(&worker).await;
    assert_eq!(worker.depth().await.unwrap().delayed, 1);
    assert_eq!(worker.jobs().await.unwrap(), [id].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_is_no_event() {
    let (worker, config, mut direct) = queue().await;
    let mailbox = Uuid::new_v4();
    let key = format!("{}:mailbox:{mailbox}", config.namespace);
    run(&mut direct, &["XADD", &key, "*", "event", "no event"]).await;
    assert!(worker.mail(mailbox, None, NOW).await.unwrap().is_empty());
    let reply = Reply::Mailbox(mailbox);
    let message = JobMessage { reply, ..job(Lane::Normal) };
    worker.enqueue(&[message]).await.unwrap();
    let delivery = next(&worker).await;
    assert_eq!(worker.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Held);
    assert_eq!(worker.mail(mailbox, None, LEASE).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_somebody_deletes() {
    let (worker, config, mut direct) = queue().await;
    worker.enqueue(&[job(Lane::Normal)]).await.unwrap();
    let delivery = next(&worker).await;
    let stream = format!("{}:jobs:normal", config.namespace);
    run(&mut direct, &["XTRIM", &stream, "MAXLEN", "0"]).await;
    let depth = worker.depth().await.unwrap();
    assert_eq!((depth.lanes[1].waiting, depth.lanes[1].running), (0, 1));
    assert_eq!(worker.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Held);
}

/// What was told is settled, even if what is left over cannot be removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_may_not_tidy_up() {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let rights = ["ACL", "SETUSER", "w", "on", ">p", "~*", "&*", "+@all", "-del", "-xdel"];
    run(&mut direct, &rights).await;
    let url = format!("redis://w:p@127.0.0.1:{}", server.port());
    let worker: Arc<dyn Queue> = Arc::new(RedisQueue::new(RedisConfig::new(url)).unwrap());
    worker.enqueue(&[job(Lane::Normal)]).await.unwrap();
    let delivery = next(&worker).await;
    assert_eq!(worker.settle(&delivery.lease, &end(&delivery)).await.unwrap(), Hold::Held);
    assert_eq!(worker.events(10, NOW).await.unwrap().len(), 1);
    none(&worker).await;
}

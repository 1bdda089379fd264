//! A master that dies under a sentinel's watch.

use std::sync::Arc;
use std::time::Instant;

use tonemill_job::Lane;
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};
use tonemill_job::queue::{Hold, Queue};
use tonemill_testbed::redis_fleet::RedisSentinel;

use crate::{LEASE, PATIENCE, end, job, next};

/// A replica takes over, and the queue goes on with what it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_names_the_next_master() {
    let mut fleet = RedisSentinel::start();
    let mut config = RedisConfig::new(fleet.url());
    config.lease = LEASE;
    let worker: Arc<dyn Queue> = Arc::new(RedisQueue::new(config).unwrap());
    let jobs = [job(Lane::Normal), job(Lane::Normal)];
    worker.enqueue(&jobs).await.unwrap();
    let first = next(&worker).await;
    // What the replica does not have yet is lost with the master: the service fills it in.
    tokio::time::sleep(LEASE / 2).await;
    fleet.kill_master();
    let deadline = Instant::now() + PATIENCE * 3;
    let second = loop {
        match worker.receive(LEASE).await {
            Ok(Some(delivery)) if delivery.message.job == jobs[1].job => break delivery,
            Ok(_) | Err(_) => assert!(Instant::now() < deadline, "no master"),
        }
    };
    assert_eq!(worker.settle(&second.lease, &end(&second)).await.unwrap(), Hold::Held);
    drop(first);
}

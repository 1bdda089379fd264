//! Queues to test: in memory, in a Redis, in a cluster of three.

use std::sync::Arc;

use tokio::sync::OnceCell;
use tonemill_job::queue::memory::MemoryQueue;
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};
use tonemill_job::queue::{LaneWeights, Queue};
use tonemill_testbed::redis::RedisServer;
use tonemill_testbed::redis_fleet::RedisCluster;
use uuid::Uuid;

use crate::LEASE;

/// One queue, and as many workers on it as a test wants.
pub enum Place {
    Memory(MemoryQueue),
    Redis(RedisConfig),
}

impl Place {
    pub fn worker(&self) -> Arc<dyn Queue> {
        match self {
            Self::Memory(queue) => Arc::new(queue.another()),
            Self::Redis(config) => Arc::new(RedisQueue::new(config.clone()).unwrap()),
        }
    }
}

#[allow(clippy::unused_async, reason = "as the other")]
pub async fn in_memory(weights: LaneWeights) -> Place {
    Place::Memory(MemoryQueue::new(LEASE, weights))
}

/// A namespace of its own on a server that all tests of this process share.
pub async fn in_redis(weights: LaneWeights) -> Place {
    static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
    let server = SERVER.get_or_init(|| async { RedisServer::start_with_parent() }).await;
    namespace_in(server.url(), weights)
}

/// A namespace of its own in a cluster that all tests of this process share.
pub async fn in_a_cluster(weights: LaneWeights) -> Place {
    static CLUSTER: OnceCell<RedisCluster> = OnceCell::const_new();
    let cluster = CLUSTER.get_or_init(|| async { RedisCluster::start_with_parent() }).await;
    namespace_in(cluster.url(), weights)
}

fn namespace_in(url: String, weights: LaneWeights) -> Place {
    let namespace = format!("{{{}}}", Uuid::new_v4().simple());
    Place::Redis(RedisConfig { namespace, lease: LEASE, weights, ..RedisConfig::new(url) })
}

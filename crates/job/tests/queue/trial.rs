//! Whether a server that cannot carry the queue is told from one that can.

use redis::aio::MultiplexedConnection;
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};
use tonemill_job::queue::{LaneWeights, QueueErrorKind};
use tonemill_testbed::redis::RedisServer;

use crate::place::{Place, in_a_cluster};
use crate::strange::{queue, run};

/// Nobody is ever given this port.
const NOWHERE: &str = "127.0.0.1:1";

async fn try_out(url: String) -> Result<(), QueueErrorKind> {
    let queue = RedisQueue::new(RedisConfig::new(url)).unwrap();
    queue.try_out().await.map_err(|error| error.kind)
}

/// What is in a queue's namespace.
async fn keys(direct: &mut MultiplexedConnection, config: &RedisConfig) -> Vec<String> {
    let mut list = redis::cmd("KEYS");
    list.arg(format!("{}*", config.namespace)).query_async(direct).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_leaves_nothing() {
    let (_, config, mut direct) = queue().await;
    RedisQueue::new(config.clone()).unwrap().try_out().await.unwrap();
    assert_eq!(keys(&mut direct, &config).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_tried_out_where_the_keys_are() {
    let Place::Redis(config) = in_a_cluster(LaneWeights::default()).await else {
        unreachable!("it is in Redis")
    };
    RedisQueue::new(config).unwrap().try_out().await.unwrap();
    let dead = try_out(format!("redis+cluster://{NOWHERE}")).await;
    assert_eq!(dead, Err(QueueErrorKind::Unavailable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_answer_and_take_nothing_are_found_out() {
    let full = RedisServer::start_with(&["--maxmemory", "200kb"]);
    assert_eq!(try_out(full.url()).await, Err(QueueErrorKind::Full));
    let port = full.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
    assert_eq!(try_out(replica.url()).await, Err(QueueErrorKind::Unavailable));
    let lonely = RedisServer::start_with(&["--min-replicas-to-write", "1"]);
    assert_eq!(try_out(lonely.url()).await, Err(QueueErrorKind::Unavailable));
}

/// Each of these is missing to the queue, whatever else its user may do; what was begun is removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_all_is_found_out() {
    let (_, config, mut direct) = queue().await;
    for (number, forbidden) in
        ["-@scripting", "-evalsha", "-xreadgroup", "-zadd", "-set"].into_iter().enumerate()
    {
        let name = format!("user{number}");
        let may = ["ACL", "SETUSER", &name, "on", ">secret", "~*", "+@all", forbidden];
        run(&mut direct, &may).await;
        let url = config.url.replace("redis://", &format!("redis://{name}:secret@"));
        let namespace = config.namespace.clone();
        let queue = RedisQueue::new(RedisConfig { namespace, ..RedisConfig::new(url) }).unwrap();
        let error = queue.try_out().await.expect_err(forbidden);
        assert_eq!(error.kind, QueueErrorKind::Refused, "{forbidden}: {:?}", error.source);
    }
    assert_eq!(keys(&mut direct, &config).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_needs_no_more_than_docs_workers_md_says() {
    let (_, config, mut direct) = queue().await;
    let may = "+@stream +@sortedset +@scripting +@connection +set +get +mget +del +pexpire +time \
               +ping +info";
    let keys_of = format!("~{}:*", config.namespace);
    let user = ["ACL", "SETUSER", "modest", "on", ">secret", "resetkeys", &keys_of];
    let user: Vec<&str> = user.into_iter().chain(may.split(' ')).collect();
    run(&mut direct, &user).await;
    let url = config.url.replace("redis://", "redis://modest:secret@");
    let queue = RedisQueue::new(RedisConfig { url, ..config.clone() }).unwrap();
    queue.try_out().await.unwrap();
    let settings = queue.settings().await.unwrap().expect("it is one server");
    assert_eq!((settings.is_replica, settings.appends, settings.syncs), (false, true, None));
}

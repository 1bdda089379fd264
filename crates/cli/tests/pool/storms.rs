//! Redis and the store that go away, come back, stall, run full, and lie.

use std::time::{Duration, Instant};

use tonemill_job::queue::QueueErrorKind;
use tonemill_testbed::fault_proxy::{Fault, FaultProxy, some};
use tonemill_testbed::redis::RedisServer;

use crate::arena::{Arena, LEASE, PATIENCE};
use crate::clips;
use crate::size;

/// Fault test 4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_comes_back() {
    let mut arena = Arena::new().await;
    let rounds = size(10, 2);
    let batch = size(20, 8);
    let mut worker = arena.worker(&[]);
    for _ in 0..rounds {
        arena.submit(batch, clips::all()).await;
        arena.submit(1, &[clips::long(200)]).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        arena.redis.kill();
        tokio::time::sleep(LEASE * 2).await;
        arena.redis.restart();
        let back = Instant::now();
        assert_eq!(arena.wait().await, arena.jobs.len(), "{}", arena.log());
        assert!(back.elapsed() < PATIENCE, "{}", arena.log());
    }
    let verdict = arena.check(1).await;
    verdict.assert_sound(&arena);
    // Nobody died, so nothing had to be done again.
    assert_eq!(verdict.extra_attempts, 0, "{}", arena.log());
    worker.drain().await;
}

/// Fault test 6: cut off from Redis for several leases, while another worker is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_out_of_reach() {
    let mut arena = Arena::new().await;
    let address = format!("127.0.0.1:{}", arena.redis.port());
    let proxy = FaultProxy::tcp(address.parse().unwrap()).await;
    arena.redis_url = Some(format!("redis://{}", proxy.address()));
    let mut cut_off = arena.worker(&["--jobs", "2"]);
    arena.submit(2, &[clips::long(400)]).await;
    arena.wait_for_log("attempt started", 2).await;
    proxy.set(Fault::BlackHole);
    arena.redis_url = None;
    let mut other = arena.worker(&["--jobs", "2"]);
    assert_eq!(arena.wait().await, 2, "{}", arena.log());
    let away = if size(1, 0) == 1 { Duration::from_mins(1) } else { LEASE * 3 };
    tokio::time::sleep(away).await;
    proxy.set(Fault::None);
    arena.submit(4, clips::all()).await;
    assert_eq!(arena.wait().await, 6, "{}", arena.log());
    arena.check(2).await.assert_sound(&arena);
    other.drain().await;
    cut_off.drain().await;
}

/// Fault test 7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_full() {
    let redis = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let mut arena = Arena::with(redis).await;
    let client = redis::Client::open(arena.redis.url()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    arena.submit(6, clips::all()).await;
    let limit = async |direct: &mut redis::aio::MultiplexedConnection, bytes: u64| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        set.query_async::<()>(direct).await.unwrap();
    };
    limit(&mut direct, 1).await;
    let refused = arena.upload(&clips::all()[0]).await;
    let error = arena.queue.enqueue(std::slice::from_ref(&refused)).await.unwrap_err();
    assert_eq!((error.kind, error.ambiguous), (QueueErrorKind::Full, false), "{error:?}");
    arena.store.delete(&refused.input).await.unwrap();
    let mut worker = arena.worker(&["--jobs", "2"]);
    arena.wait_for_log("attempt started", 2).await;
    tokio::time::sleep(LEASE * 2).await;
    limit(&mut direct, 0).await;
    assert_eq!(arena.wait().await, 6, "{}", arena.log());
    let verdict = arena.check(1).await;
    verdict.assert_sound(&arena);
    worker.drain().await;
}

/// A store behind a proxy, reached by workers only.
async fn arena_behind_proxy() -> (Arena, FaultProxy) {
    let mut arena = Arena::new().await;
    let proxy = FaultProxy::http(&arena.s3.endpoint).await;
    arena.s3_endpoint = Some(proxy.endpoint());
    (arena, proxy)
}

/// Fault test 11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_refuses_three_calls_in_ten() {
    let jobs = size(500, 40);
    let mut took = Vec::new();
    for percent in [0, 30] {
        let (mut arena, proxy) = arena_behind_proxy().await;
        proxy.plan(some(percent, Fault::Refuse, 11));
        arena.submit(jobs, clips::all()).await;
        let started = Instant::now();
        let mut worker = arena.worker(&["--once"]);
        assert!(worker.end(PATIENCE * 3).await.success(), "{}", arena.log());
        took.push(started.elapsed());
        let verdict = arena.check(0).await;
        verdict.assert_sound(&arena);
        assert_eq!(verdict.extra_attempts, 0, "{}", arena.log());
    }
    println!("{jobs} jobs: clean {:?}, three in ten refused {:?}", took[0], took[1]);
}

/// Fault test 12: a store that accepts and then says nothing, or hardly anything, or half of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_stalls() {
    let trickle = Fault::Trickle { pause: Duration::from_secs(1) };
    for fault in [Fault::BlackHole, trickle, Fault::CutResponse { after: 9000 }] {
        let (mut arena, proxy) = arena_behind_proxy().await;
        let mut worker = arena.worker(&["--jobs", "2"]);
        proxy.set(fault);
        arena.submit(3, clips::all()).await;
        arena.wait_for_log("attempt started", 2).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.set(Fault::None);
        assert_eq!(arena.wait().await, 3, "{fault:?}:\n{}", arena.log());
        arena.check(1).await.assert_sound(&arena);
        worker.drain().await;
        assert_eq!(proxy.open(), 0, "{fault:?}");
    }
}

/// Fault test 13: one bit changes on the way in or out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_changes_a_bit() {
    for round in 0..size(50, 4) as u64 {
        let (mut arena, proxy) = arena_behind_proxy().await;
        let mut left = 1;
        let (method, fault) = if round % 2 == 0 {
            ("GET", Fault::FlipResponse { at: 1000 + round * 701 })
        } else {
            ("PUT", Fault::FlipRequest { at: 500 + round * 701 })
        };
        proxy.plan(move |incoming| {
            let hit = left > 0 && incoming.request.starts_with(method);
            left -= i32::from(hit);
            if hit { fault } else { Fault::None }
        });
        arena.submit(1, &clips::all()[round as usize % 5..][..1]).await;
        let mut worker = arena.worker(&["--once"]);
        assert!(worker.end(PATIENCE).await.success());
        // The very bytes of an undisturbed run: the flipped bit was noticed.
        arena.check(0).await.assert_sound(&arena);
        assert!(proxy.accepted() > 0);
    }
}

/// Fault test 14: killed while the parts of an output are on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_two_parts() {
    // Fifteen minutes are 21 MB: three parts.
    let clip = clips::long(900);
    for round in 0..size(50, 1) {
        let mut arena = Arena::new().await;
        arena.submit(1, std::slice::from_ref(&clip)).await;
        let segment = 40 + round % 20;
        let mut victim = arena.worker_with(&["--jobs", "1"], &format!("store=kill@nth:{segment}"));
        victim.end(PATIENCE).await;
        let mut heir = arena.worker(&["--jobs", "1"]);
        assert_eq!(arena.wait().await, 1, "{}", arena.log());
        // What the dead left behind is swept by age; nobody is at work now.
        arena.sweep_unfinished();
        arena.check(1).await.assert_sound(&arena);
        heir.drain().await;
    }
}

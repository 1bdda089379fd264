//! Redis and the store that go away, come back, run full, and lie.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tonemill_job::queue::QueueErrorKind;
use tonemill_testbed::fault_proxy::{Fault, FaultProxy, some};
use tonemill_testbed::redis::RedisServer;

use crate::arena::{Arena, LEASE, PATIENCE};
use crate::clips;
use crate::{is_full, report, seeded, size};

/// Fault test 4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_comes_back() {
    let mut arena = Arena::new().await;
    let rounds = size(10, 2);
    let batch = size(20, 8);
    let mut worker = arena.worker(&[]);
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        arena.submit(batch, clips::all()).await;
        arena.submit(1, &[clips::long(200)]).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        arena.redis.kill();
        tokio::time::sleep(LEASE * 2).await;
        let ended = arena.recorder.ended();
        assert!(ended < arena.jobs.len(), "nothing was left to do");
        arena.redis.restart();
        let back = Instant::now();
        arena.recorder.wait_for_ends(ended + 1, PATIENCE).await;
        longest = longest.max(back.elapsed());
        assert_eq!(arena.wait().await, arena.jobs.len(), "{}", arena.log());
    }
    assert!(longest < Duration::from_secs(10), "{longest:?}:\n{}", arena.log());
    let verdict = arena.check(1).await;
    verdict.assert_sound(&arena);
    // Nobody died, so nothing had to be done again.
    assert_eq!(verdict.extra_attempts, 0, "{}", arena.log());
    worker.drain_worker().await;
    let (jobs, longest) = (arena.jobs.len(), longest.as_secs_f64());
    report(4, &format!("{rounds} kills, {jobs} jobs, back within {longest:.1} s, 0 redelivered"));
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
    let away = if is_full() { Duration::from_mins(1) } else { LEASE * 3 };
    tokio::time::sleep(away).await;
    proxy.set(Fault::None);
    arena.submit(4, clips::all()).await;
    assert_eq!(arena.wait().await, 6, "{}", arena.log());
    let verdict = arena.check(2).await;
    verdict.assert_sound(&arena);
    other.drain_worker().await;
    cut_off.drain_worker().await;
    let (away, extra) = (away.as_secs(), verdict.extra_attempts);
    report(6, &format!("cut off for {away} s, 2 jobs taken over, {extra} extra attempts"));
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
    worker.drain_worker().await;
    report(7, &format!("6 accepted, 6 done, 1 refused, {} extra attempts", verdict.extra_attempts));
}

/// A store behind a proxy, reached by workers only.
pub async fn arena_behind_proxy() -> (Arena, FaultProxy) {
    let mut arena = Arena::new().await;
    let proxy = FaultProxy::http(&arena.s3.endpoint).await;
    arena.s3_endpoint = Some(proxy.endpoint());
    (arena, proxy)
}

/// Fault test 11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_refuses_three_calls_in_ten() {
    let jobs = size(500, 40);
    let (_, seed) = seeded();
    let (mut took, mut extra) = (Vec::new(), 0);
    for percent in [0, 30] {
        let (mut arena, proxy) = arena_behind_proxy().await;
        proxy.plan(some(percent, Fault::Refuse, seed));
        arena.submit(jobs, clips::all()).await;
        let started = Instant::now();
        let mut worker = arena.worker(&["--once"]);
        assert!(worker.end(PATIENCE * 3).await.success(), "{}", arena.log());
        took.push(started.elapsed());
        let verdict = arena.check(0).await;
        verdict.assert_sound(&arena);
        extra = verdict.extra_attempts;
    }
    // Seven tries of a call all fail once in 5,000 calls; 500 jobs make 1,500.
    assert!(extra <= 4, "{extra} extra attempts");
    let times = took[1].as_secs_f64() / took[0].as_secs_f64();
    report(
        11,
        &format!("seed {seed}: {jobs} jobs done, {extra} extra attempts, {times:.2} times as long"),
    );
    assert!(!is_full() || times <= 2.0, "{took:?}");
}

/// Fault test 13: one bit changes on the way in or out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_changes_a_bit() {
    let (mut random, seed) = seeded();
    let rounds = size(50, 4) as u64;
    for round in 0..rounds {
        let (mut arena, proxy) = arena_behind_proxy().await;
        let (method, fault) = if round % 2 == 0 {
            ("GET", Fault::FlipResponse { at: random.u64(..20_000) })
        } else {
            ("PUT", Fault::FlipRequest { at: random.u64(..20_000) })
        };
        // Before its first job a worker tries out whether it may write.
        let before = u64::from(method == "PUT");
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        proxy.plan(move |incoming| {
            let is_meant = incoming.request.starts_with(method)
                && counted.fetch_add(1, Ordering::SeqCst) == before;
            if is_meant { fault } else { Fault::None }
        });
        arena.submit(1, &clips::all()[round as usize % 5..][..1]).await;
        let mut worker = arena.worker(&["--once"]);
        assert!(worker.end(PATIENCE).await.success());
        // The very bytes of an undisturbed run.
        arena.check(0).await.assert_sound(&arena);
        // A clip takes one of each: what was damaged was asked for, or sent, again.
        let requests = requests.load(Ordering::SeqCst);
        assert_eq!(requests, before + 2, "{fault:?}:\n{}", arena.log());
    }
    report(13, &format!("seed {seed}: {rounds} of {rounds} flipped bits noticed, 0 bad outputs"));
}

/// Fault test 14: killed while the parts of an output are on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_two_parts() {
    // Ten minutes are 24 MB: three parts.
    let clip = clips::wide(600);
    let (mut random, seed) = seeded();
    let rounds = size(50, 1);
    let mut swept = 0;
    for _ in 0..rounds {
        let mut arena = Arena::new().await;
        arena.submit(1, std::slice::from_ref(&clip)).await;
        // Of 44 whole segments of 13.4 s; a part is full after 16, and the second was accepted.
        let segment = random.usize(34..44);
        let mut victim = arena.worker_with(&["--jobs", "1"], &format!("store=kill@nth:{segment}"));
        assert_eq!(victim.end(PATIENCE).await.signal(), Some(9), "it was not killed");
        let mut heir = arena.worker(&["--jobs", "1"]);
        assert_eq!(arena.wait().await, 1, "{}", arena.log());
        // What the dead left behind is swept by age; nobody is at work now.
        swept += arena.bucket().sweep_unfinished().await;
        arena.check(1).await.assert_sound(&arena);
        heir.drain_worker().await;
    }
    assert!(swept > 0, "nobody was killed between two parts");
    report(14, &format!("seed {seed}: {rounds} kills, {swept} leftovers swept, 0 listed after"));
}

//! A thousand slow heads and two hundred slow bodies at once, and somebody who only wants an
//! answer.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonemill_api::server::{BodyRate, ServerConfig};

use crate::client::{Raw, until};
use crate::host::Host;

const HEADS: usize = 1000;
const BODIES: usize = 200;
/// How long they are borne with, and how much later they may be gone at the latest.
const LIMIT: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(5);
const DRIBBLE: Duration = Duration::from_millis(500);

/// In megabytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kb: f64 = line.trim().trim_end_matches(" kB").parse().expect("kB");
    kb / 1000.0
}

/// How many of `wanted` connections fit the descriptors: each has two ends here, and other tests
/// run at the same time.
fn fitting(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = usize::try_from(limit / 4).unwrap_or(usize::MAX);
    if most < HEADS + BODIES {
        eprintln!("a descriptor limit of {limit} makes the crowd smaller");
        return wanted * most / (HEADS + BODIES);
    }
    wanted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_slow_clients_holds_up_nobody() {
    let bytes_per_second = NonZeroU32::new(1000).expect("not zero");
    let config = ServerConfig {
        header_timeout: LIMIT,
        body_rate: BodyRate { bytes_per_second, window: LIMIT },
        max_connections_per_address: 0,
        ..ServerConfig::default()
    };
    let host = Host::start(config).await;
    let (heads, bodies) = (fitting(HEADS), fitting(BODIES));
    let before = resident();
    let ready = Arc::new(AtomicUsize::new(0));
    let mut crowd = JoinSet::new();
    for index in 0..heads + bodies {
        let (address, ready) = (host.address, Arc::clone(&ready));
        crowd.spawn(async move {
            let began = Instant::now();
            let mut client = Raw::connect(address).await;
            if index < heads {
                client.send("GET / HTTP/1.1\r\nHost: x\r\nA: ").await;
            } else {
                client.post("/read", 1_000_000).await;
            }
            ready.fetch_add(1, Ordering::SeqCst);
            let answer = client.dribble(b"x", DRIBBLE).await;
            (index < heads, answer, began.elapsed())
        });
    }
    until(|| ready.load(Ordering::SeqCst) == heads + bodies).await;
    let crowded = resident();
    let over = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask_all_the_time(host.address, Arc::clone(&over)));
    while let Some(outcome) = crowd.join_next().await {
        let (head, answer, lasted) = outcome.expect("no panic");
        assert_eq!(answer.starts_with("HTTP/1.1 408 "), !head, "{answer}");
        assert!(lasted >= LIMIT && lasted < LIMIT + SLACK, "head: {head}, {lasted:?}");
    }
    over.store(true, Ordering::SeqCst);
    let mut times = asking.await.expect("no panic");
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    println!(
        "{heads} slow heads, {bodies} slow bodies: {} requests meanwhile, p50 {:?}, p99 {p99:?}, \
         longest {:?}; {:.1} MB resident before, {:.1} MB with them",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1],
        before,
        crowded,
    );
    assert!(p99 < Duration::from_millis(500), "{p99:?}");
    host.stop().await;
}

/// Every request on a connection of its own, as somebody new would.
async fn ask_all_the_time(address: std::net::SocketAddr, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    while !over.load(Ordering::SeqCst) || times.len() < 100 {
        let began = Instant::now();
        let mut client = Raw::connect(address).await;
        client.get("/").await;
        client.read_until("hello").await;
        times.push(began.elapsed());
        sleep(Duration::from_millis(2)).await;
    }
    times
}

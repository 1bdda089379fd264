//! The admin port: probes and metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::arena::{Arena, PATIENCE};
use crate::clips;
use crate::support::daemon::Daemon;
use crate::support::patience::until;

/// Where a worker's admin port is, by its log.
async fn address(worker: &Daemon) -> String {
    let address = until("an admin port", async || tonemill_testbed::admin_port(&worker.log()));
    address.await.to_string()
}

/// Status and body of a page.
async fn get(address: &str, page: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {page} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Asks for a page until its status is `wanted`.
async fn wait_for(address: &str, page: &str, wanted: u16) {
    let end = Instant::now() + PATIENCE;
    while get(address, page).await.0 != wanted {
        assert!(Instant::now() < end, "{page} never answers {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_follow_redis_and_metrics_count() {
    let mut arena = Arena::new().await;
    let mut worker = arena.worker(&["--admin", "127.0.0.1:0"]);
    let address = address(&worker).await;
    wait_for(&address, "/readyz", 200).await;
    assert_eq!(get(&address, "/livez").await.0, 200);
    arena.submit(5, clips::all()).await;
    assert_eq!(arena.wait().await, 5, "{}", arena.log());
    let mut metrics = String::new();
    for line in [
        "tonemill_attempts_total{outcome=\"finished\"} 5",
        "tonemill_queue_waiting{lane=\"normal\"} 0",
        "tonemill_permits_free 4",
    ] {
        // The last job has ended before the worker has written it down.
        let end = Instant::now() + PATIENCE;
        while !metrics.contains(line) {
            assert!(Instant::now() < end, "{line} is missing in:\n{metrics}");
            let (status, page) = get(&address, "/metrics").await;
            assert_eq!(status, 200);
            metrics = page;
        }
    }
    for name in [
        "tonemill_redis_call_duration_seconds",
        "tonemill_redis_memory_used_bytes",
        "tonemill_s3_call_duration_seconds",
        "tonemill_store_read_bytes_total",
        "tonemill_store_written_bytes_total",
        "tonemill_job_audio_seconds_sum",
        "tonemill_job_cpu_seconds_sum",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "{name} is missing in:\n{metrics}");
    }
    let (status, health) = get(&address, "/healthz").await;
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["status"]), (200, &"ok".into()), "{health}");
    assert!(health["queue"]["latency_ms"].is_number() && health["store"]["status"] == "ok");
    arena.redis.kill();
    wait_for(&address, "/readyz", 503).await;
    let (status, health) = get(&address, "/healthz").await;
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["queue"]["status"]), (503, &"unavailable".into()), "{health}");
    assert_eq!(get(&address, "/livez").await.0, 200);
    // What it saw last would be told for ever.
    let (_, metrics) = get(&address, "/metrics").await;
    for unknown in ["tonemill_queue_waiting{lane=\"normal\"} NaN", "tonemill_queue_workers NaN"] {
        assert!(metrics.contains(unknown), "{unknown} is missing in:\n{metrics}");
    }
    arena.redis.restart();
    wait_for(&address, "/readyz", 200).await;
    arena.check(1).await.assert_sound(&arena);
    worker.drain_worker().await;
}

/// Who connects and says nothing takes a place for a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_keep_probes_out() {
    let mut arena = Arena::new().await;
    let mut worker = arena.worker(&["--admin", "127.0.0.1:0"]);
    let address = address(&worker).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    let asked = Instant::now();
    assert_eq!(get(&address, "/livez").await.0, 200);
    assert!(asked.elapsed() < PATIENCE);
    // The port's own places, not one for each who came.
    assert!(worker.handles().0 < 80, "{:?}", worker.handles());
    drop(idle);
    worker.drain_worker().await;
}

/// Each line about a job says which, and carries the trace of whoever wanted it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_name_job_attempt_and_trace() {
    let mut arena = Arena::new().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let clip = &clips::all()[0];
    let mut message = arena.upload(clip).await;
    message.traceparent = Some(format!("00-{trace}-b7ad6b7169203331-01"));
    arena.jobs.insert(message.job, Arc::clone(clip));
    arena.queue.enqueue(std::slice::from_ref(&message)).await.unwrap();
    let mut worker = arena.worker(&["--once"]);
    assert!(worker.end(PATIENCE).await.success(), "{}", worker.log());
    let job = message.job.to_string();
    let log = worker.log();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let spans: Vec<_> = lines.filter_map(|line| line.get("span").cloned()).collect();
    assert!(spans.len() >= 2, "{log}");
    assert!(spans.iter().any(|span| span["name"] == "settle"), "{log}");
    for span in spans {
        assert_eq!((&span["job"], &span["trace_id"]), (&job.clone().into(), &trace.into()));
        assert_eq!(span["attempt"], 1);
    }
    arena.check(0).await.assert_sound(&arena);
}

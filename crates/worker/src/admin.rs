//! The admin port: is the process alive, can it work, what has it done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};
use tonemill_job::{Lane, chain};

use crate::consumer::WorkerState;

/// How long an answer of the queue or the store counts.
const READY_FOR: Duration = Duration::from_secs(2);
/// How often measures are summed up.
const UPKEEP: Duration = Duration::from_secs(5);
/// Connections at a time, how long one may take to ask, and how long it may last.
const CONNECTIONS: usize = 32;
const HEADER: Duration = Duration::from_secs(1);
const CONNECTION: Duration = Duration::from_secs(10);
/// After a connection that could not be accepted: no descriptor is free.
const PAUSE: Duration = Duration::from_millis(100);
/// How long they have to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// When the queue and the store were asked, and what is wrong with them.
type Ready = (Instant, Result<(), String>);

#[derive(Clone)]
struct Admin {
    worker: WorkerState,
    metrics: PrometheusHandle,
    ready: Arc<Mutex<Option<Ready>>>,
}

/// Serves `/livez`, `/readyz` and `/metrics` on `listener` for as long as it is polled.
pub async fn serve(
    listener: TcpListener,
    worker: WorkerState,
    metrics: PrometheusHandle,
) -> std::io::Result<()> {
    // What has not happened yet has happened 0 times: else its first time goes unseen by a rate.
    for name in ["tonemill_leases_lost_total", "tonemill_receive_errors_total"] {
        metrics::counter!(name).increment(0);
    }
    let upkeep = metrics.clone();
    let admin = Admin { worker, metrics, ready: Arc::default() };
    let routes = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .with_state(admin);
    tracing::info!(address = %listener.local_addr()?, "admin port open");
    let upkeep = async {
        // Else measures pile up until somebody asks for them.
        loop {
            sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    };
    tokio::select! {
        () = accept(listener, routes) => {}
        () = upkeep => {}
    }
    Ok(())
}

/// Answers whoever connects, a few at a time, and for a while: nobody here is worth a descriptor
/// that a job needs.
async fn accept(listener: TcpListener, routes: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(routes.clone());
        let answering = http1::Builder::new()
            .keep_alive(false)
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _ = timeout(CONNECTION, answering).await;
            drop(place);
        });
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.ready().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics_page(State(admin): State<Admin>) -> impl IntoResponse {
    admin.measure().await;
    let text = admin.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

impl Admin {
    async fn ready(&self) -> Result<(), String> {
        if self.worker.shutdown.is_draining() {
            return Err("draining".to_owned());
        }
        let mut ready = self.ready.lock().await;
        if let Some((at, outcome)) = &*ready
            && at.elapsed() < READY_FOR
        {
            return outcome.clone();
        }
        let outcome = self.ask().await;
        *ready = Some((Instant::now(), outcome.clone()));
        outcome
    }

    async fn ask(&self) -> Result<(), String> {
        let slow = |what: &str| format!("{what}: no answer in {} s", PATIENCE.as_secs());
        let queue = timeout(PATIENCE, self.worker.queue.check()).await;
        queue.map_err(|_| slow("queue"))?.map_err(|error| chain(&error))?;
        let store = timeout(PATIENCE, self.worker.store.check()).await;
        store.map_err(|_| slow("store"))?.map_err(|error| chain(&error))
    }

    /// Takes the measures that are looked up, not counted.
    async fn measure(&self) {
        let running = self.worker.running.count();
        metrics::gauge!("tonemill_jobs_running").set(running as f64);
        let free = self.worker.jobs.saturating_sub(running);
        metrics::gauge!("tonemill_permits_free").set(free as f64);
        if let Some(bytes) = resident_bytes() {
            metrics::gauge!("process_resident_memory_bytes").set(bytes as f64);
        }
        let Ok(Ok(depth)) = timeout(PATIENCE, self.worker.queue.depth()).await else { return };
        for (lane, depth) in Lane::ALL.iter().zip(depth.lanes) {
            let name = lane.name();
            metrics::gauge!("tonemill_queue_waiting", "lane" => name).set(depth.waiting as f64);
            metrics::gauge!("tonemill_queue_running", "lane" => name).set(depth.running as f64);
            metrics::gauge!("tonemill_queue_oldest_seconds", "lane" => name)
                .set(depth.oldest.as_secs_f64());
        }
        metrics::gauge!("tonemill_queue_delayed").set(depth.delayed as f64);
        metrics::gauge!("tonemill_queue_events").set(depth.events as f64);
        metrics::gauge!("tonemill_queue_workers").set(depth.workers as f64);
    }
}

/// Memory of this process that is in RAM.
fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

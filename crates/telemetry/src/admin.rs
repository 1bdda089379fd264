//! The admin port of a process that has no API: is it alive, can it work, what has it done.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::health::{LastLook, Part};
use crate::metrics::{CONTENT_TYPE, Metrics};

/// How long measures that are looked up may hold back a page of metrics.
const MEASURE: Duration = Duration::from_secs(3);
/// Connections at a time, how long one may take to ask, and how long it may last.
const CONNECTIONS: usize = 32;
const HEADER: Duration = Duration::from_secs(1);
const CONNECTION: Duration = Duration::from_secs(10);
/// After a connection that could not be accepted: no descriptor is free.
const PAUSE: Duration = Duration::from_millis(100);

/// A process that can be asked how it is.
#[async_trait]
pub trait Watched: Send + Sync + 'static {
    /// Whether it is about to end.
    fn is_draining(&self) -> bool;

    /// Asks everything that it needs.
    async fn parts(&self) -> Vec<Part>;

    /// Takes the measures that are looked up, not counted.
    async fn measure(&self);
}

#[derive(Clone)]
struct Admin {
    process: Arc<dyn Watched>,
    metrics: Metrics,
    last: Arc<LastLook<Vec<Part>>>,
}

/// Serves `/livez`, `/readyz`, `/healthz` and `/metrics` on `listener` for as long as it is polled.
pub async fn serve(
    listener: TcpListener,
    process: impl Watched,
    metrics: Metrics,
) -> std::io::Result<()> {
    let admin = Admin { process: Arc::new(process), metrics, last: Arc::default() };
    let routes = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics_page))
        .with_state(admin);
    tracing::info!(address = %listener.local_addr()?, "admin port open");
    accept(listener, routes).await;
    Ok(())
}

/// Answers whoever connects, a few at a time, and for a while: nobody here is worth a descriptor
/// that the work needs.
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
    if admin.process.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    let parts = admin.parts().await;
    let trouble = |part: &Part| Some(format!("{}: {}\n", part.name, part.trouble.as_ref()?));
    let troubles: String = parts.iter().filter_map(trouble).collect();
    if troubles.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, troubles)
    }
}

async fn healthz(State(admin): State<Admin>) -> (StatusCode, Json<Value>) {
    let parts = admin.parts().await;
    let is_ok = parts.iter().all(Part::is_well);
    let mut view = Map::new();
    view.insert("status".to_owned(), if is_ok { "ok" } else { "unavailable" }.into());
    for part in parts {
        let told = json!({"status": part.status(), "latency_ms": part.latency_ms()});
        view.insert(part.name.to_owned(), told);
    }
    let status = if is_ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(view.into()))
}

async fn metrics_page(State(admin): State<Admin>) -> impl IntoResponse {
    let _ = timeout(MEASURE, admin.process.measure()).await;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], admin.metrics.render())
}

impl Admin {
    async fn parts(&self) -> Vec<Part> {
        self.last.or(self.process.parts()).await
    }
}

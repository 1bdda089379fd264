//! Is the process alive, can it work, what is it, what has it done.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use tokio::sync::Mutex;
use tonemill_telemetry::Part;
use tonemill_telemetry::metrics::CONTENT_TYPE;
use utoipa::ToSchema;

use crate::Api;
use crate::problem::{AWAY, Answer, Problem};

/// How long an answer counts: probes come often, from many sides.
const FRESH: Duration = Duration::from_secs(2);

/// The last look at the parts.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Option<(Instant, HealthView)>>);

/// How each part is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HealthView {
    /// `ok` or `unavailable`.
    status: &'static str,
    ledger: PartView,
    queue: PartView,
    store: PartView,
}

/// How a part is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PartView {
    /// `ok` or `unavailable`.
    status: &'static str,
    /// How long it took to answer.
    latency_ms: f64,
}

/// The process runs.
#[utoipa::path(get, path = "/livez", tag = "Operation", security(()),
    responses((status = 200, description = "Alive", body = String, content_type = "text/plain")))]
pub async fn live() -> &'static str {
    "alive\n"
}

/// All that a request needs is there.
#[utoipa::path(get, path = "/readyz", tag = "Operation", security(()), responses(
    (status = 200, description = "Ready", body = String, content_type = "text/plain"),
    (status = 503, description = "Something is away, or the process is about to end: open \
     connections are told, new ones are refused"),
))]
pub async fn ready(State(api): State<Api>) -> Answer<&'static str> {
    if api.shutdown.is_cancelled() {
        return Err(Problem::unavailable("this process is about to end"));
    }
    match api.look_at_parts().await.status {
        "ok" => Ok("ready\n"),
        _ => {
            let why = "a part of the service does not answer: see /healthz";
            Err(Problem::unavailable(why).retry_after(AWAY))
        }
    }
}

/// Each part, and how long it took to answer.
#[utoipa::path(get, path = "/healthz", tag = "Operation", security(()), responses(
    (status = 200, description = "All is well", body = HealthView),
    (status = 503, description = "Something is away", body = HealthView),
))]
pub async fn health(State(api): State<Api>) -> (StatusCode, Json<HealthView>) {
    let view = api.look_at_parts().await;
    let is_ok = view.status == "ok";
    (if is_ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(view))
}

/// What runs here.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionView {
    name: &'static str,
    version: &'static str,
}

/// What runs here.
#[utoipa::path(get, path = "/version", tag = "Operation", security(()),
    responses((status = 200, description = "Name and version", body = VersionView)))]
pub async fn version() -> Json<VersionView> {
    Json(VersionView { name: "tonemill", version: env!("CARGO_PKG_VERSION") })
}

/// Measures, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "Operation", security(()), responses(
    (status = 200, description = "In Prometheus' text format", body = String,
     content_type = "text/plain"),
    (status = 404, description = "This process keeps none"),
))]
pub async fn metrics(State(api): State<Api>) -> Answer<impl IntoResponse> {
    let Some(metrics) = &api.metrics else {
        return Err(Problem::not_found("this process keeps no measures"));
    };
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.render()))
}

impl Api {
    async fn look_at_parts(&self) -> HealthView {
        let mut last = self.health.0.lock().await;
        if let Some((at, view)) = &*last
            && at.elapsed() < FRESH
        {
            return view.clone();
        }
        let (ledger, queue, store) = tokio::join!(
            Part::ask("ledger", self.ledger.check()),
            Part::ask("queue", self.queue.check()),
            Part::ask("store", self.store.check()),
        );
        let all_ok = [&ledger, &queue, &store].iter().all(|part| part.trouble.is_none());
        let status = if all_ok { "ok" } else { "unavailable" };
        let (ledger, queue, store) = (ledger.into(), queue.into(), store.into());
        let view = HealthView { status, ledger, queue, store };
        *last = Some((Instant::now(), view.clone()));
        view
    }
}

impl From<Part> for PartView {
    fn from(part: Part) -> Self {
        Self { status: part.status(), latency_ms: part.latency_ms() }
    }
}

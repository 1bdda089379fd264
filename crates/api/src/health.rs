//! Is the process alive, can it work, what is it, what has it done.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use tonemill_telemetry::Part;
use tonemill_telemetry::health::{LastLook, Probe};
use tonemill_telemetry::metrics::CONTENT_TYPE;
use utoipa::ToSchema;

use crate::Api;
use crate::problem::{AWAY, Answer, Problem};

/// The last look at each part. They are apart: who asks for one is not to wait for another.
#[derive(Debug, Default)]
pub(crate) struct Health {
    ledger: LastLook<Part>,
    queue: LastLook<Part>,
    store: LastLook<Part>,
    mail: Option<Arc<dyn Probe>>,
    last_mail: LastLook<Part>,
}

/// How each part is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HealthView {
    /// `ok` or `unavailable`.
    status: &'static str,
    ledger: PartView,
    queue: PartView,
    store: PartView,
    /// The mail server, where this process sends mails by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    mail: Option<PartView>,
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

/// The ledger is there, without which nobody is even known. Without the queue uploads are accepted
/// all the same, without the store there is still something to say: to have all replicas taken out
/// for that would leave users without an answer.
#[utoipa::path(get, path = "/readyz", tag = "Operation", security(()), responses(
    (status = 200, description = "Ready", body = String, content_type = "text/plain"),
    (status = 503, description = "The ledger is away, or the process is about to end: open \
     connections are told, new ones are refused"),
))]
pub async fn ready(State(api): State<Api>) -> Answer<&'static str> {
    if api.shutdown.is_cancelled() {
        return Err(Problem::unavailable("this process is about to end"));
    }
    if api.look_at_ledger().await.is_well() {
        return Ok("ready\n");
    }
    Err(Problem::unavailable("the ledger does not answer").retry_after(AWAY))
}

/// Each part, and how long it took to answer.
#[utoipa::path(get, path = "/healthz", tag = "Operation", security(()), responses(
    (status = 200, description = "All is well", body = HealthView),
    (status = 503, description = "Something is away", body = HealthView),
))]
pub async fn health(State(api): State<Api>) -> (StatusCode, Json<HealthView>) {
    let (ledger, queue, store, mail) = tokio::join!(
        api.look_at_ledger(),
        api.health.queue.or(Part::ask("queue", api.queue.check())),
        api.health.store.or(Part::ask("store", api.store.check())),
        api.look_at_mail(),
    );
    let is_well = [&ledger, &queue, &store].into_iter().chain(&mail).all(Part::is_well);
    let view = HealthView {
        status: if is_well { "ok" } else { "unavailable" },
        ledger: ledger.into(),
        queue: queue.into(),
        store: store.into(),
        mail: mail.map(PartView::from),
    };
    (if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(view))
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

impl Health {
    /// With how to ask for the mail server, if there is one.
    pub(crate) fn new(mail: Option<Arc<dyn Probe>>) -> Self {
        Self { mail, ..Self::default() }
    }
}

impl Api {
    async fn look_at_ledger(&self) -> Part {
        self.health.ledger.or(Part::ask("ledger", self.ledger.check())).await
    }

    async fn look_at_mail(&self) -> Option<Part> {
        let mail = self.health.mail.as_ref()?;
        Some(self.health.last_mail.or(mail.ask()).await)
    }
}

impl From<Part> for PartView {
    fn from(part: Part) -> Self {
        Self { status: part.status(), latency_ms: part.latency_ms() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn the_document_has_a_mail_server_that_may_be_left_out() {
        let document = serde_json::to_value(crate::routes::document()).unwrap();
        let view = &document["components"]["schemas"]["HealthView"];
        assert_eq!(view["required"], json!(["status", "ledger", "queue", "store"]));
        let mail = view["properties"]["mail"].to_string();
        assert!(mail.contains("PartView") && !mail.contains("null"), "{mail}");
    }
}

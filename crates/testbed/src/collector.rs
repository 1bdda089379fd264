//! A collector of traces, as OpenTelemetry's: takes spans by OTLP over HTTP, in protobuf, and keeps
//! them as they came. They are read when somebody asks: beside a measurement it should cost nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A collector that runs until it is dropped.
#[derive(Debug)]
pub struct Collector {
    /// What to send to, without the path.
    pub endpoint: String,
    requests: Requests,
    serving: JoinHandle<()>,
}

type Requests = Arc<Mutex<Vec<Bytes>>>;

/// A span that was received. Ids are in hexadecimal.
#[derive(Debug, Clone)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: String,
    /// Its own.
    pub id: String,
    /// What it is a part of; empty for the first of a trace.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// The process that it comes from.
    pub service: String,
    /// OpenTelemetry's number of what kind it is; 2 is a server's.
    pub kind: i32,
    /// Whether it failed.
    pub is_error: bool,
    /// When it began, in nanoseconds since 1970.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// What is said of it.
    pub attributes: BTreeMap<String, String>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Collector {
    /// Starts one on a port of its own.
    ///
    /// # Panics
    ///
    /// Where there is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Requests::default();
        let taking = post(take).with_state(Arc::clone(&requests));
        let routes = Router::new().route("/v1/traces", taking);
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("a collector");
        });
        Self { endpoint: format!("http://{address}"), requests, serving }
    }

    /// What has come so far.
    ///
    /// # Panics
    ///
    /// If it makes no sense.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = |bytes| ExportTraceServiceRequest::decode(bytes).expect("spans");
        requests.into_iter().map(read).flat_map(spans).collect()
    }

    /// How many that are.
    ///
    /// # Panics
    ///
    /// If they make no sense.
    #[must_use]
    pub fn count(&self) -> usize {
        self.spans().len()
    }
}

async fn take(State(requests): State<Requests>, body: Bytes) -> impl IntoResponse {
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(body);
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    ([(header::CONTENT_TYPE, "application/x-protobuf")], answer)
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let described = texts(resource.resource.map(|it| it.attributes).unwrap_or_default());
        let service = described.get("service.name").cloned().unwrap_or_default();
        let received = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(received.map(|span| Span {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name,
            service: service.clone(),
            kind: span.kind,
            is_error: span.status.is_some_and(|status| status.code == SpanStatus::Error as i32),
            start_ns: span.start_time_unix_nano,
            end_ns: span.end_time_unix_nano,
            attributes: texts(span.attributes),
        }));
    }
    spans
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

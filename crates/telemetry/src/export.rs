//! Sends spans to a collector: OTLP over HTTP, in protobuf.
//!
//! Spans wait in a queue of bounded length, which takes no more when the collector is away or slow,
//! and go out in batches from a thread of their own. No work waits for that, but for the end of the
//! process, which waits a moment.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use tokio::runtime::Handle;

/// How long the collector has to take a batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// How often is told that the collector does not take spans.
const TELL: Duration = Duration::from_mins(1);

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There can be no client.
    #[error("no client for the collector")]
    Client(#[from] reqwest::Error),
    /// The collector cannot be reached by such an address.
    #[error("no such collector")]
    Exporter(#[from] ExporterBuildError),
}

/// What sends spans to the collector at `endpoint`, which is the start of its address as in
/// `OTEL_EXPORTER_OTLP_ENDPOINT`. Within a runtime, which does the sending.
pub(crate) fn exporter(endpoint: &str) -> Result<SpanExporter, ExportError> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let sender = Sender { client, runtime: Handle::current(), told: Mutex::default() };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(PATIENCE)
        .with_http_client(sender)
        .build()?;
    Ok(exporter)
}

/// Sends batches with the HTTP client that the rest of the program uses, too.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    /// When it was last told that the collector does not take spans.
    told: Mutex<Option<Instant>>,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        // The thread that asks is no thread of the runtime.
        let sending = self.runtime.spawn(async move {
            let request = reqwest::Request::try_from(request)?;
            let mut answer = client.execute(request).await?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = std::mem::take(answer.headers_mut());
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                    return Err("the collector's answer is too long".into());
                }
                body.extend_from_slice(&chunk);
            }
            *response.body_mut() = body.into();
            Ok::<_, HttpError>(response)
        });
        let outcome = sending.await.map_err(Into::into).and_then(|outcome| outcome);
        self.tell(&outcome);
        outcome
    }
}

impl Sender {
    /// Counts what became of a batch, and tells of trouble now and then.
    fn tell(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let trouble = match outcome {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(tonemill_job::chain(&**error)),
        };
        let label = if trouble.is_none() { "ok" } else { "failed" };
        metrics::counter!("tonemill_trace_exports_total", "outcome" => label).increment(1);
        let Some(trouble) = trouble else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL) {
            *told = Some(Instant::now());
            tracing::warn!(error = trouble, "the collector does not take spans");
        }
    }
}

//! The log, as lines on standard error for people or for machines, and the traces: what a process
//! that runs for long starts with.

use std::time::Duration;

use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt as _, ParseError, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::export::{ExportError, exporter};
use crate::trace::TRACER;

/// How long the end of a process waits for the collector.
const FLUSH: Duration = Duration::from_secs(2);

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For machines: an object a line.
    Json,
    /// For people.
    Text,
}

/// What a process says while it runs.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// How lines look.
    pub format: Format,
    /// What is logged, in the language of [`EnvFilter`].
    pub filter: String,
    /// The process, to whoever sees traces of several; `OTEL_SERVICE_NAME` says otherwise.
    pub service: &'static str,
    /// The collector that spans are sent to, as in `OTEL_EXPORTER_OTLP_ENDPOINT`. Without one they
    /// are not exported.
    pub otlp_endpoint: Option<String>,
    /// How many of the traces that begin here are exported, of 1. `OTEL_TRACES_SAMPLER` decides if
    /// this does not.
    pub trace_ratio: Option<f64>,
}

/// Why a process cannot speak.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// What is to be logged makes no sense.
    #[error("no such filter")]
    Filter(#[from] ParseError),
    /// Spans cannot be sent.
    #[error("spans cannot be exported")]
    Export(#[from] ExportError),
    /// Another log was started before.
    #[error("there is a log already")]
    Twice(#[from] TryInitError),
}

/// The traces of this process.
#[derive(Debug)]
#[must_use = "spans that wait are lost unless it ends"]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends what waits to be sent, for two seconds at most. Before the runtime ends.
    pub fn end(self) {
        // A collector that is away has been told of.
        let _ = self.0.shutdown_with_timeout(FLUSH);
    }
}

/// Starts log and traces, for the rest of the process. Within a runtime.
pub fn start(config: &LogConfig) -> Result<Traces, LogError> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let provider = provider(config)?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(TRACER))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(is_of_trace).with_max_level_hint(LevelFilter::INFO));
    // A log that cannot be written is no reason to lose work.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let lines = match config.format {
        Format::Json => lines.json().flatten_event(true).with_current_span(true).boxed(),
        Format::Text => lines.with_target(false).boxed(),
    };
    // Whatever is logged, what it is about is.
    let about = filter_fn(is_of_trace).with_max_level_hint(LevelFilter::INFO);
    Registry::default().with(spans).with(lines.with_filter(filter.or(about))).try_init()?;
    global::set_tracer_provider(provider.clone());
    Ok(Traces(provider))
}

/// Whether it is a span of ours that others may want to see.
fn is_of_trace(metadata: &Metadata<'_>) -> bool {
    metadata.is_span()
        && *metadata.level() <= LevelFilter::INFO
        && metadata.target().starts_with("tonemill")
}

/// Makes spans, and exports them if it was said where to.
fn provider(config: &LogConfig) -> Result<SdkTracerProvider, ExportError> {
    let parent_based = |root| Sampler::ParentBased(Box::new(root));
    let mut provider = SdkTracerProvider::builder();
    match &config.otlp_endpoint {
        Some(endpoint) => {
            if let Some(ratio) = config.trace_ratio {
                provider = provider.with_sampler(parent_based(Sampler::TraceIdRatioBased(ratio)));
            }
            provider = provider.with_batch_exporter(exporter(endpoint)?);
        }
        // A trace has its name and is carried on, and nothing of it is kept.
        None => provider = provider.with_sampler(parent_based(Sampler::AlwaysOff)),
    }
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(config.service);
    }
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Ok(provider.with_resource(resource.with_attribute(version).build()).build())
}

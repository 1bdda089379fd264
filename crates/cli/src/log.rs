//! The log and the traces, as the command line says.

use std::io::IsTerminal as _;

use tonemill_job::chain;
use tonemill_telemetry::log::{Format, LogConfig, LogError, Traces, start};

use crate::args::worker::{LogArgs, LogFormat};
use crate::failure::Failure;

impl LogArgs {
    /// Starts both, for the rest of the process, which is called `service` in traces. Within a
    /// runtime.
    pub fn start(&self, service: &'static str) -> Result<Traces, Failure> {
        let format = match self.log_format {
            Some(LogFormat::Text) => Format::Text,
            None if std::io::stderr().is_terminal() => Format::Text,
            Some(LogFormat::Json) | None => Format::Json,
        };
        let config = LogConfig {
            format,
            filter: self.log.clone(),
            service,
            otlp_endpoint: self.collector(),
            trace_ratio: self.trace_ratio,
        };
        start(&config).map_err(|error| match error {
            LogError::Filter(error) => Failure::usage(format!("--log: {error}"), ""),
            LogError::Export(error) => Failure::usage("--otlp-endpoint", chain(&error)),
            LogError::Twice(error) => Failure::cannot("start the log", error),
        })
    }

    /// Where traces go: what was said, or what every program with OpenTelemetry is told.
    pub fn collector(&self) -> Option<String> {
        let standard = || std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok();
        self.otlp_endpoint.clone().or_else(standard).filter(|endpoint| !endpoint.is_empty())
    }
}

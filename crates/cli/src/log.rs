//! The log: lines on standard error, for people or for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::args::worker::{LogArgs, LogFormat};
use crate::failure::Failure;

impl LogArgs {
    /// Starts it, for the rest of the process.
    pub fn start(&self) -> Result<(), Failure> {
        let filter = EnvFilter::try_new(&self.log);
        let filter = filter.map_err(|error| Failure::usage(format!("--log: {error}"), ""))?;
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        // A log that cannot be written is no reason to lose work.
        let log = log.log_internal_errors(false);
        let format = self.log_format.unwrap_or_else(|| {
            if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json }
        });
        match format {
            LogFormat::Json => log.json().flatten_event(true).with_current_span(true).init(),
            LogFormat::Text => log.with_target(false).init(),
        }
        Ok(())
    }
}

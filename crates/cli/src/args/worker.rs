//! What operators may say to a worker, alone or within a whole service. Everything can be said by
//! an environment variable instead, as containers like it.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use reqwest::Url;

use super::PROCESS;
use super::backends::BackendArgs;
use crate::text::{parse_bytes, parse_time};

#[derive(Debug, Args)]
#[command(
    after_help = "SIGTERM ends the worker when its jobs are done or the grace period is over; \
    a second one, or SIGINT, ends it at once. No job is lost either way. Exit codes: 0 ended as \
    told; 2 wrong usage; 3 it could not work."
)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub backends: BackendArgs,
    #[command(flatten)]
    pub size: SizeArgs,

    /// End when no job waits
    #[arg(long, help_heading = PROCESS)]
    pub once: bool,
    /// How long a job stays with a worker that gives no sign of life, in seconds; the same for all
    /// workers
    #[arg(long, value_name = "TIME", value_parser = parse_lease, default_value = "30",
          env = "TONEMILL_LEASE", help_heading = PROCESS)]
    pub lease: f64,
    /// How long jobs may go on after SIGTERM, in seconds
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "25",
          env = "TONEMILL_GRACE", help_heading = PROCESS)]
    pub grace: f64,
    /// Serve /livez, /readyz, /healthz and /metrics here, such as 0.0.0.0:9464
    #[arg(long, value_name = "ADDRESS", env = "TONEMILL_ADMIN", help_heading = PROCESS)]
    pub admin: Option<SocketAddr>,
    #[command(flatten)]
    pub log: LogArgs,
}

/// What a process that runs for long says about itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log and traces")]
pub struct LogArgs {
    /// How the log looks [default: text on a terminal, else json]
    #[arg(long, value_name = "FORMAT", value_enum, env = "TONEMILL_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged, such as "info" or "warn,tonemill=debug"
    #[arg(long, value_name = "FILTER", default_value = "info", env = "TONEMILL_LOG")]
    pub log: String,
    /// Send traces to this collector, by OTLP over HTTP, such as <http://localhost:4318>
    /// [default: what OpenTelemetry's own variables say]
    #[arg(long, value_name = "URL", value_parser = parse_collector, env = "TONEMILL_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// How many of the traces that begin here are sent, of 1 [default: what OpenTelemetry's own
    /// variables say, else all]
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio, env = "TONEMILL_TRACE_RATIO")]
    pub trace_ratio: Option<f64>,
}

fn parse_collector(text: &str) -> Result<String, String> {
    let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let url = Url::parse(text).ok().filter(is_http);
    url.map(|_| text.to_owned()).ok_or_else(|| "must start with http:// or https://".to_owned())
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "must be 0 to 1".to_owned())
}

/// What is too much for everyone.
#[derive(Debug, Args)]
#[command(next_help_heading = "Size and limits")]
pub struct LimitArgs {
    /// Largest upload that is accepted, such as 4GiB [default: 64GiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, env = "TONEMILL_MAX_INPUT")]
    pub max_input: Option<u64>,
}

/// How large a worker is, and what its jobs may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Size and limits")]
pub struct SizeArgs {
    /// Jobs at a time [default: as many as fit into the memory, at most four per core]
    #[arg(long, value_name = "N", env = "TONEMILL_JOBS",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Threads that encode, shared by all jobs [default: one per core]
    #[arg(long, value_name = "N", env = "TONEMILL_THREADS",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Memory to plan with, such as 2GiB [default: what the cgroup and the machine grant]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, env = "TONEMILL_MEMORY")]
    pub memory: Option<u64>,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Longest audio that is accepted, in seconds or HH:MM:SS [default: 12:00:00]
    #[arg(long, value_name = "TIME", value_parser = parse_time, env = "TONEMILL_MAX_DURATION")]
    pub max_duration: Option<f64>,
    /// Longest time to spend on one job, in seconds or HH:MM:SS [default: 6:00:00]
    #[arg(long, value_name = "TIME", value_parser = parse_time, env = "TONEMILL_TIMEOUT")]
    pub timeout: Option<f64>,
    /// How long a job may show no sign of life before it is stopped, in seconds [default: 60]
    #[arg(long, value_name = "TIME", value_parser = parse_time, env = "TONEMILL_STALL")]
    pub stall: Option<f64>,
    /// Address space of a job that runs alone after a crash [default: 768MiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, env = "TONEMILL_ALONE_MEMORY")]
    pub alone_memory: Option<u64>,
    /// How long a job waits before it is tried again for the first time, in seconds [default: 5]
    #[arg(long, value_name = "TIME", value_parser = parse_delay, env = "TONEMILL_RETRY_DELAY")]
    pub retry_delay: Option<f64>,
}

pub fn parse_lease(text: &str) -> Result<f64, String> {
    parse_between(text, 0.1, 3600.0, "0.1 s to an hour")
}

fn parse_delay(text: &str) -> Result<f64, String> {
    parse_between(text, 0.0, 86_400.0, "at most a day")
}

fn parse_between(text: &str, low: f64, high: f64, valid: &str) -> Result<f64, String> {
    let seconds = parse_time(text)?;
    if (low..=high).contains(&seconds) { Ok(seconds) } else { Err(format!("must be {valid}")) }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_has_an_address_and_a_ratio_is_a_part() {
        for good in ["http://localhost:4318", "https://otel.example.org/otlp/"] {
            assert_eq!(parse_collector(good).as_deref(), Ok(good));
        }
        for bad in ["localhost:4318", "otel", "ftp://localhost", "http://", "grpc://localhost:4317"]
        {
            assert!(parse_collector(bad).is_err(), "{bad}");
        }
        assert_eq!(["0", "0.25", "1"].map(parse_ratio), [Ok(0.0), Ok(0.25), Ok(1.0)]);
        for bad in ["-0.1", "1.01", "nan", "all"] {
            assert!(parse_ratio(bad).is_err(), "{bad}");
        }
    }
}

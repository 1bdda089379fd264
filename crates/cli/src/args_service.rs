//! What the user may say to the commands that work with a queue and a store. Everything can be said
//! by an environment variable instead, as containers like it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use tonemill_job::Lane;

use crate::args::{CareArgs, FileArgs, PartArgs, SoundArgs, TagArgs};
use crate::text::{parse_bytes, parse_time};

#[derive(Debug, Args)]
#[command(
    after_help = "SIGTERM ends the worker when its jobs are done or the grace period is over; \
    a second one, or SIGINT, ends it at once. No job is lost either way. Exit codes: 0 ended as \
    told; 2 wrong usage; 3 it could not work."
)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    #[command(flatten)]
    pub size: SizeArgs,

    /// End when no job waits
    #[arg(long)]
    pub once: bool,
    /// How long a job stays with a worker that gives no sign of life, in seconds; the same for all
    /// workers
    #[arg(long, value_name = "TIME", value_parser = parse_lease, default_value = "30",
          env = "TONEMILL_LEASE")]
    pub lease: f64,
    /// How long jobs may go on after SIGTERM, in seconds
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "25",
          env = "TONEMILL_GRACE")]
    pub grace: f64,
    /// Serve /livez, /readyz and /metrics here, such as 0.0.0.0:9464
    #[arg(long, value_name = "ADDRESS", env = "TONEMILL_ADMIN")]
    pub admin: Option<SocketAddr>,
    #[command(flatten)]
    pub log: LogArgs,
}

/// What a process that runs for long says about itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// How the log looks [default: text on a terminal, else json]
    #[arg(long, value_enum, env = "TONEMILL_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged, such as "info" or "warn,tonemill=debug"
    #[arg(long, value_name = "FILTER", default_value = "info", env = "TONEMILL_LOG")]
    pub log: String,
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

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all converted; 1 some input was bad; 2 wrong usage, or an \
    output exists already; 3 queue, store or workers failed; 130 interrupted: what was not done is \
    cancelled.")]
pub struct SubmitArgs {
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub service: ServiceArgs,
    /// How urgent it is
    #[arg(long, value_enum, default_value_t)]
    pub lane: LaneArg,

    #[command(flatten)]
    pub sound: SoundArgs,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub tags: TagArgs,
    #[command(flatten)]
    pub care: CareArgs,
}

/// Where the queue and the store are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Queue and store")]
#[command(group = ArgGroup::new("store").args(["s3_bucket", "folder"]))]
pub struct ServiceArgs {
    /// File of settings, in TOML, by the names of the flags
    #[arg(long, value_name = "FILE", env = "TONEMILL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Redis: redis://…, rediss://…, unix://…, redis+sentinel://… or redis+cluster://…
    #[arg(long, value_name = "URL", env = "TONEMILL_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// What the keys in Redis start with
    #[arg(
        long,
        value_name = "NAME",
        default_value = "{tonemill}",
        hide = true,
        env = "TONEMILL_REDIS_NAMESPACE"
    )]
    pub redis_namespace: String,
    /// Keep objects in this folder instead of S3; all workers must see the same
    #[arg(long, value_name = "DIR", env = "TONEMILL_FOLDER")]
    pub folder: Option<PathBuf>,
    /// Bucket
    #[arg(long, value_name = "NAME", env = "TONEMILL_S3_BUCKET")]
    pub s3_bucket: Option<String>,
    /// Where the S3 server is [default: AWS]
    #[arg(long, value_name = "URL", env = "TONEMILL_S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,
    /// Region
    #[arg(long, value_name = "NAME", default_value = "us-east-1", env = "TONEMILL_S3_REGION")]
    pub s3_region: String,
    /// Access key [default: the standard chain of AWS, if built with it]
    #[arg(
        long,
        value_name = "ID",
        env = "TONEMILL_S3_ACCESS_KEY_ID",
        requires = "s3_secret_access_key"
    )]
    pub s3_access_key_id: Option<String>,
    /// Its secret; better in the environment, where nobody lists it
    #[arg(
        long,
        value_name = "SECRET",
        env = "TONEMILL_S3_SECRET_ACCESS_KEY",
        hide_env_values = true
    )]
    pub s3_secret_access_key: Option<String>,
    /// What temporary keys come with
    #[arg(long, value_name = "TOKEN", env = "TONEMILL_S3_SESSION_TOKEN", hide_env_values = true)]
    pub s3_session_token: Option<String>,
    /// Whether the bucket is part of the path; else of the host name [default: with an endpoint]
    #[arg(long, value_name = "BOOL", env = "TONEMILL_S3_PATH_STYLE")]
    pub s3_path_style: Option<bool>,
    /// PEM file of certificate authorities to trust besides the system's
    #[arg(long, value_name = "FILE", env = "TONEMILL_S3_CA_FILE")]
    pub s3_ca_file: Option<PathBuf>,
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

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum LaneArg {
    High,
    #[default]
    Normal,
    Low,
}

impl From<LaneArg> for Lane {
    fn from(arg: LaneArg) -> Self {
        match arg {
            LaneArg::High => Self::High,
            LaneArg::Normal => Self::Normal,
            LaneArg::Low => Self::Low,
        }
    }
}

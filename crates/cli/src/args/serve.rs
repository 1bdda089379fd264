//! What the user may say to the service: the whole of it in one process, or its API alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tonemill_ledger::deliveries::JOB_EVENTS;

use super::PROCESS;
use super::backends::BackendArgs;
use super::notifier::NotifyArgs;
use super::worker::{LimitArgs, LogArgs, SizeArgs, parse_lease};
use crate::text::{parse_bytes, parse_time};

#[derive(Debug, Args)]
#[command(
    after_help = "Without any option everything is in one process and one folder: the ledger in \
    SQLite, objects in files, the queue in memory. Each of --database-url, --redis-url and \
    --s3-bucket takes one part out of it. Links in mails begin with where it listens, unless there \
    is a --public-url; mails are files in mail/ of the data folder, unless there is a --smtp-url \
    or a --mail-folder. SIGTERM ends it in order; a second one, or SIGINT, at \
    once. No job is lost either way, nor by kill -9. Exit codes: 0 ended as told; 2 wrong usage; 3 \
    it could not work."
)]
pub struct ServeArgs {
    /// Folder for everything that has no other place
    #[arg(long, value_name = "DIR", default_value = "tonemill-data", env = "TONEMILL_DATA")]
    pub data: PathBuf,
    #[command(flatten)]
    pub api: ApiArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub size: SizeArgs,
    /// How long a job stays with a worker that gives no sign of life, in seconds; the same for all
    /// workers
    #[arg(long, value_name = "TIME", value_parser = parse_lease, default_value = "30",
          env = "TONEMILL_LEASE", help_heading = PROCESS)]
    pub lease: f64,
}

/// What can be asked about the settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting of the service, and where it came from: a flag, a variable, a file, or
    /// nowhere. Takes what `serve` takes
    Check(Box<ServeArgs>),
    /// Print every setting of every command, as tables in Markdown
    Reference,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Needs --database-url, --redis-url, and --s3-bucket or --folder. SIGTERM ends it \
    when what runs is answered or the grace period is over. Exit codes: 0 ended as told; 2 wrong \
    usage; 3 it could not work."
)]
pub struct ApiCommandArgs {
    #[command(flatten)]
    pub api: ApiArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// An API, its ledger, and where the other parts are.
#[derive(Debug, Args)]
pub struct ApiArgs {
    #[command(flatten)]
    pub http: HttpArgs,
    #[command(flatten)]
    pub ledger: LedgerArgs,
    #[command(flatten)]
    pub backends: BackendArgs,
    /// How long requests and jobs may go on after SIGTERM, in seconds
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "25",
          env = "TONEMILL_GRACE", help_heading = PROCESS)]
    pub grace: f64,
    #[command(flatten)]
    pub log: LogArgs,
}

/// The certificate, for HTTPS.
#[derive(Debug, Args)]
#[command(next_help_heading = "HTTP")]
pub struct TlsArgs {
    /// PEM file of the certificate and those above it, for HTTPS; read again when it changes
    #[arg(long, value_name = "FILE", env = "TONEMILL_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, value_name = "FILE", env = "TONEMILL_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// The API over HTTP.
#[derive(Debug, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address,
          default_value = "127.0.0.1:8080", env = "TONEMILL_LISTEN")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Proxies in front that are believed about X-Forwarded-For
    #[arg(long, value_name = "N", default_value_t = 0, env = "TONEMILL_TRUSTED_PROXIES")]
    pub trusted_proxies: usize,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 4096, env = "TONEMILL_MAX_CONNECTIONS")]
    pub max_connections: usize,
    /// Web pages that may use the API, such as <https://example.org>, or "*"
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', env = "TONEMILL_CORS_ORIGINS")]
    pub cors_origins: Vec<String>,
    /// What uploads on their way may have in memory; those that find no room wait
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "256MiB",
          env = "TONEMILL_UPLOAD_MEMORY")]
    pub upload_memory: u64,
    /// Requests of a user in a second, in the long run; three times as many at once
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..), env = "TONEMILL_REQUESTS")]
    pub requests: u32,
    /// Requests of a user that are answered at a time; uploads, downloads and event streams last
    #[arg(long, value_name = "N", default_value_t = 256, env = "TONEMILL_REQUESTS_AT_ONCE")]
    pub requests_at_once: usize,
    /// Send who downloads to the store, with an address that is good for this long
    #[arg(long, value_name = "TIME", value_parser = parse_time, env = "TONEMILL_PRESIGN")]
    pub presign: Option<f64>,
    /// How long an access token is good
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "15:00",
          env = "TONEMILL_ACCESS_TOKEN")]
    pub access_token: f64,
    /// How long a log-in lasts after it was last renewed, in days
    #[arg(long, value_name = "DAYS", default_value_t = 30.0, value_parser = parse_days,
          env = "TONEMILL_LOGIN_DAYS")]
    pub login_days: f64,
}

/// Where the ledger is, and what all that work with it have to know.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ledger")]
pub struct DatabaseArgs {
    /// Where the ledger is: sqlite:…, mysql://… or postgres://…
    #[arg(long, value_name = "URL", env = "TONEMILL_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Most connections to the database
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=1000),
          env = "TONEMILL_DATABASE_CONNECTIONS")]
    pub database_connections: u32,
    #[command(flatten)]
    pub mails: MailEventsArgs,
}

/// What all that write down the end of a job have to know.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ledger")]
pub struct MailEventsArgs {
    /// What users are mailed about who have not said
    #[arg(long, value_name = "EVENT", value_delimiter = ',', value_parser = JOB_EVENTS,
          default_value = "job.finished,job.failed", env = "TONEMILL_MAIL_EVENTS")]
    pub mail_events: Vec<String>,
}

/// The ledger, and what it allows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Quotas, retention")]
pub struct LedgerArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Unfinished jobs of a user [default: no limit]
    #[arg(long, value_name = "N", env = "TONEMILL_QUOTA_JOBS")]
    pub quota_jobs: Option<u64>,
    /// What a user may have stored, such as 100GiB [default: no limit]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, env = "TONEMILL_QUOTA_BYTES")]
    pub quota_bytes: Option<u64>,
    /// Minutes of audio of a user in a day (UTC) [default: no limit]
    #[arg(long, value_name = "MINUTES", env = "TONEMILL_QUOTA_MINUTES")]
    pub quota_minutes: Option<u64>,
    /// How long jobs that are over, and their MP3s, are kept, in days
    #[arg(long, value_name = "DAYS", default_value_t = 7.0, value_parser = parse_days,
          env = "TONEMILL_KEEP_DAYS")]
    pub keep_days: f64,
    /// Password of the first administrator [default: one is made and printed]
    #[arg(long, value_name = "PASSWORD", env = "TONEMILL_ADMIN_PASSWORD", hide_env_values = true)]
    pub admin_password: Option<String>,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| "must be an IP address and a port, such as 127.0.0.1:8080".to_owned();
    text.parse().map_err(wrong)
}

pub fn parse_days(text: &str) -> Result<f64, String> {
    let days: f64 = text.parse().map_err(|_| format!("\"{text}\" is no number of days"))?;
    if days.is_finite() && (0.0..=36_500.0).contains(&days) {
        Ok(days)
    } else {
        Err("must be 0 to 36500 days".to_owned())
    }
}

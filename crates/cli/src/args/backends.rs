//! What the user may say of the queue and the store, to every command that works with them.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

/// Where the queue and the store are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Queue and store")]
#[command(group = ArgGroup::new("store").args(["s3_bucket", "folder"]))]
pub struct BackendArgs {
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

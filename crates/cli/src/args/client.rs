//! What users of a service that runs may say to it: log in, upload, look, watch, download.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command, Subcommand};
use tonemill_api::webhooks::target::check_url;
use tonemill_job::JobId;
use tonemill_ledger::JobState;
use tonemill_ledger::job::MAX_LABEL_BYTES;

use super::convert::{ConversionArgs, FileArgs, OutputArgs};
use super::job_state;
use super::submit::LaneArg;
use crate::text::{parse_time, plain};

/// Where the service is, and how patient to be with it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Service")]
pub struct ConnectionArgs {
    /// Where the service is, such as tonemill.example.org [default: where you logged in]
    #[arg(long, value_name = "URL", env = "TONEMILL_URL")]
    pub url: Option<String>,
    /// PEM file of certificate authorities to trust besides the system's
    #[arg(long, value_name = "FILE", env = "TONEMILL_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// How long to try again when the service is away [default: 5:00, and not at all at first]
    #[arg(long, value_name = "TIME", value_parser = parse_time, env = "TONEMILL_RETRY_FOR")]
    pub retry_for: Option<f64>,
}

/// The service, and who asks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Service")]
pub struct ServerArgs {
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// An API key, instead of a log-in; better in the environment, where nobody lists it
    #[arg(long, value_name = "KEY", env = "TONEMILL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The log-in is kept in $XDG_CONFIG_HOME/tonemill or ~/.config/tonemill, for \
    you alone. Exit codes: 0 logged in; 2 wrong usage, name or password; 3 the service failed; 130 \
    interrupted."
)]
pub struct LoginArgs {
    /// Where the service is; without http:// or https:// it is https:// for all but this machine
    #[arg(value_name = "URL")]
    pub server: Option<String>,
    /// Your name there [default: asked for]
    #[arg(long)]
    pub name: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub struct LogoutArgs {
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, Args)]
#[command(mut_arg("inputs", |arg| arg.help("Files to upload")))]
#[command(mut_arg("output", |arg| arg.help("Wait for the MP3 of a single input, and download it here")))]
#[command(mut_arg("dir", |arg| {
    arg.help("Wait for the MP3s, and download them to this folder, made if it is not there")
}))]
#[command(mut_arg("force", |arg| arg.help("Wait for the MP3s, and replace outputs that exist")))]
#[command(after_help = "The same command after an interruption goes on where it stopped. Exit \
    codes: 0 all done; 1 some input was bad; 2 wrong usage, or an output exists already; 3 the \
    service or the network failed; 130 interrupted: jobs that were accepted go on.")]
pub struct UploadArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// Watch the jobs until they are over
    #[arg(long)]
    pub watch: bool,
    /// Wait for the MP3s and download them, without -o or -d beside each input
    #[arg(long)]
    pub wait: bool,
    /// What to call the jobs, to find them again
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true,
          value_parser = label)]
    pub label: String,
    /// How urgent it is
    #[arg(long, value_enum, default_value_t)]
    pub lane: LaneArg,
    /// Webhook that is told how each job ends; what it is signed with is told once
    #[arg(long, value_name = "URL", value_parser = webhook)]
    pub webhook: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,

    #[command(flatten)]
    pub conversion: ConversionArgs,
}

impl UploadArgs {
    /// Whether the MP3s are wanted here.
    pub fn wants_outputs(&self) -> bool {
        let OutputArgs { output, dir, force, .. } = &self.files.outputs;
        self.wait || *force || output.is_some() || dir.is_some()
    }
}

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 done; 1 there is no such job, or it is in another state; 2 wrong \
    usage; 3 the service failed; 130 interrupted."
)]
pub struct JobsArgs {
    #[command(subcommand)]
    pub command: Option<JobsCommand>,
    /// Jobs to show in detail [default: list the newest]
    #[arg(value_name = "ID", conflicts_with_all = ["state", "label", "limit"],
          value_parser = JobIdParser)]
    pub ids: Vec<JobId>,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// List jobs in these states only
    #[arg(long, value_delimiter = ',', value_parser = job_state())]
    pub state: Vec<JobState>,
    /// List jobs with this label only
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// List so many
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Print a line of JSON per job
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Reads the id of a job; where commands may stand as well, it says which.
#[derive(Debug, Clone)]
struct JobIdParser;

impl TypedValueParser for JobIdParser {
    type Value = JobId;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<JobId, clap::Error> {
        let id = value.to_str().and_then(|text| text.parse().ok());
        id.ok_or_else(|| {
            let word = plain(&value.to_string_lossy());
            let others = command.get_subcommands().filter(|other| !other.is_hide_set());
            let others = others.map(Command::get_name).filter(|name| *name != "help");
            let why = match others.collect::<Vec<_>>().join(", ").as_str() {
                "" => format!("'{word}' is no job's id (such as {LIKE})"),
                others => {
                    format!("'{word}' is neither a job's id (such as {LIKE}) nor one of {others}")
                }
            };
            command.clone().error(ErrorKind::ValueValidation, why)
        })
    }
}

/// How the id of a job begins.
const LIKE: &str = "01a201f0-8e11-7…";

/// What can be done about jobs.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List the newest, as without a command
    #[command(hide = true)]
    List(ListArgs),
    /// End jobs that are not over
    Cancel(ChangeArgs),
    /// Try failed or cancelled jobs again
    Retry(ChangeArgs),
    /// Delete jobs that are over, with their MP3s
    Delete(ChangeArgs),
}

#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// The jobs
    #[arg(required = true, value_name = "ID", value_parser = JobIdParser)]
    pub ids: Vec<JobId>,
    /// Print warnings and errors only
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all finished; 1 some failed, or were cancelled; 2 wrong \
    usage; 3 the service failed; 130 interrupted: the jobs go on.")]
pub struct WatchArgs {
    /// The jobs
    #[arg(required = true, value_name = "ID", value_parser = JobIdParser)]
    pub ids: Vec<JobId>,
    /// Print a line of JSON whenever the state of a job changes
    #[arg(long)]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(mut_arg("output", |arg| {
    arg.help("The output of a single job; \"-\" for standard output [default: named after the upload]")
}))]
#[command(mut_arg("dir", |arg| {
    arg.help("Folder for the outputs, made if it is not there [default: this folder]")
}))]
#[command(mut_arg("json", |arg| arg.help("Print a line of JSON per job")))]
#[command(
    after_help = "What is not whole is kept beside the output, as a hidden file that ends in \
    .part, and the same command goes on with it. Exit codes: 0 all done; 1 a job is not there or \
    not finished; 2 wrong usage, or an output exists already; 3 the service or the network failed; \
    130 interrupted."
)]
pub struct DownloadArgs {
    /// The jobs
    #[arg(required = true, value_name = "ID", value_parser = JobIdParser)]
    pub ids: Vec<JobId>,
    #[command(flatten)]
    pub outputs: OutputArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

fn webhook(url: &str) -> Result<String, String> {
    check_url("webhook", url).map_err(|problem| problem.detail)?;
    Ok(url.to_owned())
}

fn label(text: &str) -> Result<String, String> {
    if text.len() <= MAX_LABEL_BYTES {
        Ok(text.to_owned())
    } else {
        Err(format!("must have at most {MAX_LABEL_BYTES} bytes"))
    }
}

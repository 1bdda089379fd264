//! What operators may say to `tonemill admin`. It works on the ledger itself, beside a service that
//! runs or not.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use tonemill_api::webhooks::target::check_events;
use tonemill_job::JobId;
use tonemill_ledger::JobState;
use tonemill_ledger::deliveries::DeliveryState;
use tonemill_ledger::users::Role;
use uuid::Uuid;

use super::backends::BackendArgs;
use super::backup::{BackupArgs, MigrateArgs, RecoverArgs, RestoreArgs, VerifyArgs};
use super::job_state;
use super::notifier::NotifyArgs;
use super::serve::TlsArgs;
use crate::text::parse_bytes;

/// What can be looked after.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Users: list, add, disable, enable, password, role, quota, mail
    #[command(subcommand)]
    Users(UsersCommand),
    /// Jobs of all users: list, show, retry, cancel
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Jobs whose files crashed the decoder or met a defect: list, replay
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// What users are told, by webhook or mail: list, show, replay
    #[command(subcommand)]
    Deliveries(DeliveriesCommand),
    /// Webhooks of users: list, enable
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
    /// Bring queue and store in line with the ledger, now
    Reconcile(ReconcileArgs),
    /// Add the users of another system, from its table of users
    Import(ImportArgs),
    /// Check all that the service needs, and say what to do about what is not as it should be
    Doctor(Box<DoctorArgs>),
    /// Make the ledger's tables, or bring them up to date, as the service does when it starts
    Migrate(MigrateArgs),
    /// Back the ledger up into one file, beside a running service
    Backup(BackupArgs),
    /// Put a backup into an empty ledger, in any database, and bring it in line with its store
    Restore(RestoreArgs),
    /// Bring a restored ledger in line with its store, once more
    Recover(RecoverArgs),
    /// Check a backup, or the ledger and its store
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Takes the settings of the service. Exit codes: 0 all is well, or well enough; 1 \
    something has to be done; 2 wrong usage; 3 it could not look."
)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub at: WhereArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub tls: TlsArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Passwords in plain text stay good; who has a hash or none gets a new one, which is \
    printed once. Given again, it leaves alone who is there. Exit codes: 0 all users are there; 1 \
    some could not be taken; 2 wrong usage; 3 a database cannot be used."
)]
pub struct ImportArgs {
    /// The database with the table: <mysql://USER:PASSWORD@HOST/auth>, postgres: or sqlite:FILE
    #[arg(long, value_name = "URL", env = "TONEMILL_IMPORT_FROM", hide_env_values = true)]
    pub from: String,
    /// The table, or a view, with the columns email (or username or name) and password
    #[arg(long, default_value = "user")]
    pub table: String,
    /// The column with the names to log in with, if not that
    #[arg(long, value_name = "COLUMN")]
    pub name_column: Option<String>,
    /// Give everybody a new password
    #[arg(long)]
    pub new_passwords: bool,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub at: WhereArgs,
}

/// Where the ledger is.
#[derive(Debug, Args)]
pub struct WhereArgs {
    /// Folder of the service's data, if its ledger is there
    #[arg(long, value_name = "DIR", default_value = "tonemill-data", env = "TONEMILL_DATA")]
    pub data: PathBuf,
    /// Where the ledger is, if not there
    #[arg(long, value_name = "URL", env = "TONEMILL_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the other parts are
    #[command(flatten)]
    pub backends: BackendArgs,
}

#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// List them
    List(WhereArgs),
    /// Add one; a password is made and printed, unless one comes on standard input
    Add {
        /// The name to log in with
        name: String,
        /// What the user may do
        #[arg(long, value_enum, default_value_t)]
        role: RoleArg,
        /// Where it is written to
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Let one do nothing any more, at once; its API keys end for good
    Disable {
        /// The user
        name: String,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Let a disabled one log in again
    Enable {
        /// The user
        name: String,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Give one a new password; it is logged out everywhere
    Password {
        /// The user
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Change what one may do
    Role {
        /// The user
        name: String,
        /// What it may do
        #[arg(value_enum)]
        role: RoleArg,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Change what one may have: what is not said is as for everybody
    Quota {
        /// The user
        name: String,
        /// Unfinished jobs
        #[arg(long, value_name = "N")]
        jobs: Option<u64>,
        /// What may be stored, such as 100GiB
        #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
        bytes: Option<u64>,
        /// Minutes of audio in a day (UTC)
        #[arg(long, value_name = "MINUTES")]
        minutes: Option<u64>,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Change where one is written to, and about what
    #[command(group = ArgGroup::new("mail").args(["events", "email"]).required(true).multiple(true))]
    Mail {
        /// The user
        name: String,
        /// What it is mailed about, separated by commas, such as job.finished,job.failed; "none";
        /// or "default", as everybody
        #[arg(long, value_parser = MailEvents::parse)]
        events: Option<MailEvents>,
        /// Where it is written to; an empty text: nowhere
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        #[command(flatten)]
        at: WhereArgs,
    },
}

/// What a user is mailed about; `None` is as everybody.
#[derive(Debug, Clone)]
pub struct MailEvents(pub Option<Vec<String>>);

impl MailEvents {
    fn parse(text: &str) -> Result<Self, String> {
        let events: Vec<String> = match text {
            "default" => return Ok(Self(None)),
            "none" => Vec::new(),
            names => names.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        let checked = check_events("events", &events).map_err(|problem| problem.detail)?;
        Ok(Self(Some(checked)))
    }
}

#[derive(Debug, Args)]
pub struct PasswordArgs {
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
}

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List the newest
    List {
        /// In these states only
        #[arg(long, value_delimiter = ',', value_parser = job_state())]
        state: Vec<JobState>,
        /// Of this user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Show all that is known about one
    Show {
        /// The job
        job: JobId,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Try failed or cancelled ones again
    Retry {
        /// The jobs
        #[arg(required = true)]
        jobs: Vec<JobId>,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Cancel some
    Cancel {
        /// The jobs
        #[arg(required = true)]
        jobs: Vec<JobId>,
        #[command(flatten)]
        at: WhereArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List them, newest first
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Try some again, or all
    Replay {
        /// The jobs
        #[arg(required_unless_present = "all")]
        jobs: Vec<JobId>,
        /// All of them, at most 1,000
        #[arg(long, conflicts_with = "jobs")]
        all: bool,
        #[command(flatten)]
        at: WhereArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum DeliveriesCommand {
    /// List the newest
    List {
        /// In this state only
        #[arg(long, value_parser = delivery_state())]
        state: Option<DeliveryState>,
        /// To this user only
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// About this job
        #[arg(long, value_name = "ID")]
        job: Option<JobId>,
        /// To this webhook
        #[arg(long, value_name = "ID", value_parser = parse_id)]
        webhook: Option<Uuid>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Show all that is known about one: what it tells, and each attempt
    Show {
        /// The delivery
        #[arg(value_parser = parse_id)]
        delivery: Uuid,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Have some that are over made once more
    Replay {
        /// The deliveries
        #[arg(required_unless_present = "all_dead", value_parser = parse_id)]
        deliveries: Vec<Uuid>,
        /// All that were given up
        #[arg(long, conflicts_with = "deliveries")]
        all_dead: bool,
        #[command(flatten)]
        at: WhereArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum WebhooksCommand {
    /// List a user's, but for those of single jobs
    List {
        /// The user
        #[arg(long, value_name = "NAME")]
        user: String,
        #[command(flatten)]
        at: WhereArgs,
    },
    /// Have one that is disabled told again
    Enable {
        /// The webhook
        #[arg(value_parser = parse_id)]
        webhook: Uuid,
        #[command(flatten)]
        at: WhereArgs,
    },
}

fn parse_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| "an id is like 01890a5d-ac96-774b-bcce-b302099a8057".to_owned())
}

/// Reads the states of deliveries.
fn delivery_state() -> impl TypedValueParser<Value = DeliveryState> {
    PossibleValuesParser::new(DeliveryState::ALL.map(DeliveryState::name))
        .map(|name| DeliveryState::named(&name).expect("it is a state's name"))
}

#[derive(Debug, Args)]
pub struct ReconcileArgs {
    #[command(flatten)]
    pub at: WhereArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum RoleArg {
    /// Everything, to everything
    Admin,
    /// Have files converted
    #[default]
    User,
}

impl From<RoleArg> for Role {
    fn from(arg: RoleArg) -> Self {
        match arg {
            RoleArg::Admin => Self::Admin,
            RoleArg::User => Self::User,
        }
    }
}

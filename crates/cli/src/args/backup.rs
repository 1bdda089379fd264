//! What operators may say about backups of the ledger.

use clap::Args;

use super::admin::WhereArgs;

/// What follows the help of each.
const PLACES: &str = "A place is a file, a folder (then the file is called by the time), \
    s3://BUCKET or s3://BUCKET/PREFIX (the same, in a bucket of the server that the options of S3 \
    name), or \"-\" for standard input or output.";

#[derive(Debug, Args)]
#[command(
    after_help = "Safe beside others and beside a running service: they wait for each other. Exit \
    codes: 0 the tables are current; 1 they are not (--check); 2 wrong usage; 3 they cannot be."
)]
pub struct MigrateArgs {
    /// Only say whether they are current
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub at: WhereArgs,
}

#[derive(Debug, Args)]
#[command(after_help = PLACES)]
pub struct BackupArgs {
    /// Where the backup goes
    pub place: String,
    /// Of the backups in a folder or bucket, keep so many, the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
    /// Keep those of so many days; with --keep, those besides
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_days: Option<u32>,
    #[command(flatten)]
    pub at: WhereArgs,
}

#[derive(Debug, Args)]
#[command(after_help = PLACES)]
pub struct RestoreArgs {
    /// Where the backup is; of several in a folder or bucket the newest is taken
    pub place: String,
    /// The service was stopped before the backup was made and has done nothing since: log-ins go
    /// on, and the store is as the ledger has it
    #[arg(long = "move")]
    pub is_move: bool,
    #[command(flatten)]
    pub at: WhereArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 they are in line; 1 something has no place yet, and the \
    service does not start; 2 wrong usage; 3 the ledger or the store cannot be used.")]
pub struct RecoverArgs {
    /// Let the service start although something in the store has no place: it is removed then
    #[arg(long)]
    pub let_go: bool,
    #[command(flatten)]
    pub at: WhereArgs,
}

#[derive(Debug, Args)]
#[command(after_help = PLACES)]
pub struct VerifyArgs {
    /// A backup: it is restored for a try, into a temporary file; without, the ledger itself and
    /// what its store has of it
    pub place: Option<String>,
    #[command(flatten)]
    pub at: WhereArgs,
}

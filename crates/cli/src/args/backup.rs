//! What operators may say about backups of the ledger.

use clap::Args;

use super::admin::WhereArgs;
use super::backends::BackendArgs;
use super::serve::MailEventsArgs;

/// What follows the help of each.
const PLACES: &str = "A place is a file, a folder (then the file is called by the time), \
    s3://BUCKET or s3://BUCKET/PREFIX (the same, in a bucket), s3://BUCKET/NAME.gz (that object), \
    or \"-\" for standard input or output. Exit codes: 0 done, or all is as it should be; 1 \
    something is not; 2 wrong usage; 3 a file, a database or a store cannot be used.";

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
    #[command(flatten)]
    pub bucket: BucketArgs,
}

/// The bucket of backups, as far as it is another server's, or for other keys, than the service's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bucket of backups")]
#[expect(clippy::struct_field_names, reason = "flags are called as they are")]
pub struct BucketArgs {
    /// Where the S3 server of backups is [default: as --s3-endpoint]
    #[arg(long, value_name = "URL", env = "TONEMILL_BACKUP_S3_ENDPOINT")]
    pub backup_s3_endpoint: Option<String>,
    /// Its region [default: as --s3-region]
    #[arg(long, value_name = "NAME", env = "TONEMILL_BACKUP_S3_REGION")]
    pub backup_s3_region: Option<String>,
    /// Access key to backups [default: as --s3-access-key-id]
    #[arg(
        long,
        value_name = "ID",
        env = "TONEMILL_BACKUP_S3_ACCESS_KEY_ID",
        requires = "backup_s3_secret_access_key"
    )]
    pub backup_s3_access_key_id: Option<String>,
    /// The secret of the key to backups
    #[arg(
        long,
        value_name = "SECRET",
        env = "TONEMILL_BACKUP_S3_SECRET_ACCESS_KEY",
        hide_env_values = true,
        requires = "backup_s3_access_key_id"
    )]
    pub backup_s3_secret_access_key: Option<String>,
    /// What temporary keys to backups come with
    #[arg(
        long,
        value_name = "TOKEN",
        env = "TONEMILL_BACKUP_S3_SESSION_TOKEN",
        hide_env_values = true,
        requires = "backup_s3_access_key_id"
    )]
    pub backup_s3_session_token: Option<String>,
}

impl BucketArgs {
    /// The service's own, with these in their place.
    pub fn instead_of(&self, backends: &BackendArgs) -> BackendArgs {
        let mut own = backends.clone();
        own.s3_endpoint = self.backup_s3_endpoint.clone().or(own.s3_endpoint);
        own.s3_region = self.backup_s3_region.clone().unwrap_or(own.s3_region);
        if self.backup_s3_access_key_id.is_some() {
            own.s3_access_key_id.clone_from(&self.backup_s3_access_key_id);
            own.s3_secret_access_key.clone_from(&self.backup_s3_secret_access_key);
            // A token goes with its key.
            own.s3_session_token.clone_from(&self.backup_s3_session_token);
        }
        own
    }
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
    pub take: TakeStoreArgs,
    #[command(flatten)]
    pub at: WhereArgs,
    #[command(flatten)]
    pub mails: MailEventsArgs,
    #[command(flatten)]
    pub bucket: BucketArgs,
}

/// Whose the store may be.
#[derive(Debug, Args)]
pub struct TakeStoreArgs {
    /// The store is this ledger's although another backup was restored into it since: whichever
    /// ledger has it now is to have it no more
    #[arg(long)]
    pub take_store: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 they are in line; 1 something has no place yet, and the \
    service does not start; 2 wrong usage; 3 the ledger or the store cannot be used.")]
pub struct RecoverArgs {
    /// Let the service start although something in the store has no place: it is removed then
    #[arg(long)]
    pub let_go: bool,
    #[command(flatten)]
    pub take: TakeStoreArgs,
    #[command(flatten)]
    pub at: WhereArgs,
    #[command(flatten)]
    pub mails: MailEventsArgs,
}

#[derive(Debug, Args)]
#[command(after_help = PLACES)]
pub struct VerifyArgs {
    /// A backup: it is restored for a try, into a temporary file; without, the ledger itself and
    /// what its store has of it
    pub place: Option<String>,
    #[command(flatten)]
    pub at: WhereArgs,
    #[command(flatten)]
    pub bucket: BucketArgs,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Both {
        #[command(flatten)]
        backends: BackendArgs,
        #[command(flatten)]
        bucket: BucketArgs,
    }

    /// Endpoint, region, key, secret, token.
    fn of_backups(arguments: &str) -> Result<[Option<String>; 5], clap::Error> {
        let service = "x --s3-endpoint E --s3-access-key-id K --s3-secret-access-key S \
                       --s3-session-token T";
        let words = [service, arguments].join(" ");
        let Both { backends, bucket } = Both::try_parse_from(words.split_whitespace())?;
        let own = bucket.instead_of(&backends);
        let region = Some(own.s3_region);
        let keys = (own.s3_access_key_id, own.s3_secret_access_key, own.s3_session_token);
        Ok([own.s3_endpoint, region, keys.0, keys.1, keys.2])
    }

    #[test]
    fn backups_have_keys_of_their_own() {
        let some = |texts: [&str; 5]| texts.map(|text| (text != "-").then(|| text.to_owned()));
        for (arguments, due) in [
            ("", ["E", "us-east-1", "K", "S", "T"]),
            ("--backup-s3-endpoint F", ["F", "us-east-1", "K", "S", "T"]),
            (
                "--backup-s3-access-key-id L --backup-s3-secret-access-key R",
                ["E", "us-east-1", "L", "R", "-"],
            ),
            (
                "--backup-s3-access-key-id L --backup-s3-secret-access-key R \
                 --backup-s3-session-token U --backup-s3-region here",
                ["E", "here", "L", "R", "U"],
            ),
        ] {
            assert_eq!(of_backups(arguments).unwrap(), some(due), "{arguments}");
        }
        for half in ["--backup-s3-access-key-id L", "--backup-s3-secret-access-key R"] {
            assert!(of_backups(half).is_err(), "{half}");
        }
    }
}

//! `tonemill admin backup`, `restore` and `verify`: the ledger as one file, and back.

mod place;
mod retention;

use std::fs::{File, Permissions};
use std::io::{self, BufWriter};
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;
use tonemill_job::chain;
use tonemill_ledger::backup::{Backup, BackupError, Header, Since};
use tonemill_ledger::recovery::Decided;
use tonemill_ledger::{Ledger, LedgerConfig};

use self::place::{Others, Place};
use super::recover;
use crate::args::backends::BackendArgs;
use crate::args::backup::{BackupArgs, RestoreArgs, VerifyArgs};
use crate::codec::must_read_mp3s;
use crate::data_folder::DataFolder;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_json, print_lines};
use crate::runtime::told_by_signals;
use crate::text::plain;

/// Makes a backup, and lets old ones go.
pub(super) async fn back_up(args: &BackupArgs) -> Result<Outcome, Failure> {
    let place = Place::of(&args.place, &args.bucket.instead_of(&args.at.backends)).await?;
    if (args.keep.is_some() || args.keep_days.is_some()) && !place.keeps_several() {
        let message = "--keep and --keep-days are for folders and buckets";
        return Err(Failure::usage(message, "make the folder first"));
    }
    let ledger = Ledger::open_to_look(args.at.ledger_config()?).await?;
    let now_ms = ledger.now_ms();
    let mut draft = place.begin(now_ms)?;
    let header = ledger.back_up(BufWriter::new(draft.file())).await.map_err(of_backup)?;
    ledger.close().await;
    let is_stdout = draft.is_stdout();
    let (name, bytes) = draft.finish().await?;
    // Nothing else may come with it.
    if is_stdout {
        return Ok(Outcome::Done);
    }
    let others = place.let_go(args.keep, args.keep_days, now_ms).await;
    // It is there, whatever becomes of the others.
    let (others, failed) = match others {
        Ok(others) => (others, None),
        Err(failure) => (Others::default(), Some(failure)),
    };
    let Others { removed, to_come } = others;
    let told = if args.at.json {
        print_json(&serde_json::json!({
            "backup": name, "bytes": bytes, "header": header, "removed": removed,
            "to_come": to_come,
        }))
    } else {
        let mut lines = vec![format!("{name}: {}, {bytes} bytes", contents(&header))];
        lines.extend(removed.iter().map(|name| format!("{name} was old, and went")));
        let stays = |name| format!("{name} is of a time to come: it does not count, and stays");
        lines.extend(to_come.iter().map(stays));
        print_lines(lines)
    };
    failed.map_or(Ok(told), Err)
}

/// Puts a backup into an empty ledger, and brings it in line with its store.
pub(super) async fn restore(args: &RestoreArgs) -> Result<Outcome, Failure> {
    if !args.is_move {
        must_read_mp3s()?;
    }
    let at = &args.at;
    let backup = open(&args.place, &args.bucket.instead_of(&at.backends)).await?;
    let data = if at.database_url.is_none() { Some(DataFolder::lock(&at.data)?) } else { None };
    let store = at.store().await?;
    store.check().await?;
    let take_store = args.take.take_store;
    if !take_store {
        // Before there is anything to clear away.
        backup.check_store(&*store).await.map_err(recover::of_bond)?;
    }
    let url = match &data {
        Some(data) => data.ledger()?,
        None => at.database_url.clone().unwrap_or_default(),
    };
    let mail_events = args.mails.mail_events.clone();
    let config = LedgerConfig { connections: 2, mail_events, ..LedgerConfig::new(url) };
    let ledger = Ledger::open(config).await?;
    let since = if args.is_move { Since::Nothing } else { Since::Something };
    let restored = ledger.restore(backup, since).await.map_err(of_backup)?;
    let told = if at.json {
        print_json(&serde_json::json!({
            "header": restored.header, "log_ins_ended": restored.log_ins_ended,
        }))
    } else {
        let mut lines = vec![format!("restored: {}", contents(&restored.header))];
        match since {
            Since::Something => lines.extend(what_is_old(restored.log_ins_ended)),
            Since::Nothing => lines.push(
                "put the old ledger away: commands that are not told of this one go on with it"
                    .to_owned(),
            ),
        }
        print_lines(lines)
    };
    let in_line = if ledger.is_restored().await? {
        recover::bring(at, &ledger, Decided { let_go: false, take_store }).await?
    } else {
        ledger.take_over(&*store, take_store).await.map_err(recover::of_bond)?;
        Outcome::Done
    };
    ledger.close().await;
    drop(data);
    Ok(told.max(in_line))
}

/// Looks at a backup, or at the ledger and its store.
pub(super) async fn verify(args: &VerifyArgs) -> Result<Outcome, Failure> {
    let (mut wrong, mut more) = (Vec::new(), 0);
    let mut lines = Vec::new();
    if let Some(place) = &args.place {
        let backup = open(place, &args.bucket.instead_of(&args.at.backends)).await?;
        lines.push(format!("the backup is whole: {}", contents(backup.header())));
        let Some(tried) = try_out(backup).await? else { return Ok(Outcome::Cancelled) };
        wrong.extend(tried);
        lines.push("it can be restored".to_owned());
    } else {
        let ledger = Ledger::open_to_look(args.at.ledger_config()?).await?;
        let store = args.at.store().await?;
        ledger.bond(&*store).await?;
        wrong.extend(ledger.audit_rows().await?);
        let objects = ledger.audit_objects(&*store).await;
        let objects = objects.map_err(|error| Failure::fault(chain(&error), ""))?;
        lines.push(format!("{} jobs, {} objects as they should be", objects.jobs, objects.whole));
        wrong.extend(objects.wrong.into_iter().map(|(job, wrong)| format!("{job}: {wrong}")));
        more = objects.more;
        ledger.close().await;
    }
    let outcome = if wrong.is_empty() { Outcome::Done } else { Outcome::BadInput };
    if args.at.json {
        let told = serde_json::json!({ "says": lines, "wrong": wrong, "more_wrong": more });
        return Ok(outcome.max(print_json(&told)));
    }
    lines.extend(wrong.into_iter().map(|wrong| format!("WRONG: {wrong}")));
    lines.extend((more > 0).then(|| format!("and {more} more")));
    Ok(outcome.max(print_lines(lines)))
}

/// Restores a backup into a ledger that is thrown away; what is wrong in it. `None` if it was
/// interrupted, which leaves nothing of it behind.
async fn try_out(backup: Backup) -> Result<Option<Vec<String>>, Failure> {
    let told = told_by_signals()?;
    let folder =
        closed_folder().map_err(|error| Failure::cannot("make a temporary folder", error))?;
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("ledger.db").display());
    let tried = async {
        let trial = Ledger::open(LedgerConfig::new(url)).await?;
        trial.restore(backup, Since::Nothing).await.map_err(of_backup)?;
        let wrong = trial.audit_rows().await?;
        trial.close().await;
        Ok(Some(wrong))
    };
    tokio::select! {
        tried = tried => tried,
        () = told.draining() => Ok(None),
    }
}

async fn open(place: &str, backends: &BackendArgs) -> Result<Backup, Failure> {
    let place = Place::of(place, backends).await?;
    let file: File = place.fetch().await?;
    Backup::open(file).map_err(of_backup)
}

/// What comes back with a backup although it may have ended since.
fn what_is_old(log_ins: u64) -> [String; 2] {
    [
        format!("{log_ins} log-ins are ended: everybody logs in again"),
        "passwords, API keys, webhooks and who is disabled are as they were then: what was changed \
         or ended since has to be once more"
            .to_owned(),
    ]
}

/// A folder for a ledger, with its hashes and keys: nobody else's business.
fn closed_folder() -> io::Result<TempDir> {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir()
}

fn contents(header: &Header) -> String {
    let made = jiff::Timestamp::from_millisecond(header.made_ms).unwrap_or_default();
    let (users, jobs) = (header.rows_of("users"), header.rows_of("jobs"));
    // Anybody may have made it.
    let database = plain(&header.database);
    format!("{users} users and {jobs} jobs of {database}, as of {made:.0}")
}

fn of_backup(error: BackupError) -> Failure {
    let message = chain(&error);
    match error {
        BackupError::Ledger(error) => error.into(),
        BackupError::Write(_) => {
            Failure::fault(message, "check the folder, its permissions and its free space")
        }
        BackupError::Read(_) => Failure::fault(message, ""),
        BackupError::NotOne => Failure::input(message, ""),
        BackupError::Broken | BackupError::Damaged(_) => Failure::input(message, "take another"),
        BackupError::Format(_) => Failure::input(message, "update this program"),
        BackupError::OtherVersion { program, .. } => {
            let program = plain(&program);
            let advice = format!("restore it with Tonemill {program}, and start this version then");
            Failure::input(message, advice)
        }
        BackupError::Tables { .. } => {
            Failure::fault(message, "`tonemill admin migrate`, or update this program")
        }
        BackupError::NotEmpty(_) => {
            Failure::usage(message, "name a new database, or another --data")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_reads_a_backup_that_is_tried() {
        let folder = closed_folder().unwrap();
        assert_eq!(folder.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}

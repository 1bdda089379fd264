//! `tonemill admin backup`, `restore` and `verify`: the ledger as one file, and back.

mod place;
mod retention;

use std::fs::File;
use std::io::BufWriter;

use tonemill_job::chain;
use tonemill_ledger::backup::{Backup, BackupError, Header, Since};
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

/// Most of what is wrong that is told.
const TOLD: usize = 100;

/// Makes a backup, and lets old ones go.
pub(super) async fn back_up(args: &BackupArgs) -> Result<Outcome, Failure> {
    let place = Place::of(&args.place, &args.bucket.instead_of(&args.at.backends)).await?;
    if (args.keep.is_some() || args.keep_days.is_some()) && !place.keeps_several() {
        return Err(Failure::usage("--keep and --keep-days are for folders and buckets", ""));
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
    let url = match &data {
        Some(data) => data.ledger()?,
        None => at.database_url.clone().unwrap_or_default(),
    };
    let ledger = Ledger::open(LedgerConfig { connections: 2, ..LedgerConfig::new(url) }).await?;
    let since = if args.is_move { Since::Nothing } else { Since::Something };
    let restored = ledger.restore(backup, since).await.map_err(of_backup)?;
    let told = if at.json {
        print_json(&serde_json::json!({
            "header": restored.header, "log_ins_ended": restored.log_ins_ended,
        }))
    } else {
        let mut lines = vec![format!("restored: {}", contents(&restored.header))];
        if since == Since::Something {
            lines.extend(what_is_old(&restored.header, restored.log_ins_ended));
        }
        print_lines(lines)
    };
    let in_line = if ledger.is_restored().await? {
        recover::bring(at, &ledger, false).await?
    } else {
        ledger.take_over(&*store).await?;
        Outcome::Done
    };
    ledger.close().await;
    drop(data);
    Ok(told.max(in_line))
}

/// Looks at a backup, or at the ledger and its store.
pub(super) async fn verify(args: &VerifyArgs) -> Result<Outcome, Failure> {
    let mut wrong = Vec::new();
    let mut lines = Vec::new();
    if let Some(place) = &args.place {
        let backup = open(place, &args.bucket.instead_of(&args.at.backends)).await?;
        lines.push(format!("the backup is whole: {}", contents(backup.header())));
        let folder = tempfile::tempdir();
        let folder = folder.map_err(|error| Failure::cannot("make a temporary folder", error))?;
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("ledger.db").display());
        let trial = Ledger::open(LedgerConfig::new(url)).await?;
        trial.restore(backup, Since::Nothing).await.map_err(of_backup)?;
        wrong.extend(trial.audit_rows().await?);
        trial.close().await;
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
        ledger.close().await;
    }
    let outcome = if wrong.is_empty() { Outcome::Done } else { Outcome::BadInput };
    if args.at.json {
        return Ok(outcome.max(print_json(&serde_json::json!({ "says": lines, "wrong": wrong }))));
    }
    let more = wrong.len().saturating_sub(TOLD);
    lines.extend(wrong.into_iter().take(TOLD).map(|wrong| format!("WRONG: {wrong}")));
    lines.extend((more > 0).then(|| format!("and {more} more")));
    Ok(outcome.max(print_lines(lines)))
}

async fn open(place: &str, backends: &BackendArgs) -> Result<Backup, Failure> {
    let place = Place::of(place, backends).await?;
    let file: File = place.fetch().await?;
    Backup::open(file).map_err(of_backup)
}

/// What comes back with a backup although it may have ended since.
fn what_is_old(header: &Header, log_ins: u64) -> Vec<String> {
    let mut lines = vec![format!("{log_ins} log-ins are ended: everybody logs in again")];
    let keys = header.rows_of("credentials");
    lines.extend((keys > 0).then(|| {
        "passwords, API keys, webhooks and who is disabled are as they were then: what was changed \
         or ended since has to be once more"
            .to_owned()
    }));
    lines
}

fn contents(header: &Header) -> String {
    let made = jiff::Timestamp::from_millisecond(header.made_ms).unwrap_or_default();
    let (users, jobs) = (header.rows_of("users"), header.rows_of("jobs"));
    format!("{users} users and {jobs} jobs of {}, as of {made:.0}", header.database)
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
        BackupError::Tables { program: Some(program), .. } => {
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

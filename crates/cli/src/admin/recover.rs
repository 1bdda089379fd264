//! `tonemill admin recover`: brings a ledger that came from a backup in line with its store, which
//! went on since. `restore` does so at its end; this does it once more, when what was in the way is
//! out of it.

use tonemill_job::{ObjectKey, chain};
use tonemill_ledger::recovery::{Decided, Recovered, RecoveryError};
use tonemill_ledger::{BondError, Ledger, LedgerConfig};

use crate::args::admin::WhereArgs;
use crate::args::backup::RecoverArgs;
use crate::codec::{examine, must_read_mp3s};
use crate::data_folder::DataFolder;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_json, print_lines};

pub(super) async fn run(args: &RecoverArgs) -> Result<Outcome, Failure> {
    let at = &args.at;
    // A file that is not there is told of before its folder is made.
    let mail_events = args.mails.mail_events.clone();
    let config = LedgerConfig { mail_events, ..at.ledger_config()? };
    let data = if at.database_url.is_none() { Some(DataFolder::lock(&at.data)?) } else { None };
    let ledger = Ledger::open(config).await?;
    let decided = Decided { let_go: args.let_go, take_store: args.take.take_store };
    let outcome = bring(at, &ledger, decided).await;
    ledger.close().await;
    drop(data);
    outcome
}

/// Brings the ledger in line, and tells.
pub(super) async fn bring(
    at: &WhereArgs,
    ledger: &Ledger,
    decided: Decided,
) -> Result<Outcome, Failure> {
    must_read_mp3s()?;
    let store = at.store().await?;
    let look = async |key: &ObjectKey, bytes: u64| examine(&*store, key, bytes).await;
    let recovered = ledger.recover(&*store, look, decided).await.map_err(of_recovery)?;
    let is_held = !recovered.left.is_empty() && !decided.let_go;
    let told =
        if at.json { print_json(&as_json(&recovered)) } else { print_lines(lines(&recovered)) };
    if !is_held {
        return Ok(told);
    }
    let message =
        format!("{} jobs have no place yet, and the service does not start", recovered.left.len());
    let take_store = if decided.take_store { " --take-store" } else { "" };
    let advice = format!(
        "do what is said of each, then `tonemill admin recover{take_store}`, or let them go with \
         --let-go"
    );
    Ok(told.max(Failure::input(message, advice).tell()))
}

fn lines(recovered: &Recovered) -> Vec<String> {
    let Recovered { finished, gone, brought_back, left } = recovered;
    let mut lines = vec![
        format!("{} jobs were finished since the backup: their MP3s are there", finished.len()),
        format!("{} jobs were accepted since: they are there again", brought_back.len()),
        format!("{} jobs have nothing left in the store: they go", gone.len()),
    ];
    lines.extend(left.iter().map(|(job, why)| format!("{job} has no place: {why}")));
    lines
}

fn as_json(recovered: &Recovered) -> serde_json::Value {
    let left = recovered.left.iter();
    let left: Vec<_> =
        left.map(|(job, why)| serde_json::json!({ "job": job, "why": why })).collect();
    serde_json::json!({
        "finished": recovered.finished,
        "brought_back": recovered.brought_back,
        "gone": recovered.gone,
        "left": left,
    })
}

fn of_recovery(error: RecoveryError) -> Failure {
    match error {
        RecoveryError::Bond(error) => of_bond(error),
        RecoveryError::Ledger(error) => error.into(),
        RecoveryError::Store(error) => error.into(),
        RecoveryError::InLine => Failure::usage(chain(&error), ""),
        RecoveryError::NotAlone(..) => Failure::fault(chain(&error), "do this again"),
    }
}

/// The store of a backup goes to another ledger with each that is restored.
pub(super) fn of_bond(error: BondError) -> Failure {
    let message = error.to_string();
    match error {
        BondError::OtherLedger => Failure::fault(
            message,
            "name this one's; if that was restored before, or moved, and this one is to have its \
             store from now on, say --take-store, which wants objects of this ledger there",
        ),
        error => error.into(),
    }
}

//! `tonemill admin migrate`: the ledger's tables, made or brought up to date before the service
//! starts, which would do it as well.

use tonemill_ledger::{Condition, Ledger};

use crate::args::backup::MigrateArgs;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_json, print_line};

pub(super) async fn run(args: &MigrateArgs) -> Result<Outcome, Failure> {
    let looking = Ledger::open_to_look(args.at.ledger_config()?).await?;
    let before = looking.condition().await?;
    looking.close().await;
    let mut after = before.clone();
    if !args.check && before.missing_migrations > 0 {
        let ledger = Ledger::open(args.at.ledger_config()?).await?;
        after = ledger.condition().await?;
        ledger.close().await;
    }
    let is_current = after.missing_migrations == 0;
    let told = if args.at.json {
        print_json(&serde_json::json!({
            "from": before.migration, "to": after.migration, "known": after.known_migration,
            "current": is_current,
        }))
    } else {
        print_line(&said(&before, &after))
    };
    Ok(told.max(if is_current { Outcome::Done } else { Outcome::BadInput }))
}

fn said(before: &Condition, after: &Condition) -> String {
    let (from, to, known) = (before.migration, after.migration, after.known_migration);
    if after.missing_migrations > 0 {
        return format!("the tables are at change {to}, not at {known}");
    }
    match (before.missing_migrations, from) {
        (0, _) if to > known => format!("the tables are at change {to}, of a newer program"),
        (0, _) => format!("the tables are current, at change {to}"),
        (_, 0) => format!("the tables are made, at change {to}"),
        _ => format!("the tables went from change {from} to {to}"),
    }
}

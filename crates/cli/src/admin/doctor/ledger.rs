//! The ledger: whether it answers, what its tables are like, and its clock. It is looked at, and
//! stays as it is: the service makes what is missing.

use tonemill_job::chain;
use tonemill_ledger::{Condition, Ledger, LedgerError, LedgerErrorKind, Server};

use super::Finding;
use crate::args::admin::WhereArgs;

const ABOUT: &str = "ledger";
/// From how far on clocks that differ are worth a word, in milliseconds: users see times.
const CLOCK_OFF_MS: u64 = 5_000;

/// What was found, and the ledger, if it has the tables that others want to look at.
pub(super) async fn look(at: &WhereArgs) -> (Vec<Finding>, Option<Ledger>) {
    let config = match at.ledger_config() {
        Ok(config) => config,
        Err(failure) => {
            let advice = "say --data or --database-url; if it is new, start the service";
            return (vec![Finding::bad(ABOUT, failure.message, advice)], None);
        }
    };
    let looked = async {
        let ledger = Ledger::open_to_look(config).await?;
        let condition = ledger.condition().await?;
        Ok((ledger, condition))
    };
    match looked.await {
        Ok((ledger, condition)) => {
            let is_whole = condition.missing_migrations == 0;
            (verdicts(&condition), Some(ledger).filter(|_| is_whole))
        }
        Err(error) => (vec![of_error(&error)], None),
    }
}

fn of_error(error: &LedgerError) -> Finding {
    let advice = match error.kind {
        LedgerErrorKind::Unavailable => "look at --database-url, and at the server's log",
        LedgerErrorKind::Refused | LedgerErrorKind::Invalid => {
            "look at --database-url: does it exist, is it ours, may we read it?"
        }
    };
    Finding::bad(ABOUT, chain(error), advice)
}

fn verdicts(condition: &Condition) -> Vec<Finding> {
    let Server { name, version, too_old_for } = &condition.server;
    let mut findings = Vec::new();
    if let Some(oldest) = too_old_for {
        let says = format!("{name} {version} is older than {oldest}");
        findings.push(Finding::bad(ABOUT, says, "install that or a later one"));
    }
    findings.extend(of_tables(condition));
    let ahead_ms = condition.clock_ahead_ms;
    if ahead_ms.unsigned_abs() > CLOCK_OFF_MS {
        let seconds = ahead_ms.unsigned_abs() as f64 / 1000.0;
        let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
        let says = format!("its clock is {seconds:.0} s {side} this machine's");
        findings.push(Finding::warning(ABOUT, says, "run NTP on both"));
    }
    if findings.is_empty() {
        let at = condition.migration;
        let says = format!("{name} {version}, tables at change {at}, clocks agree");
        findings.push(Finding::ok(ABOUT, says));
    }
    findings
}

fn of_tables(condition: &Condition) -> Vec<Finding> {
    let (at, known) = (condition.migration, condition.known_migration);
    let mut findings = Vec::new();
    if at > known {
        let says = format!("its tables are newer than this program: at change {at}, not {known}");
        findings.push(Finding::warning(ABOUT, says, "update this program"));
    }
    if let Some(broken) = condition.broken_migration {
        let says = format!("change {broken} of its tables began and did not end");
        let advice = "go back to the backup from before it: the service does not start like this";
        findings.push(Finding::bad(ABOUT, says, advice));
    } else if condition.missing_migrations > 0 {
        let says = match condition.missing_migrations {
            1 => "a change of its tables is missing".to_owned(),
            missing => format!("{missing} changes of its tables are missing"),
        };
        let advice = "start the service, which makes them, or run the program that it is of";
        findings.push(Finding::warning(ABOUT, says, advice));
    } else if !condition.has_users {
        let advice = "start the service once: it makes an administrator";
        findings.push(Finding::warning(ABOUT, "it has no users", advice));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::tests::verdicts_of;
    use super::*;

    fn good() -> Condition {
        let version = "15.14".to_owned();
        Condition {
            server: Server { name: "PostgreSQL", version, too_old_for: None },
            migration: 3,
            known_migration: 3,
            missing_migrations: 0,
            broken_migration: None,
            clock_ahead_ms: 0,
            has_users: true,
        }
    }

    #[test]
    fn each_trouble_of_a_ledger_is_told() {
        let version = "11.22".to_owned();
        let old = Server { name: "PostgreSQL", version, too_old_for: Some("12.0") };
        for (condition, due) in [
            (good(), &["ok"][..]),
            (Condition { server: old.clone(), ..good() }, &["bad"]),
            (Condition { migration: 4, ..good() }, &["warning"]),
            (
                Condition { migration: 2, missing_migrations: 1, has_users: false, ..good() },
                &["warning"],
            ),
            (
                Condition { migration: 0, missing_migrations: 3, has_users: false, ..good() },
                &["warning"],
            ),
            (Condition { broken_migration: Some(3), missing_migrations: 1, ..good() }, &["bad"]),
            (Condition { has_users: false, ..good() }, &["warning"]),
            (Condition { clock_ahead_ms: 5_000, ..good() }, &["ok"]),
            (Condition { clock_ahead_ms: 5_001, ..good() }, &["warning"]),
            (Condition { clock_ahead_ms: -3_600_000, ..good() }, &["warning"]),
            (
                Condition {
                    server: old,
                    migration: 4,
                    clock_ahead_ms: i64::MIN,
                    has_users: false,
                    ..good()
                },
                &["bad", "warning", "warning", "warning"],
            ),
        ] {
            let findings = verdicts(&condition);
            assert_eq!(verdicts_of(&findings), due, "{condition:?}");
        }
    }
}

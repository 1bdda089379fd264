//! The store: whether it takes objects, whose it is, and what it does with objects by itself.

use tonemill_job::chain;
use tonemill_job::objects::{Lifecycle, StoreError, StoreErrorKind, try_out};
use tonemill_ledger::{Bond, BondError, Ledger};

use super::{Finding, Verdict};
use crate::args::admin::WhereArgs;
use crate::failure::Failure;
use crate::text::shown;

const ABOUT: &str = "store";

/// `ledger` is the one that it should be of, if that can be looked at.
pub(super) async fn look(at: &WhereArgs, ledger: Option<&Ledger>) -> Result<Vec<Finding>, Failure> {
    if let Some(folder) = &at.backends.folder
        && !folder.exists()
    {
        let says = format!("there is no folder {}", shown(folder));
        let advice = "is its disk mounted? If it is new, start the service, which makes it";
        return Ok(vec![Finding::warning(ABOUT, says, advice)]);
    }
    let store = at.store().await?;
    if let Err(error) = try_out(&*store).await {
        let advice = "look at address, keys and rights: get, put, delete and list, and parts";
        return Ok(vec![Finding::bad(ABOUT, chain(&error), advice)]);
    }
    let mut findings = Vec::new();
    if let Some(ledger) = ledger {
        findings.extend(of_bond(&ledger.bond(&*store).await));
    }
    if at.backends.folder.is_none()
        && let Some(bucket) = at.backends.bucket().await?
    {
        findings.extend(of_rules(&bucket.lifecycle().await));
    }
    if findings.iter().all(|finding| finding.verdict == Verdict::Ok) {
        let and = if ledger.is_some() { ", and no other ledger's" } else { "" };
        let says = format!("it takes objects and gives them up{and}");
        findings.insert(0, Finding::ok(ABOUT, says));
    }
    Ok(findings)
}

fn of_bond(bond: &Result<Bond, BondError>) -> Option<Finding> {
    Some(match bond {
        Ok(Bond::Whole) => return None,
        Ok(Bond::Half { .. } | Bond::None) => Finding::ok(
            ABOUT,
            "it is nobody's yet: the service makes it the ledger's when it starts",
        ),
        Err(error @ BondError::Restored) => {
            let advice = "bring it in line: tonemill admin recover";
            Finding::bad(ABOUT, error.to_string(), advice)
        }
        Err(error @ (BondError::OtherLedger | BondError::OtherStore { .. })) => {
            let advice = "name the right one: what a ledger does not know is removed";
            Finding::bad(ABOUT, error.to_string(), advice)
        }
        Err(error @ (BondError::Ledger(_) | BondError::Store(_))) => {
            let says = format!("whose it is cannot be seen: {}", chain(error));
            Finding::warning(ABOUT, says, "try again")
        }
    })
}

/// What the bucket's rules come to; nothing where there are none to know of.
fn of_rules(rules: &Result<Option<Lifecycle>, StoreError>) -> Option<Finding> {
    Some(match rules {
        Ok(Some(rules)) if rules.removes_objects => {
            let says = "a lifecycle rule removes objects that the ledger may need";
            Finding::bad(ABOUT, says, "remove it: --keep-days does it")
        }
        Ok(Some(rules)) if !rules.removes_unfinished => Finding::ok(
            ABOUT,
            "no lifecycle rule removes what is never finished (the sweep does; \
             AbortIncompleteMultipartUpload is a second net)",
        ),
        Ok(_) => return None,
        Err(error) if error.kind == StoreErrorKind::Denied => {
            let says = "its rules cannot be read (s3:GetLifecycleConfiguration)";
            let advice = "allow it, or see for yourself that no rule removes objects";
            Finding::warning(ABOUT, says, advice)
        }
        Err(error) => {
            let says = format!("its rules cannot be read: {}", chain(error));
            Finding::warning(ABOUT, says, "try again; no rule may remove objects")
        }
    })
}

#[cfg(test)]
mod tests {
    use tonemill_ledger::{LedgerError, LedgerErrorKind};

    use super::super::tests::verdicts_of;
    use super::*;

    fn error(kind: StoreErrorKind) -> StoreError {
        StoreError { kind, operation: "read the rules of", key: None, source: "why".into() }
    }

    #[test]
    fn rules_that_cannot_be_read_are_not_taken_for_good() {
        let rules = |removes_objects, removes_unfinished| {
            Ok(Some(Lifecycle { removes_objects, removes_unfinished }))
        };
        for (rules, due) in [
            (Ok(None), &[][..]),
            (rules(false, true), &[]),
            (rules(false, false), &["ok"]),
            (rules(true, true), &["bad"]),
            (rules(true, false), &["bad"]),
            (Err(error(StoreErrorKind::Denied)), &["warning"]),
            (Err(error(StoreErrorKind::Unavailable)), &["warning"]),
        ] {
            let findings: Vec<Finding> = of_rules(&rules).into_iter().collect();
            assert_eq!(verdicts_of(&findings), due, "{rules:?}");
        }
    }

    #[test]
    fn another_ledgers_store_is_bad_and_a_new_one_is_not() {
        let mark = || "mark".to_owned();
        let kind = LedgerErrorKind::Unavailable;
        let away = LedgerError { kind, operation: "answer", source: "why".into() };
        for (bond, due) in [
            (Ok(Bond::Whole), &[][..]),
            (Ok(Bond::Half { mark: mark() }), &["ok"]),
            (Ok(Bond::None), &["ok"]),
            (Err(BondError::Restored), &["bad"]),
            (Err(BondError::OtherLedger), &["bad"]),
            (Err(BondError::OtherStore { mark: mark() }), &["bad"]),
            (Err(BondError::Ledger(away)), &["warning"]),
            (Err(BondError::Store(error(StoreErrorKind::Unavailable))), &["warning"]),
        ] {
            let findings: Vec<Finding> = of_bond(&bond).into_iter().collect();
            assert_eq!(verdicts_of(&findings), due, "{bond:?}");
        }
    }
}

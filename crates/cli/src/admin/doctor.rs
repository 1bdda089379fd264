//! `tonemill admin doctor`: looks at all that a service needs, and says what to do about what is not as
//! it should be.
//!
//! | file | looks at |
//! |---|---|
//! | `machine` | FFmpeg, LAME, disks, descriptors |
//! | `backends` | Redis and the store |
//!
//! Ledger and mail are looked at here.

mod backends;
mod machine;

use std::sync::Arc;

use serde::Serialize;
use tonemill_job::chain;
use tonemill_ledger::{Ledger, LedgerErrorKind};
use tonemill_notifier::Courier;
use url::Url;

use crate::args::admin::DoctorArgs;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_json, print_lines};

/// From how far on clocks that differ are worth a word, in milliseconds: users see times.
const CLOCK_OFF_MS: i64 = 5_000;

/// How much of a finding there is to do something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Nothing.
    Ok,
    /// Something may be better.
    Warning,
    /// Something has to be.
    Bad,
}

/// What was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    about: &'static str,
    verdict: Verdict,
    says: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    advice: &'static str,
}

impl Finding {
    fn ok(about: &'static str, says: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Ok, says: says.into(), advice: "" }
    }

    fn warning(about: &'static str, says: impl Into<String>, advice: &'static str) -> Self {
        Self { about, verdict: Verdict::Warning, says: says.into(), advice }
    }

    fn bad(about: &'static str, says: impl Into<String>, advice: &'static str) -> Self {
        Self { about, verdict: Verdict::Bad, says: says.into(), advice }
    }
}

/// Looks at everything.
pub(super) async fn run(args: &DoctorArgs) -> Result<Outcome, Failure> {
    let mut findings = machine::look(&args.at.data)?;
    findings.extend(backends::redis(&args.at.backends).await?);
    match args.at.ledger().await {
        Ok(ledger) => {
            findings.push(books(&ledger).await?);
            findings.extend(backends::store(&args.at, Some(&ledger)).await?);
            findings.push(mail(args, &ledger).await);
        }
        Err(failure) => {
            let advice = "look at --database-url, and at the server's log";
            findings.push(Finding::bad("ledger", failure.to_string(), advice));
            findings.extend(backends::store(&args.at, None).await?);
        }
    }
    let told = if args.at.json { print_json(&findings) } else { print_lines(lines(&findings)) };
    let is_bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(told.max(if is_bad { Outcome::BadInput } else { Outcome::Done }))
}

fn lines(findings: &[Finding]) -> Vec<String> {
    let line = |Finding { about, verdict, says, advice }: &Finding| {
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "WARNING",
            Verdict::Bad => "BAD",
        };
        let advice = if advice.is_empty() { String::new() } else { format!(": {advice}") };
        format!("{verdict:7}  {about:9}  {says}{advice}")
    };
    findings.iter().map(line).collect()
}

async fn books(ledger: &Ledger) -> Result<Finding, Failure> {
    let condition = match ledger.condition().await {
        Ok(condition) => condition,
        Err(error) if error.kind == LedgerErrorKind::Unavailable => {
            return Ok(Finding::bad("ledger", chain(&error), "look at the server's log"));
        }
        Err(error) => return Err(error.into()),
    };
    let (migration, known) = (condition.migration, condition.known_migration);
    if migration > known {
        let says = format!("its tables are at change {migration}, this version knows {known}");
        return Ok(Finding::warning("ledger", says, "a newer version runs: update this one"));
    }
    if condition.clock_ahead_ms.abs() > CLOCK_OFF_MS {
        let ahead = condition.clock_ahead_ms as f64 / 1000.0;
        let says = format!("its clock is {ahead:.0} s ahead of this machine's");
        return Ok(Finding::warning("ledger", says, "run NTP on both"));
    }
    if !ledger.has_users().await? {
        let advice = "start the service once: it makes an administrator";
        return Ok(Finding::warning("ledger", "it has no users", advice));
    }
    Ok(Finding::ok("ledger", format!("tables at change {migration}, clocks agree")))
}

async fn mail(args: &DoctorArgs, ledger: &Arc<Ledger>) -> Finding {
    let Some(server) = &args.notify.smtp_url else {
        let says = "no mail server: mails become files";
        return Finding::warning("mail", says, "set --smtp-url");
    };
    // No link is made.
    let url = args.notify.public_url.clone();
    let Some(url) = url.or_else(|| Url::parse("http://localhost").ok()) else {
        return Finding::warning("mail", "there is no public URL", "set --public-url");
    };
    let courier = match args.notify.config(url, None) {
        Ok(config) => Courier::new(Arc::clone(ledger), config).await,
        Err(failure) => return Finding::bad("mail", failure.to_string(), ""),
    };
    let courier = match courier {
        Ok(courier) => courier,
        Err(error) => return Finding::bad("mail", chain(&error), "look at the --mail settings"),
    };
    let parts = courier.health().parts().await;
    let trouble = parts.into_iter().find(|part| part.name == "mail").and_then(|part| part.trouble);
    match trouble {
        Some(trouble) => {
            Finding::bad("mail", trouble, "look at --smtp-url, its name, password and certificate")
        }
        None if args.notify.public_url.is_none() => {
            Finding::warning("mail", "links in mails lead to this machine", "set --public-url")
        }
        None => Finding::ok("mail", format!("{} answers and lets us in", server.host)),
    }
}

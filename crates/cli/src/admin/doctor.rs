//! `tonemill admin doctor`: looks at all that a service needs, and says what to do about what is
//! not as it should be. It changes nothing of what it looks at.
//!
//! | file | looks at |
//! |---|---|
//! | `codec` | FFmpeg, LAME, if they are built in |
//! | `machine` | disks, descriptors |
//! | `redis` | Redis |
//! | `ledger` | the ledger |
//! | `store` | the store, and whether it is the ledger's |
//! | `mail` | the mail server |
//! | `certificate` | the certificate of the API |
//!
//! Each asks first, and then judges what it was told in functions that ask nobody.

mod certificate;
#[cfg(feature = "codec")]
mod codec;
mod ledger;
mod machine;
mod mail;
mod redis;
mod store;

use serde::Serialize;

use crate::args::admin::DoctorArgs;
use crate::disks::Disks;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_json, print_lines};

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
    let mut findings = Vec::new();
    #[cfg(feature = "codec")]
    findings.extend(codec::look()?);
    findings.extend(machine::look(&Disks::of(Some(&args.at.data), &args.at.backends)));
    findings.extend(redis::look(&args.at.backends).await?);
    let (of_ledger, ledger) = ledger::look(&args.at).await;
    findings.extend(of_ledger);
    findings.extend(store::look(&args.at, ledger.as_ref()).await?);
    findings.push(mail::look(&args.notify).await);
    findings.extend(certificate::look(&args.tls));
    if let Some(ledger) = ledger {
        ledger.close().await;
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
        format!("{verdict:7}  {about:11}  {says}{advice}")
    };
    findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts; whatever is not well comes with advice.
    pub(super) fn verdicts_of(findings: &[Finding]) -> Vec<&'static str> {
        let verdict = |finding: &Finding| {
            assert_eq!(finding.verdict == Verdict::Ok, finding.advice.is_empty(), "{finding:?}");
            match finding.verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Bad => "bad",
            }
        };
        findings.iter().map(verdict).collect()
    }

    #[test]
    fn a_line_says_what_to_do() {
        let findings = [Finding::ok("lame", "it encodes"), Finding::bad("disk", "full", "buy one")];
        assert_eq!(
            lines(&findings),
            ["ok       lame         it encodes", "BAD      disk         full: buy one"]
        );
    }
}

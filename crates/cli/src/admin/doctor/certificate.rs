//! The certificate of the API: whether it can be used, and for how long.

use jiff::{SignedDuration, Timestamp};

use super::Finding;
use crate::args::serve::TlsArgs;

const ABOUT: &str = "certificate";
/// Certificates of 90 days are usually renewed 30 days before their end: with three weeks left,
/// that has failed for some days, and for some more nobody is called
/// (`deploy/prometheus/alerts.yaml`).
const SOON_DAYS: i64 = 21;

/// Nothing where the API speaks HTTP.
pub(super) fn look(args: &TlsArgs) -> Option<Finding> {
    match args.files() {
        Ok(None) => None,
        Ok(Some(files)) => Some(verdict(files.expires(), Timestamp::now())),
        Err(failure) => {
            let advice = "name a certificate and its key, both PEM: the API does not start so";
            Some(Finding::bad(ABOUT, failure.to_string(), advice))
        }
    }
}

fn verdict(expires: Option<Timestamp>, now: Timestamp) -> Finding {
    let renew = "renew it: the API reads it again when it changes";
    let Some(expires) = expires else {
        return Finding::warning(ABOUT, "when it expires cannot be read", "see for yourself");
    };
    let left = expires.duration_since(now);
    if left <= SignedDuration::ZERO {
        return Finding::bad(ABOUT, format!("it expired at {expires}"), renew);
    }
    let days = left.as_secs() / 86_400;
    let says = format!("it expires in {days} days, at {expires}");
    if days < SOON_DAYS { Finding::warning(ABOUT, says, renew) } else { Finding::ok(ABOUT, says) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::verdicts_of;
    use super::*;

    #[test]
    fn a_certificate_is_renewed_in_time() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().expect("a time");
        for (expires, due) in [
            ("2026-11-22T12:00:00Z", "bad"),
            ("2020-01-01T00:00:00Z", "bad"),
            ("2026-11-22T12:00:01Z", "warning"),
            ("2026-12-13T11:59:59Z", "warning"),
            ("2026-12-13T12:00:00Z", "ok"),
            ("4096-01-01T00:00:00Z", "ok"),
        ] {
            let finding = verdict(Some(expires.parse().expect("a time")), now);
            assert_eq!(verdicts_of(&[finding]), [due], "{expires}");
        }
        assert_eq!(verdicts_of(&[verdict(None, now)]), ["warning"]);
    }
}

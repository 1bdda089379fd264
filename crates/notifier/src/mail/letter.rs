//! A delivery as a mail.
//!
//! Names of files and labels are whatever a stranger chose: in a header they are one line of
//! limited length, in HTML they are escaped, and nowhere are there characters that make a text look
//! like another.

use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message};
use serde_json::{Value, json};
use tonemill_job::is_deceptive;
use tonemill_ledger::deliveries::claim::Claimed;
use tonemill_ledger::deliveries::{ALERT_EVENT, samples};
use tonemill_ledger::links::LinkKey;
use url::Url;

use super::templates::{Templates, Texts};
use crate::{NotifierError, date};

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 150;

/// Writes mails.
pub(super) struct Writer {
    pub(super) from: Mailbox,
    pub(super) templates: Templates,
    pub(super) public_url: Url,
    pub(super) download_link: Duration,
    pub(super) key: LinkKey,
}

/// Why there is no mail.
#[derive(Debug, thiserror::Error)]
pub(super) enum LetterError {
    #[error(transparent)]
    Template(#[from] NotifierError),
    #[error("the mail cannot be put together: {0}")]
    Mail(#[from] lettre::error::Error),
}

impl Writer {
    /// The mail that tells of `one`. The same delivery has the same `Message-ID` at every attempt.
    pub(super) fn letter(
        &self,
        one: &Claimed,
        name: &str,
        to: Address,
        now_ms: i64,
    ) -> Result<Message, LetterError> {
        let unsubscribe = self.url(&self.key.unsubscribe(one.user));
        let about = self.about(&one.payload, name, &unsubscribe, now_ms);
        let Texts { subject, text, html } = self.templates.texts(&one.event, about)?;
        let id = format!("<{}@{}>", one.id, self.from.email.domain());
        let mut letter = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(one_line(&subject))
            .message_id(Some(id))
            .date(date(now_ms))
            // RFC 3834: nobody's holiday is of interest.
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
            .raw_header(header("X-Tonemill-Event", one.event_id.to_string()));
        if one.event != ALERT_EVENT {
            // RFC 2369, and RFC 8058 for one click.
            letter = letter
                .raw_header(header("List-Unsubscribe", format!("<{unsubscribe}>")))
                .raw_header(header(
                    "List-Unsubscribe-Post",
                    "List-Unsubscribe=One-Click".to_owned(),
                ));
        }
        Ok(letter.multipart(MultiPart::alternative_plain_html(text, html))?)
    }

    /// Writes a mail of each kind, as it would be sent, for whoever made the templates.
    pub(super) fn try_out(&self) -> Result<(), NotifierError> {
        for (event, payload) in samples() {
            self.templates.texts(event, self.about(&payload, "ada", "", 0))?;
        }
        Ok(())
    }

    /// What templates know.
    fn about(&self, payload: &Value, name: &str, unsubscribe: &str, now_ms: i64) -> Value {
        let job = &payload["data"]["job"];
        let id = job["id"].as_str().and_then(|id| id.parse().ok());
        let has_link = !self.download_link.is_zero() && job["output"].is_object();
        let download = id.filter(|_| has_link).map(|id| {
            let good_for_ms = i64::try_from(self.download_link.as_millis()).unwrap_or(i64::MAX);
            self.url(&self.key.download(id, now_ms.saturating_add(good_for_ms)))
        });
        let mut about = json!({
            "user": { "name": name },
            "job": job,
            "alert": payload["data"]["alert"],
        });
        clean(&mut about);
        about["links"] = json!({
            "service": self.public_url.as_str(),
            "download": download,
            "download_for": lifetime(self.download_link),
            "unsubscribe": unsubscribe,
        });
        about
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }
}

fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// Leaves of every text what does no harm.
fn clean(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(is_deceptive) => {
            *text = text.replace(is_deceptive, "\u{fffd}");
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(values) => values.values_mut().for_each(clean),
        _ => {}
    }
}

/// How long something is good: in days if they are whole, and never more than it is.
fn lifetime(good_for: Duration) -> String {
    let seconds = good_for.as_secs();
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let is_told = |unit: u64| seconds >= unit && (unit < 86_400 || seconds.is_multiple_of(unit));
    let (unit, name) = units.into_iter().find(|(unit, _)| is_told(*unit)).unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Whoever reads decodes what looks like an encoded word (RFC 2047), into line breaks if need
    // be.
    let line = line.replace("=?", "= ?");
    match line.char_indices().nth(MAX_SUBJECT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_line_however_it_is_decoded() {
        assert_eq!(one_line(" a\r\nBcc: b\u{2028}c "), "a Bcc: b c");
        assert_eq!(one_line("=?utf-8?B?DQpCY2M6IHg=?= .mp4"), "= ?utf-8?B?DQpCY2M6IHg= ?= .mp4");
        assert_eq!(one_line(&"x".repeat(MAX_SUBJECT)).len(), MAX_SUBJECT);
        assert!(one_line(&"x".repeat(MAX_SUBJECT + 1)).ends_with("x…"));
    }

    #[test]
    fn lifetimes_are_told_as_people_do() {
        let days = |days: f64| lifetime(Duration::from_secs_f64(days * 86_400.0));
        for (is, due) in [
            (7.0, "7 days"),
            (1.0, "1 day"),
            (1.5, "36 hours"),
            (2.51, "60 hours"),
            (0.5, "12 hours"),
            (1.0 / 24.0, "1 hour"),
            (0.04, "57 minutes"),
            (0.0007, "1 minute"),
            (0.0001, "8 seconds"),
            (365.0, "365 days"),
        ] {
            assert_eq!(days(is), due);
        }
    }
}

//! What may be asked of a webhook: where it is, and what it is told.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tonemill_ledger::credentials::random_bytes;
use tonemill_ledger::deliveries::JOB_EVENTS;
use tonemill_ledger::webhooks::{MAX_URL_BYTES, NewWebhook};
use uuid::Uuid;

use crate::body::check_text;
use crate::problem::{Answer, Problem};

/// A webhook to be, with a secret of its own.
pub(crate) fn new_webhook(url: String, events: Vec<String>) -> NewWebhook {
    NewWebhook { id: Uuid::now_v7(), url, secret: new_secret(), events }
}

/// What notifications are signed with: 32 bytes as Standard Webhooks write them.
pub(crate) fn new_secret() -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(random_bytes()))
}

/// Whether this is where a webhook can be.
pub fn check_url(field: &'static str, url: &str) -> Answer<()> {
    check_text(field, url, MAX_URL_BYTES)?;
    if is_web(url) {
        return Ok(());
    }
    Err(Problem::invalid("this is no http or https URL").field(field))
}

/// Events that there are, each once.
pub fn check_events(field: &'static str, events: &[String]) -> Answer<Vec<String>> {
    if let Some(other) = events.iter().find(|event| !JOB_EVENTS.contains(&event.as_str())) {
        let why = format!("{other:?} is none of {}", JOB_EVENTS.join(", "));
        return Err(Problem::invalid(why).field(field));
    }
    let is_wanted = |event: &&str| events.iter().any(|wanted| wanted == event);
    Ok(JOB_EVENTS.into_iter().filter(is_wanted).map(str::to_owned).collect())
}

/// The same for a webhook, which is told of something.
pub(crate) fn check_some_events(field: &'static str, events: &[String]) -> Answer<Vec<String>> {
    if events.is_empty() {
        let why = format!("some of {}", JOB_EVENTS.join(", "));
        return Err(Problem::invalid(why).field(field));
    }
    check_events(field, events)
}

/// Whether this is a URL that can be asked for, of a host and without a name or password.
fn is_web(url: &str) -> bool {
    // A URL parser forgives what is none by RFC 3986; whoever reads it later may not.
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    !authority.is_empty()
        && !authority.contains('@')
        && url.bytes().all(is_plain)
        && url::Url::parse(url).is_ok_and(|url| url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_hosts() {
        for good in
            ["http://h", "https://h/", "http://h:8080/a?b=c@d#e", "https://[::1]/", "http://h?a"]
        {
            assert!(is_web(good), "{good}");
        }
        for bad in [
            "",
            "h",
            "ftp://h/",
            "http:h",
            "http:/h",
            "http://",
            "http:///x",
            "https://?x",
            "http://#x",
            "http://:pw@h/",
            "http://u@h/",
            "http://u:pw@h/",
            "http://@h/",
            "http://h:x/",
            "http://h/ a",
            "http://h\\x",
            " http://h",
        ] {
            assert!(!is_web(bad), "{bad}");
        }
    }
}

//! Notifications to webhooks, as Standard Webhooks has them (standardwebhooks.com, specification
//! 1.0).
//!
//! | file | what |
//! |---|---|
//! | `signature` | what a notification is signed with |
//! | `guard` | addresses that are nobody's business are not called |

mod guard;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use tokio::runtime::{Builder, Runtime};
use tonemill_ledger::deliveries::claim::Claimed;
use tonemill_telemetry::trace::traceparent;
use url::Url;
use uuid::Uuid;

use crate::{Answer, NotifierError, Verdict, date};
use guard::Guard;
pub use guard::{Lookup, SystemLookup};
pub use signature::sign;

/// How webhooks are called.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// How long an answer may take. Default: 15 seconds; at most [`LONGEST_CALL`].
    pub patience: Duration,
    /// Names of hosts that may be internal.
    pub internal_hosts: Vec<String>,
    /// Who knows the addresses of a name.
    pub lookup: Arc<dyn Lookup>,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(15),
            internal_hosts: Vec::new(),
            lookup: Arc::new(SystemLookup),
        }
    }
}

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest patience with an answer: a claim is over after [`CLAIM_MS`].
///
/// [`CLAIM_MS`]: tonemill_ledger::deliveries::claim::CLAIM_MS
pub const LONGEST_CALL: Duration = Duration::from_mins(1);
const USER_AGENT: &str = concat!("Tonemill/", env!("CARGO_PKG_VERSION"));

/// Calls webhooks, on a thread of their own: who answers with provisional responses without end
/// keeps the HTTP client from its next pause, and with it whatever shares its thread.
pub(crate) struct Webhooks {
    /// `None` when this is dropped.
    thread: Option<Runtime>,
    client: Client,
    guard: Guard,
    patience: Duration,
}

impl Webhooks {
    pub(crate) fn new(config: WebhookConfig) -> Result<Self, NotifierError> {
        let guard = Guard::new(&config.internal_hosts, config.lookup);
        let patience = config.patience.min(LONGEST_CALL);
        let client = Client::builder()
            .user_agent(USER_AGENT)
            // Each address is looked up once, looked at, and then connected to.
            .dns_resolver(Arc::new(guard.clone()))
            // A proxy would look names up itself.
            .no_proxy()
            // Elsewhere is not where its user said.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(patience)
            // Each webhook may be at a host of its own: kept connections would be as many.
            .pool_max_idle_per_host(0)
            .build()?;
        let mut thread = Builder::new_multi_thread();
        thread.worker_threads(1).thread_name("webhooks").enable_all();
        let thread = Some(thread.build().map_err(NotifierError::Thread)?);
        Ok(Self { thread, client, guard, patience })
    }

    /// Calls a webhook once. It is `now_ms`, by the ledger's clock.
    pub(crate) async fn call(
        &self,
        one: &Claimed,
        url: &str,
        secrets: &[String],
        now_ms: i64,
    ) -> Answer {
        let refused = |text: &str| Answer::new(Verdict::Refused, text);
        let Ok(url) = Url::parse(url) else { return refused("the address is none") };
        if let Err(forbidden) = self.guard.check(&url) {
            return refused(&forbidden.to_string());
        }
        let body = one.payload.to_string();
        let Some(headers) = headers(one.event_id, now_ms, &body, secrets) else {
            return refused("the secret is none");
        };
        match self.send(self.client.post(url).headers(headers).body(body)).await {
            // What follows the head is nobody's business: it is not read.
            Some(Ok(response)) => meaning(&response, now_ms),
            Some(Err(error)) => match guard::forbidden(&error) {
                Some(forbidden) => refused(&forbidden.to_string()),
                None => Answer::failed(self.reason(&error)),
            },
            None => Answer::failed("it is not called any more".to_owned()),
        }
    }

    /// What is answered; `None` if the thread ended before.
    async fn send(&self, request: RequestBuilder) -> Option<reqwest::Result<Response>> {
        self.thread.as_ref()?.spawn(request.send()).await.ok()
    }

    fn reason(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() && !error.is_connect() {
            return format!("no answer within {} s", self.patience.as_secs_f64());
        }
        let error = std::error::Error::source(error).map(tonemill_job::chain);
        error.unwrap_or_else(|| "it cannot be called".to_owned())
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        // Nobody may wait here, where others' tasks run.
        if let Some(thread) = self.thread.take() {
            thread.shutdown_background();
        }
    }
}

fn headers(event: Uuid, now_ms: i64, body: &str, secrets: &[String]) -> Option<HeaderMap> {
    let (id, timestamp) = (event.to_string(), (now_ms / 1000).to_string());
    let signatures: Option<Vec<String>> =
        secrets.iter().map(|secret| sign(secret, &id, &timestamp, body)).collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("webhook-id", id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", signatures?.join(" ")),
    ] {
        headers.insert(name, HeaderValue::from_str(&value).ok()?);
    }
    if let Some(trace) = traceparent()
        && let Ok(value) = HeaderValue::from_str(&trace)
    {
        headers.insert("traceparent", value);
    }
    Some(headers)
}

/// What an answer means.
fn meaning(response: &Response, now_ms: i64) -> Answer {
    let status = response.status();
    let text = status.to_string();
    match status {
        StatusCode::GONE => Answer::new(Verdict::Gone, text),
        _ if status.is_success() => Answer::new(Verdict::Delivered, text),
        _ if status.is_redirection() => {
            Answer::failed(format!("{text}: it is not called elsewhere"))
        }
        _ => Answer::new(Verdict::Failed { wait: wait(response.headers(), now_ms) }, text),
    }
}

/// How long it wants to be left alone (RFC 9110 section 10.2.3).
fn wait(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(date(now_ms)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NOW_MS: i64 = 1_767_225_600_000;

    #[test]
    fn it_is_signed_at_the_ledgers_time() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        let event = Uuid::nil();
        let headers = headers(event, NOW_MS + 999, "{}", std::slice::from_ref(&secret)).unwrap();
        assert_eq!(headers["webhook-timestamp"], "1767225600");
        let due = sign(&secret, &event.to_string(), "1767225600", "{}").unwrap();
        assert_eq!(headers["webhook-signature"], due);
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let wait_of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            wait(&headers, NOW_MS)
        };
        assert_eq!(wait_of("120"), Some(Duration::from_mins(2)));
        assert_eq!(wait_of("soon"), None);
        assert_eq!(wait_of("Mon, 01 Jan 2001 00:00:00 GMT"), None);
        let date = httpdate::fmt_http_date(date(NOW_MS + 99_000));
        assert_eq!(wait_of(&date), Some(Duration::from_secs(99)));
    }
}

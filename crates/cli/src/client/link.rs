//! The way to a service: one request at a time, to a server that may be away, slow, or no service
//! of ours at all.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, Url, header};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::client::bars::Bars;
use crate::client::retry::{Stop, Trouble};
use crate::failure::Failure;
use crate::text::shown;
use crate::text::{plain, seconds};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may think, and how long it may be silent in the middle of an answer.
pub const ANSWER: Duration = Duration::from_mins(1);
/// How long the service may be away, unless said otherwise.
const PATIENCE: Duration = Duration::from_mins(5);
/// Longest JSON that is read: more than a page of 50 jobs with the longest tags.
const MAX_JSON_BYTES: usize = 16 << 20;
/// What kind a refusal is that says why (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// A service, and how things are with it.
pub struct Link {
    pub http: Client,
    /// Its address, without a slash at the end.
    pub base: String,
    pub bars: Bars,
    retry_for: Option<Duration>,
    /// Whether it has ever answered.
    was_there: AtomicBool,
    /// Whether it was told that something is wrong.
    is_told: AtomicBool,
    /// Whether that was more than that it is busy.
    is_outage: AtomicBool,
}

impl Link {
    pub fn open(
        base: String,
        ca_file: Option<&Path>,
        retry_for: Option<f64>,
        bars: Bars,
    ) -> Result<Self, Failure> {
        let mut http = Client::builder()
            // Whoever is named in a redirection must not get what is for the service.
            .redirect(Policy::none())
            .referer(false)
            .user_agent(concat!("tonemill/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .tcp_keepalive(Duration::from_secs(30))
            .http2_adaptive_window(true);
        for authority in ca_file.map(authorities).transpose()?.into_iter().flatten() {
            http = http.add_root_certificate(authority);
        }
        let http = http.build().map_err(|error| {
            Failure::fault(format!("no connections can be made: {}", root(&error)), "")
        })?;
        Ok(Self {
            http,
            base,
            bars,
            retry_for: retry_for.map(seconds),
            was_there: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            is_outage: AtomicBool::new(false),
        })
    }

    /// How long to try. An address where nobody ever answered is probably wrong.
    pub fn patience(&self, is_away: bool) -> Duration {
        let is_unknown = is_away && !self.was_there.load(Ordering::Relaxed);
        self.retry_for.unwrap_or(if is_unknown { Duration::ZERO } else { PATIENCE })
    }

    /// Says that something is wrong, once until it is right again.
    pub fn tell_trouble(&self, trouble: &Trouble) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            self.is_outage.store(!trouble.is_busy, Ordering::Relaxed);
            let what = &trouble.failed.message;
            self.bars.suspend(|| eprintln!("tonemill: {what}: trying again"));
        }
    }

    /// Sends a request, once.
    pub async fn attempt(&self, request: RequestBuilder) -> Result<Response, Trouble> {
        match request.send().await {
            Ok(response) => {
                self.was_there.store(true, Ordering::Relaxed);
                if !is_passing(&response)
                    && self.is_told.swap(false, Ordering::Relaxed)
                    && self.is_outage.load(Ordering::Relaxed)
                {
                    self.bars.suspend(|| eprintln!("tonemill: the service answers again"));
                }
                Ok(response)
            }
            Err(error) => Err(self.away(&error)),
        }
    }

    /// As [`attempt`](Self::attempt), of a request that is answered soon.
    pub async fn attempt_soon(&self, request: RequestBuilder) -> Result<Response, Trouble> {
        match timeout(ANSWER, self.attempt(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.silent()),
        }
    }

    /// The next bytes of an answer; `None` at its end.
    pub async fn chunk(
        &self,
        response: &mut Response,
        patience: Duration,
    ) -> Result<Option<bytes::Bytes>, Trouble> {
        match timeout(patience, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(self.away(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    /// The whole body of an answer, if it has at most `most` bytes and comes in reasonable time.
    pub async fn body(&self, mut response: Response, most: usize) -> Result<Vec<u8>, Stop> {
        let read = async {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk(&mut response, ANSWER).await? {
                if body.len() + chunk.len() > most {
                    return Err(self.strange("its answer has no end").into());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        timeout(ANSWER, read).await.unwrap_or_else(|_| Err(self.silent().into()))
    }

    /// The JSON in an answer that is a success.
    pub async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Stop> {
        if !is_kind(&response, "application/json") {
            return Err(self.strange("it does not answer with JSON").into());
        }
        let body = self.body(response, MAX_JSON_BYTES).await?;
        let parsed = serde_json::from_slice(&body);
        parsed.map_err(|error| self.strange(&plain(&error.to_string())).into())
    }

    /// Something answers that is not what it should be.
    pub fn strange(&self, why: &str) -> Failure {
        let message = format!("{} does not behave like Tonemill: {why}", plain(&self.base));
        Failure::usage(message, "check the address")
    }

    fn silent(&self) -> Trouble {
        let message = format!("{} does not answer in time", plain(&self.base));
        trouble(Failure::fault(message, "try again later"))
    }

    fn away(&self, error: &reqwest::Error) -> Trouble {
        let cause = plain(&root(error));
        // A redirection may have led to a store, which is then what is away.
        let origin = error.url().map(|url| url.origin().ascii_serialization());
        let origin = origin.filter(|origin| !self.base.starts_with(origin));
        let base = plain(&origin.unwrap_or_else(|| self.base.clone()));
        let (cause, advice) = advised(&cause, base.starts_with("https:"));
        let what = if error.is_connect() { "cannot be reached" } else { "broke off" };
        trouble(Failure::fault(format!("{base} {what}: {cause}"), advice))
    }
}

fn trouble(failed: Failure) -> Trouble {
    Trouble { failed, after: None, is_away: true, is_busy: false }
}

/// Why there is no connection, and what to do.
fn advised(cause: &str, is_https: bool) -> (&str, &'static str) {
    let says = |text| cause.contains(text);
    if says("CaUsedAsEndEntity") {
        let advice = "make one with basicConstraints=critical,CA:FALSE";
        return ("its certificate is an authority's (CA:TRUE)", advice);
    }
    let advice = if says("certificate") {
        "if its authority is your own, name it with --ca-file"
    } else if is_https && (says("corrupt message") || says("InvalidContentType")) {
        "if it speaks HTTP alone, say http://"
    } else if !is_https && says("invalid HTTP version parsed") {
        "if it speaks HTTPS, say https://"
    } else {
        "check the address and the network"
    };
    (cause, advice)
}

/// Whether the next answer may be another.
pub fn is_passing(response: &Response) -> bool {
    let status = response.status().as_u16();
    matches!(status, 408 | 423 | 425 | 429 | 500 | 502 | 503 | 504) && !is_full(response)
}

/// Whether it refuses what waiting does not help with: a quota of what is stored, say.
pub fn is_full(response: &Response) -> bool {
    response.status() == StatusCode::TOO_MANY_REQUESTS
        && is_kind(response, PROBLEM)
        && !response.headers().contains_key(header::RETRY_AFTER)
}

/// When the service wants to be asked again.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_secs)
}

/// Whether the body says that it is of this kind.
pub fn is_kind(response: &Response, kind: &str) -> bool {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let value = value.unwrap_or_default().split(';').next().unwrap_or_default();
    value.trim().eq_ignore_ascii_case(kind)
}

/// The innermost cause: the layers above it say only that something was wrong. Addresses, which can
/// hold signatures, are in none but the outermost.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("--ca-file {}: {why}", shown(path)), "name a file of PEM")
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(root(&error)))?;
    if found.is_empty() {
        Err(wrong("there is no certificate in it".to_owned()))
    } else {
        Ok(found)
    }
}

/// The address of a service as it is kept: a scheme, a host, perhaps a path. Without a scheme it is
/// HTTPS, except on this machine.
pub fn address(text: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        let message = format!("{} is no address of a service: {why}", plain(text));
        Failure::usage(message, "say something like https://tonemill.example.org")
    };
    let text = text.trim();
    let url = if text.contains("://") {
        Url::parse(text)
    } else {
        Url::parse(&format!("http://{text}")).and_then(|url| {
            if is_local(&url) { Ok(url) } else { Url::parse(&format!("https://{text}")) }
        })
    };
    let url = url.map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it is neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Which is not repeated, as it may be right.
        let message = "name and password are no part of a service's address";
        return Err(Failure::usage(message, "say --name, and the password when it is asked for"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("nothing comes after the path"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Whether an address is on this machine.
pub fn is_local(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_says_what_to_do() {
        let (cause, advice) = advised("invalid peer certificate: CaUsedAsEndEntity", true);
        assert_eq!(cause, "its certificate is an authority's (CA:TRUE)");
        assert_eq!(advice, "make one with basicConstraints=critical,CA:FALSE");
        let advice = |cause, is_https| advised(cause, is_https).1;
        assert!(advice("invalid peer certificate: UnknownIssuer", true).contains("--ca-file"));
        assert!(advice("invalid HTTP version parsed", false).ends_with("say https://"));
        assert!(advice("received corrupt message", true).ends_with("say http://"));
        assert!(advice("no route to host", true).starts_with("check"));
    }

    #[test]
    fn addresses_are_completed_and_checked() {
        let of = |text| address(text).ok();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of("https://t.example/"), some("https://t.example"));
        assert_eq!(of("t.example"), some("https://t.example"));
        assert_eq!(of("localhost:8080"), some("http://localhost:8080"));
        assert_eq!(of("127.0.0.1:8080/"), some("http://127.0.0.1:8080"));
        assert_eq!(of("[::1]:80"), some("http://[::1]"));
        assert_eq!(of("https://t.example/mill/"), some("https://t.example/mill"));
        for wrong in ["", "ftp://t", "https://a:b@t", "https://t/?x", "https://t/#x", "http://"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}

//! One file into the service (tus 1.0), in as many requests as it takes.
//!
//! Where an upload goes on, the service says. It keeps what came before a connection broke, so
//! after any trouble it is asked, and nothing is sent twice that it has.

use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION};
use reqwest::{Method, Response, StatusCode};
use tonemill_job::JobId;

use crate::client::api::{Api, Ask};
use crate::client::bars::Bar;
use crate::client::link::is_passing;
use crate::client::retry::{Retry, Stop, Trouble};
use crate::client::source::{Pulse, Source};
use crate::failure::Failure;

/// The first bytes go alone: by them the service sees whether this is media at all.
const FIRST_BYTES: u64 = 64 << 10;
/// Most bytes of a request. What a proxy in front of the service takes may have a limit too, and a
/// token must be good only when a request begins.
const MOST_BYTES: u64 = 64 << 20;
/// How long a request may send nothing and get no answer: the service may have to put a large
/// object together at the end.
const STALLED: Duration = Duration::from_mins(2);
/// How often the bar is brought up to date.
const TICK: Duration = Duration::from_millis(200);

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const VERSION: &str = "1.0.0";

/// A file on its way.
pub struct Tus<'a> {
    pub api: &'a Api,
    pub source: &'a Source,
    pub bar: &'a Bar,
    /// Bytes that were sent, those included that never arrived.
    pub sent_bytes: u64,
    /// The upload, once there is one.
    pub begun: Option<JobId>,
}

/// How the way ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    /// It is all there.
    Whole,
    /// The service has forgotten the upload.
    Gone,
}

impl Tus<'_> {
    /// Begins an upload. If the answer is lost, the service forgets it in a day.
    pub async fn begin(&self) -> Result<JobId, Failure> {
        let ask = Ask::new(Method::POST, "/v1/uploads")
            .header(TUS_RESUMABLE, VERSION)
            .header(UPLOAD_LENGTH, self.source.bytes.to_string());
        let response = self.api.expect(&ask).await?;
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let id = location.and_then(|to| to.rsplit('/').next()?.parse().ok());
        id.ok_or_else(|| self.api.link.strange("it does not say where the upload goes"))
    }

    /// Has the service forget the upload at once: it counts against the user's quota. If that
    /// fails, the service forgets it in a day.
    pub async fn give_up(&self) {
        if let Some(id) = self.begun {
            let ask = Ask::new(Method::DELETE, path(id)).header(TUS_RESUMABLE, VERSION);
            let _ = self.api.send(&ask.once()).await;
        }
    }

    /// Where an upload goes on; `None` if the service does not have it, or has another length.
    pub async fn offset(&self, id: JobId) -> Result<Option<u64>, Failure> {
        let ask = Ask::new(Method::HEAD, path(id)).header(TUS_RESUMABLE, VERSION);
        let response = self.api.send(&ask).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            _ => return Err(self.api.refused(response).await),
        }
        let length = number(&response, &UPLOAD_LENGTH);
        let offset = number(&response, &UPLOAD_OFFSET);
        let offset =
            offset.ok_or_else(|| self.api.link.strange("it does not say how far it is"))?;
        Ok((length == Some(self.source.bytes) && offset <= self.source.bytes).then_some(offset))
    }

    /// Sends what is missing from `offset` on.
    pub async fn send(&mut self, id: JobId, mut offset: u64) -> Result<Arrived, Failure> {
        let api = self.api;
        let mut retry = Retry::new(&api.link);
        self.bar.begin_bytes("up", self.source.bytes, offset);
        while offset < self.source.bytes {
            let stop = match self.patch(id, offset).await {
                Ok(reached) => {
                    retry.progressed();
                    offset = reached;
                    continue;
                }
                Err(stop) => stop,
            };
            retry.pause(stop).await?;
            let Some(reached) = self.offset(id).await? else { return Ok(Arrived::Gone) };
            if reached > offset {
                retry.progressed();
            }
            offset = reached;
            self.bar.set_bytes(offset);
        }
        Ok(Arrived::Whole)
    }

    /// Sends some bytes; how far the upload is then.
    async fn patch(&mut self, id: JobId, offset: u64) -> Result<u64, Stop> {
        let left = self.source.bytes - offset;
        let is_first = offset == 0 && left > 2 * FIRST_BYTES;
        let length = left.min(if is_first { FIRST_BYTES } else { MOST_BYTES });
        let pulse = Pulse::new();
        let token = self.api.token().await;
        let request = self
            .api
            .request(Method::PATCH, &path(id), &token)
            .header(TUS_RESUMABLE, VERSION)
            .header(UPLOAD_OFFSET, offset)
            .header(CONTENT_TYPE, "application/offset+octet-stream")
            .header(CONTENT_LENGTH, length)
            .body(self.source.body(offset, length, &pulse));
        let answered = tokio::select! {
            answered = self.api.link.attempt(request) => answered,
            () = self.stalled(&pulse, offset) => Err(passing("the service takes no more bytes")),
        };
        self.sent_bytes += pulse.sent_bytes();
        if let Some(why) = pulse.failure() {
            return Err(Failure::input(format!("cannot be read: {why}"), "check the file").into());
        }
        self.answer(answered?, &token, offset..offset + length).await
    }

    async fn answer(
        &self,
        response: Response,
        token: &str,
        sent: std::ops::Range<u64>,
    ) -> Result<u64, Stop> {
        let status = response.status();
        match status.as_u16() {
            204 => {
                let reached = number(&response, &UPLOAD_OFFSET);
                let reached = reached.filter(|to| *to > sent.start && *to <= sent.end);
                let strange = || self.api.link.strange("it does not say how far it is").into();
                reached.ok_or_else(strange)
            }
            401 if self.api.renew(token).await? => Err(passing("the token has expired").into()),
            // Where it goes on is asked next, and whether.
            404 | 409 | 410 => Err(passing("the upload goes on somewhere else").into()),
            _ if is_passing(&response) => Err(self.api.link.troubled(response).await.into()),
            _ => Err(self.api.refused(response).await.into()),
        }
    }

    /// Keeps the bar up to date, and ends when nothing moves any more.
    async fn stalled(&self, pulse: &Pulse, offset: u64) {
        while pulse.silence() < STALLED {
            tokio::time::sleep(TICK).await;
            self.bar.set_bytes(offset + pulse.sent_bytes());
        }
    }
}

fn path(id: JobId) -> String {
    format!("/v1/uploads/{id}")
}

fn number(response: &Response, name: &HeaderName) -> Option<u64> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}

fn passing(message: &str) -> Trouble {
    let failed = Failure::fault(message, "try again later");
    Trouble { failed, after: None, is_away: false, is_busy: false }
}

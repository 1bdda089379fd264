//! One output out of the service, in as many requests as it takes.
//!
//! A request that goes on names the tag of what is there (`If-Range`), so that no file is put
//! together from two.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use tokio::task::block_in_place;
use tonemill_job::JobId;

use crate::client::api::{Api, Ask};
use crate::client::bars::Bar;
use crate::client::job::path;
use crate::client::link::{ANSWER, is_passing};
use crate::client::retry::{Retry, Stop, Trouble};
use crate::failure::Failure;

/// Longest tag that is kept, in bytes.
const MAX_TAG_BYTES: usize = 200;

/// An output on its way into a file.
pub struct Fetch<'a> {
    api: &'a Api,
    id: JobId,
    /// How long it is.
    bytes: u64,
    file: &'a mut File,
    /// How much of it is in the file.
    at: u64,
    /// What that belongs to.
    tag: Option<String>,
    /// How much of it was in the file at first, and is still good.
    kept_bytes: u64,
    bar: &'a Bar,
}

impl<'a> Fetch<'a> {
    /// An output of `bytes` into `file`, which is empty, or holds the beginning of what has `tag`.
    pub fn new(
        api: &'a Api,
        (id, bytes): (JobId, u64),
        file: &'a mut File,
        tag: Option<String>,
        bar: &'a Bar,
    ) -> Result<Self, Failure> {
        let at = file.metadata().map_err(|error| unwritable(&error))?.len();
        Ok(Self { api, id, bytes, file, at, tag, kept_bytes: 0, bar })
    }

    /// Gets what is missing; how much was not. `note` learns the tag of what is being written.
    pub async fn run(&mut self, mut note: impl FnMut(&str)) -> Result<u64, Failure> {
        let api = self.api;
        let mut retry = Retry::new(&api.link);
        if self.tag.is_none() || self.at > self.bytes {
            self.restart()?;
        }
        self.seek()?;
        self.bar.begin_bytes("down", self.bytes, self.at);
        self.kept_bytes = self.at;
        loop {
            let before = self.at;
            let stop = match self.attempt(&mut note).await {
                Ok(()) => return Ok(self.kept_bytes),
                Err(stop) => stop,
            };
            if self.at > before {
                retry.progressed();
            }
            retry.pause(stop).await?;
        }
    }

    /// One request, and what comes of it.
    async fn attempt(&mut self, note: &mut impl FnMut(&str)) -> Result<(), Stop> {
        // An empty output is asked for all the same: whether it is there.
        if self.at == self.bytes && self.at > 0 {
            return Ok(());
        }
        let mut ask = Ask::get(format!("{}/output", path(self.id)));
        if let Some(tag) = self.tag.as_ref().filter(|_| self.at > 0) {
            ask = ask.header(RANGE, format!("bytes={}-", self.at)).header(IF_RANGE, tag);
        }
        let response = self.api.send(&ask).await?;
        let was_redirected = response.status().is_redirection();
        let response = self.api.elsewhere(response, &ask).await?;
        match response.status() {
            StatusCode::OK => {
                self.restart()?;
                let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
                // A weak tag does not promise equal bytes.
                let is_strong = |tag: &&str| tag.starts_with('"') && tag.len() <= MAX_TAG_BYTES;
                self.tag = tag.filter(is_strong).map(str::to_owned);
                note(self.tag.as_deref().unwrap_or_default());
            }
            StatusCode::PARTIAL_CONTENT if self.is_continued(&response) => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if self.at > 0 => {
                self.restart()?;
                return Err(passing("the service has another file than before").into());
            }
            _ if is_passing(&response) => {
                return Err(self.api.link.troubled(response).await.into());
            }
            // An address at the store that has expired: the next is good again.
            StatusCode::FORBIDDEN if was_redirected => {
                return Err(passing("the store refuses the download").into());
            }
            _ => return Err(self.api.refused(response).await.into()),
        }
        self.write(response).await
    }

    async fn write(&mut self, mut response: Response) -> Result<(), Stop> {
        let link = &self.api.link;
        let declared = response.headers().get(CONTENT_LENGTH).and_then(|l| l.to_str().ok());
        let declared: Option<u64> = declared.and_then(|length| length.parse().ok());
        if declared.is_some_and(|length| length != self.bytes - self.at) {
            return Err(link.strange("the output has another length than it said").into());
        }
        while let Some(chunk) = link.chunk(&mut response, ANSWER).await? {
            let count = chunk.len() as u64;
            if count > self.bytes - self.at {
                return Err(link.strange("the output is longer than it said").into());
            }
            block_in_place(|| self.file.write_all(&chunk)).map_err(|error| unwritable(&error))?;
            self.at += count;
            self.bar.add_bytes(count);
        }
        if self.at == self.bytes { Ok(()) } else { Err(passing("the download broke off").into()) }
    }

    /// Whether an answer goes on where the file ends.
    fn is_continued(&self, response: &Response) -> bool {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let expected = format!("bytes {}-{}/{}", self.at, self.bytes.saturating_sub(1), self.bytes);
        self.at > 0
            && header(CONTENT_RANGE) == Some(&expected)
            && header(ETAG).is_none_or(|tag| Some(tag) == self.tag.as_deref())
    }

    fn restart(&mut self) -> Result<(), Failure> {
        (self.at, self.kept_bytes) = (0, 0);
        self.tag = None;
        self.file.set_len(0).map_err(|error| unwritable(&error))?;
        self.bar.set_bytes(0);
        self.seek()
    }

    fn seek(&mut self) -> Result<(), Failure> {
        let to = self.file.seek(SeekFrom::Start(self.at));
        to.map(drop).map_err(|error| unwritable(&error))
    }
}

fn unwritable(error: &std::io::Error) -> Failure {
    crate::output::unwritable("the output", error)
}

fn passing(message: &str) -> Trouble {
    let failed = Failure::fault(message, "try again later");
    Trouble { failed, after: None, is_away: false, is_busy: false }
}

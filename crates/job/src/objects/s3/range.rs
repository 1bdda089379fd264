//! Reading a range, whatever happens to the connection.
//!
//! The SDK's time limits end where an object's bytes begin. So here is a deadline for the range,
//! and one for the next few bytes; a body that is cut or stalls is asked for again from the byte
//! that it reached. All answers must be about the same object: its `ETag` and its length do not
//! change.

use std::io;
use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::super::{Result, StoreError, StoreErrorKind, checked_range};
use super::S3Store;
use super::error::store_error;
use crate::object_key::ObjectKey;

/// What has to arrive within [`super::S3Deadlines::stall`]: a connection that brings a byte now and
/// then is no better than one that brings none.
const PROGRESS_BYTES: usize = 64 << 10;

/// Reads `range` of `key`, all of it.
pub async fn get(store: &S3Store, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
    let bytes = checked_range(key, &range)?;
    let deadline = Instant::now() + store.config.deadlines.range;
    let mut reading =
        Reading { store, key, range, etag: None, total: None, got: BytesMut::with_capacity(bytes) };
    let mut last_cut = None;
    for cuts in 0..store.config.retries.tries {
        let cut = match timeout_at(deadline, reading.advance()).await {
            Ok(Ok(None)) => return Ok(reading.got.freeze()),
            Ok(Ok(Some(cut))) => cut,
            Ok(Err(error)) => return Err(error),
            Err(_) => break,
        };
        debug!(%key, got = reading.got.len(), of = bytes, %cut, "a range was cut");
        last_cut = Some(cut);
        let pause = pause(&store.config.retries, cuts);
        sleep_until(deadline.min(Instant::now() + pause)).await;
    }
    let got = reading.got.len();
    let why = last_cut.map_or_else(|| "too slow".to_owned(), |cut| cut.to_string());
    let source = format!("{got} of {bytes} bytes arrived: {why}");
    Err(StoreError::new(StoreErrorKind::Unavailable, "read", Some(key), source))
}

/// A random part of a time that doubles, as the SDK does it.
fn pause(retries: &super::S3Retries, tries: u32) -> Duration {
    let longest = retries.first_pause.saturating_mul(1 << tries.min(16));
    longest.min(retries.longest_pause).mul_f64(fastrand::f64())
}

struct Reading<'a> {
    store: &'a S3Store,
    key: &'a ObjectKey,
    range: Range<u64>,
    /// Of the first answer.
    etag: Option<String>,
    /// Length of the object, by the first answer.
    total: Option<u64>,
    got: BytesMut,
}

impl Reading<'_> {
    /// Asks for what is missing and takes what comes. Why it was cut, or nothing at the end.
    async fn advance(&mut self) -> Result<Option<io::Error>> {
        let missing = self.range.start + self.got.len() as u64..self.range.end;
        let answer = self
            .store
            .client
            .get_object()
            .bucket(&self.store.config.bucket)
            .key(self.key.as_str())
            .range(format!("bytes={}-{}", missing.start, missing.end - 1))
            .set_if_match(self.etag.clone())
            .send()
            .await
            .map_err(|error| self.failed(error))?;
        self.check(&answer, &missing)?;
        self.take(answer.body).await
    }

    fn failed(
        &self,
        error: aws_sdk_s3::error::SdkError<aws_sdk_s3::operation::get_object::GetObjectError>,
    ) -> StoreError {
        let mut error = store_error("read", Some(self.key), error);
        // Of a read it says that the object is not the one that we began with.
        if error.kind == StoreErrorKind::Exists {
            error.kind = StoreErrorKind::Corrupt;
        }
        error
    }

    /// Checks that the answer has the `missing` bytes, and those of the same object.
    fn check(&mut self, answer: &GetObjectOutput, missing: &Range<u64>) -> Result<()> {
        let wrong = |kind, why: String| Err(StoreError::new(kind, "read", Some(self.key), why));
        let stated = answer.content_range().unwrap_or_default();
        let Some((is, total)) = parse_content_range(stated) else {
            let why = format!("the store answered with the range {stated:?}");
            return wrong(StoreErrorKind::Unavailable, why);
        };
        let etag = answer.e_tag().map(str::to_owned);
        if self.total.is_some_and(|first| first != total)
            || (self.total.is_some() && self.etag != etag)
        {
            let why = "the object changed while it was read".to_owned();
            return wrong(StoreErrorKind::Corrupt, why);
        }
        if total < self.range.end {
            let why = format!("byte {} of {total}", self.range.end - 1);
            return wrong(StoreErrorKind::Invalid, why);
        }
        if is != *missing {
            let why = format!("asked for the range {missing:?}, got {is:?}");
            return wrong(StoreErrorKind::Corrupt, why);
        }
        (self.total, self.etag) = (Some(total), etag);
        Ok(())
    }

    async fn take(&mut self, mut body: ByteStream) -> Result<Option<io::Error>> {
        let bytes = (self.range.end - self.range.start) as usize;
        let stall = self.store.config.deadlines.stall;
        let (mut window_end, mut window_bytes) = (Instant::now() + stall, 0);
        loop {
            let chunk = match timeout_at(window_end, body.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) => return Ok(Some(io::Error::other(error))),
                Ok(None) if self.got.len() == bytes => return Ok(None),
                Ok(None) => return Ok(Some(io::ErrorKind::UnexpectedEof.into())),
                Err(_) => return Ok(Some(io::ErrorKind::TimedOut.into())),
            };
            if chunk.len() > bytes - self.got.len() {
                let why = format!("more than {bytes} bytes came");
                return Err(StoreError::new(StoreErrorKind::Corrupt, "read", Some(self.key), why));
            }
            self.got.put(&chunk[..]);
            window_bytes += chunk.len();
            if window_bytes >= PROGRESS_BYTES {
                (window_end, window_bytes) = (Instant::now() + stall, 0);
            }
        }
    }
}

/// `bytes first-last/total` (RFC 9110 section 14.4), as a range and a total.
fn parse_content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_parsed() {
        assert_eq!(parse_content_range("bytes 0-0/1"), Some((0..1, 1)));
        assert_eq!(parse_content_range("bytes 5-9/200"), Some((5..10, 200)));
        for text in ["", "bytes */200", "bytes 5-9/*", "0-1/2", "bytes 0-18446744073709551615/1"] {
            assert_eq!(parse_content_range(text), None, "{text:?}");
        }
    }
}

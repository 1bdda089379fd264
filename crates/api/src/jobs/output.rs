//! The MP3: `GET /v1/jobs/{id}/output`, whole or in ranges (RFC 9110 section 14).
//!
//! An output never changes, so its tag is a hash of its name in the store. Conditions are judged
//! here: not every store knows them.

use std::convert::Infallible;
use std::ops::{Range, RangeInclusive};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use futures_util::stream::{empty, unfold};
use headers::{
    ETag, HeaderMapExt as _, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince, LastModified,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tonemill_job::objects::StoreError;
use tonemill_job::{JobId, ObjectKey};
use tonemill_ledger::{Job, Output};

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::extract::Id;
use crate::jobs::view::output_file_name;
use crate::problem::{Answer, Problem};

/// Bytes that are read from the store at a time. They become more while the client takes them, so
/// that those who take nothing cost little.
const CHUNK_BYTES: RangeInclusive<u64> = 256 << 10..=1 << 20;
/// What RFC 8187 section 3.2.1 lets stand as it is.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Download the MP3.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/output", operation_id = "download", tag = "Jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "The job"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-Range" = Option<String>, Header, description = "The range only of this file"),
        ("If-Match" = Option<String>, Header, description = "Only this file"),
        ("If-None-Match" = Option<String>, Header, description = "Only if you have another"),
        ("access_token" = Option<String>, Query, description = "Instead of the header"),
    ),
    responses(
        (status = 200, description = "All of it", body = [u8], content_type = "audio/mpeg"),
        (status = 206, description = "The range", body = [u8], content_type = "audio/mpeg"),
        (status = 304, description = "You have it already"),
        (status = 307, description = "It is at the store, under an address for a few minutes"),
        (status = 404, description = "There is no such job, or it is somebody else's"),
        (status = 409, description = "It is not finished"),
        (status = 410, description = "It is not in the store any more"),
        (status = 412, description = "It is not what If-Match says"),
        (status = 416, description = "The range begins after its end"),
    )
)]
pub async fn download(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
    method: Method,
    headers: HeaderMap,
) -> Answer<Response> {
    caller.may(Scope::Read)?;
    let job = api.own_job(&caller, id).await?;
    api.output(&job, &method, &headers).await
}

impl Api {
    /// A finished job's output, as the request wishes it.
    pub(crate) async fn output(
        &self,
        job: &Job,
        method: &Method,
        headers: &HeaderMap,
    ) -> Answer<Response> {
        let Some(output) = &job.output else {
            let why = format!("the job is {}: there is nothing to download", job.state.name());
            return Err(Problem::conflict(why));
        };
        let name = output_file_name(job);
        // An address is good for GET alone.
        if let Some(valid) = self.config.presigned_downloads
            && method == Method::GET
            && let Some(url) = self.store.presign_get(&output.key, &name, valid).await?
        {
            return Ok(
                ([(header::CACHE_CONTROL, "no-store")], Redirect::temporary(&url)).into_response()
            );
        }
        let validators = Validators::of(job, output)?;
        let mut response = match validators.judge(headers)? {
            Judged::NotModified => {
                // Of a body that is known to be empty, its length would be told as if it were the
                // file's.
                let nothing = Body::from_stream(empty::<Result<Bytes, Infallible>>());
                (StatusCode::NOT_MODIFIED, nothing).into_response()
            }
            Judged::Send => self.send(output, &validators, method, headers).await?,
        };
        let headers = response.headers_mut();
        headers.typed_insert(validators.tag);
        headers.typed_insert(validators.modified);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        if let Ok(value) = HeaderValue::from_str(&attachment(&name)) {
            headers.insert(header::CONTENT_DISPOSITION, value);
        }
        Ok(response)
    }

    async fn send(
        &self,
        output: &Output,
        validators: &Validators,
        method: &Method,
        headers: &HeaderMap,
    ) -> Answer<Response> {
        let total = output.bytes;
        // Of GET alone (RFC 9110 section 14.2).
        let is_wanted = method == Method::GET && validators.is_range_wanted(headers);
        let wanted = if is_wanted { range(headers, total) } else { None };
        let (status, range) = match wanted {
            None => (StatusCode::OK, 0..total),
            Some(Ok(range)) => (StatusCode::PARTIAL_CONTENT, range),
            Some(Err(())) => {
                let why = format!("the file has {total} bytes");
                let mut response = Problem::bad_range(why).into_response();
                insert(&mut response, header::CONTENT_RANGE, &format!("bytes */{total}"));
                return Ok(response);
            }
        };
        let length = range.end - range.start;
        let (start, end) = (range.start, range.end);
        let body = if method == Method::HEAD || length == 0 {
            Body::empty()
        } else {
            // Read before anything is promised: what is missing is told as such.
            let first = self.store.get(&output.key, chunk(&range, 0)).await?;
            Body::from_stream(read(self.clone(), output.key.clone(), range, first))
        };
        let mut response = (status, body).into_response();
        insert(&mut response, header::CONTENT_TYPE, "audio/mpeg");
        insert(&mut response, header::CONTENT_LENGTH, &length.to_string());
        if status == StatusCode::PARTIAL_CONTENT {
            let content_range = format!("bytes {start}-{}/{total}", end - 1);
            insert(&mut response, header::CONTENT_RANGE, &content_range);
        }
        Ok(response)
    }
}

fn insert(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The first chunk of a range, when so many bytes before it are on their way.
fn chunk(range: &Range<u64>, sent: u64) -> Range<u64> {
    let bytes = sent.clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end());
    range.start..range.end.min(range.start + bytes)
}

/// The bytes of a range, of which the first chunk is there. An error breaks the answer off: its
/// length tells the client that something is missing.
fn read(
    api: Api,
    key: ObjectKey,
    range: Range<u64>,
    first: Bytes,
) -> impl futures_util::Stream<Item = Result<Bytes, StoreError>> {
    let start = range.start;
    let rest = start + first.len() as u64..range.end;
    unfold((api, key, rest, Some(first)), move |(api, key, rest, ready)| async move {
        if let Some(ready) = ready {
            return Some((Ok(ready), (api, key, rest, None)));
        }
        if rest.is_empty() {
            return None;
        }
        let outcome = api.store.get(&key, chunk(&rest, rest.start - start)).await;
        let next = match &outcome {
            Ok(bytes) => rest.start + bytes.len() as u64..rest.end,
            Err(error) => {
                tracing::warn!(error = tonemill_job::chain(error), "a download broke off");
                rest.end..rest.end
            }
        };
        Some((outcome, (api, key, next, None)))
    })
}

/// What tells one output from another.
struct Validators {
    tag: ETag,
    modified: LastModified,
}

enum Judged {
    Send,
    NotModified,
}

impl Validators {
    fn of(job: &Job, output: &Output) -> Answer<Self> {
        // Two jobs can have the same audio under other tags.
        let hash = blake3::hash(output.key.as_str().as_bytes());
        let text = format!("\"{}\"", &hash.to_hex()[..32]);
        let tag = text.parse().map_err(|_| Problem::internal("a tag is none"))?;
        let ended = u64::try_from(job.ended_ms.unwrap_or(job.created_ms)).unwrap_or_default();
        let modified: SystemTime = UNIX_EPOCH + Duration::from_millis(ended);
        Ok(Self { tag, modified: modified.into() })
    }

    /// Preconditions, in the order of RFC 9110 section 13.2.2.
    fn judge(&self, headers: &HeaderMap) -> Answer<Judged> {
        let holds = match headers.typed_get::<IfMatch>() {
            Some(condition) => condition.precondition_passes(&self.tag),
            None => headers
                .typed_get::<IfUnmodifiedSince>()
                .is_none_or(|condition| condition.precondition_passes(self.modified.into())),
        };
        if !holds {
            return Err(Problem::precondition_failed("the file is another one, or newer"));
        }
        let is_known = match headers.typed_get::<IfNoneMatch>() {
            Some(condition) => !condition.precondition_passes(&self.tag),
            None => headers
                .typed_get::<IfModifiedSince>()
                .is_some_and(|condition| !condition.is_modified(self.modified.into())),
        };
        Ok(if is_known { Judged::NotModified } else { Judged::Send })
    }

    /// Whether a range is of the file that the client means: `If-Range` is our tag or our date as
    /// we gave it (RFC 9110 section 13.1.5), and whatever else it is, the client gets all of the
    /// file.
    fn is_range_wanted(&self, headers: &HeaderMap) -> bool {
        let mut ours = HeaderMap::new();
        ours.typed_insert(self.tag.clone());
        ours.typed_insert(self.modified);
        let is_ours = |value| ours.values().any(|our| our == value);
        headers.get_all(header::IF_RANGE).iter().all(is_ours)
    }
}

/// The one range that is wanted, of `total` bytes; an error if it is outside. Several ranges, or
/// units that nobody knows, are ignored, as a server may.
fn range(headers: &HeaderMap, total: u64) -> Option<Result<Range<u64>, ()>> {
    let text = headers.get(header::RANGE)?.to_str().ok()?;
    let text = text.trim().strip_prefix("bytes=")?;
    if text.contains(',') {
        return None;
    }
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let suffix = position(last)?;
        return Some(if suffix == 0 || total == 0 {
            Err(())
        } else {
            Ok(total.saturating_sub(suffix)..total)
        });
    }
    let first = position(first)?;
    let last = if last.is_empty() { u64::MAX } else { position(last)? };
    if last < first {
        return None;
    }
    let end = last.saturating_add(1).min(total);
    Some(if first >= total { Err(()) } else { Ok(first..end) })
}

/// Digits and nothing else; one that is beyond all files is beyond this one.
fn position(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `Content-Disposition` (RFC 6266): the name for those who know UTF-8, and one in ASCII for
/// others.
#[must_use]
pub fn attachment(name: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_graphic() && !matches!(letter, '"' | '\\' | '%') || letter == ' ' {
            letter
        } else {
            '_'
        }
    };
    let ascii: String = name.chars().map(plain).collect();
    let encoded = utf8_percent_encode(name, ATTR_CHAR);
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let of = |text: &str, total| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().unwrap());
            range(&headers, total)
        };
        assert_eq!(of("bytes=0-9", 100), Some(Ok(0..10)));
        assert_eq!(of("bytes=90-", 100), Some(Ok(90..100)));
        assert_eq!(of("bytes=90-200", 100), Some(Ok(90..100)));
        assert_eq!(of("bytes=99-99", 100), Some(Ok(99..100)));
        assert_eq!(of("bytes=100-", 100), Some(Err(())));
        assert_eq!(of("bytes=-10", 100), Some(Ok(90..100)));
        assert_eq!(of("bytes=-1000", 100), Some(Ok(0..100)));
        assert_eq!(of("bytes=-0", 100), Some(Err(())));
        assert_eq!(of("bytes=0-", 0), Some(Err(())));
        assert_eq!(of(&format!("bytes=0-{}", u64::MAX), 100), Some(Ok(0..100)));
        let huge = "99999999999999999999";
        assert_eq!(of(&format!("bytes={huge}-"), 100), Some(Err(())));
        assert_eq!(of(&format!("bytes={huge}-{huge}"), 100), Some(Err(())));
        assert_eq!(of(&format!("bytes=5-{huge}"), 100), Some(Ok(5..100)));
        assert_eq!(of(&format!("bytes=-{huge}"), 100), Some(Ok(0..100)));
        for ignored in ["bytes=5-4", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=", "bytes"] {
            assert_eq!(of(ignored, 100), None, "{ignored}");
        }
        let backwards = format!("bytes={huge}-5");
        for ignored in ["bytes=+0-1", "bytes=0-+5", "bytes=-+5", "bytes=--5", "bytes=-", &backwards]
        {
            assert_eq!(of(ignored, 100), None, "{ignored}");
        }
    }

    #[test]
    fn names_reach_the_disk_and_no_header() {
        assert_eq!(
            attachment("a b.mp3"),
            "attachment; filename=\"a b.mp3\"; filename*=UTF-8''a%20b.mp3"
        );
        assert_eq!(
            attachment("Grü\"ße\r\n.mp3"),
            "attachment; filename=\"Gr___e__.mp3\"; filename*=UTF-8''Gr%C3%BC%22%C3%9Fe%0D%0A.mp3"
        );
    }
}

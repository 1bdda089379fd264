//! The routes of tus 1.0 (<https://tus.io/protocols/resumable-upload>), with creation, termination,
//! expiration and checksum.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tonemill_job::{JobId, ObjectKey, chain};
use tonemill_ledger::sweep::remove_upload;
use tonemill_ledger::uploads::{MAX_UPLOADS, NewUpload, Upload, UploadBegun, UploadKind};
use tracing::Instrument as _;

use crate::Api;
use crate::auth::{Caller, Scope, no_user};
use crate::extract::Id;
use crate::jobs::intake::{most_bytes, too_large};
use crate::jobs::quotas::over_quota;
use crate::jobs::request::clean_file_name;
use crate::names::{OverriddenMethod, TusVersion};
use crate::problem::{Answer, Problem};
use crate::uploads::checksum::{Checksum, NAMES};
use crate::uploads::writer::{write, wrong_offset};
use crate::uploads::{LIFETIME, ms, no_upload};

/// The version of the protocol.
const VERSION: &str = "1.0.0";
/// What of it we have beside the core.
const EXTENSIONS: &str = "creation,termination,expiration,checksum";
/// Longest `Upload-Metadata`, in bytes.
const MAX_METADATA_BYTES: usize = 16 << 10;
/// Tells it with every answer.
const VERSION_HEADERS: [(HeaderName, HeaderValue); 1] =
    [(HeaderName::from_static("tus-resumable"), HeaderValue::from_static(VERSION))];

/// Begin a resumable upload (tus: creation).
#[utoipa::path(
    post, path = "/v1/uploads", tag = "Uploads", operation_id = "create_upload",
    params(
        ("Tus-Resumable" = inline(Option<TusVersion>), Header, description = "The version of tus"),
        ("Upload-Length" = u64, Header, minimum = 1, description = "Bytes of the whole upload"),
        ("Upload-Metadata" = Option<String>, Header, max_length = 16384,
         pattern = "^([!-+.-~-]+( ([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?)?(,[!-+.-~-]+( ([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?)?)*)?$",
         description = "`filename` and a name in Base64"),
    ),
    responses(
        (status = 201, description = "It may come",
         headers(("Location" = String, description = "Where it goes on"))),
        (status = 400, description = "No Upload-Length, or a header makes no sense"),
        (status = 412, description = "Another version of tus"),
        (status = 413, description = "Too large"),
        (status = 429, description = "Over a quota"),
    )
)]
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
) -> Answer<Response> {
    caller.may(Scope::Write)?;
    check_version(&headers)?;
    let total_bytes = number(&headers, "Upload-Length")?
        .ok_or_else(|| Problem::bad_request("say how long the upload is").field("Upload-Length"))?;
    let most = most_bytes(&api);
    if total_bytes > most {
        return Err(too_large(most).field("Upload-Length"));
    }
    if total_bytes == 0 {
        return Err(Problem::bad_request("the upload is empty").field("Upload-Length"));
    }
    let metadata = metadata(&headers)?;
    let id = JobId::new();
    let key = ObjectKey::upload(id);
    api.check_room(&caller, total_bytes).await?;
    let parts = api.store.begin_parts(&key, "application/octet-stream").await?;
    let new = NewUpload {
        id,
        user: caller.user.id,
        kind: UploadKind::Resumable,
        key: key.clone(),
        parts: Some(parts.clone()),
        file_name: clean_file_name(&file_name(&metadata)),
        metadata,
        total_bytes,
        lifetime_ms: ms(LIFETIME),
    };
    let begun = api.begin(&new).await;
    if begun.is_err()
        && let Err(error) = api.store.abort_parts(&key, &parts).await
    {
        tracing::debug!(error = chain(&error), "a refused upload stays for now");
    }
    begun?;
    let headers = [
        (header::LOCATION, format!("/v1/uploads/{id}")),
        (HeaderName::from_static("upload-expires"), expires(api.ledger.now_ms() + ms(LIFETIME))),
    ];
    Ok((StatusCode::CREATED, VERSION_HEADERS, headers).into_response())
}

/// How far a resumable upload is.
#[utoipa::path(
    head, path = "/v1/uploads/{id}", operation_id = "look_at_upload", tag = "Uploads",
    params(
        ("id" = String, Path, format = Uuid, description = "The upload"),
        ("Tus-Resumable" = inline(Option<TusVersion>), Header, description = "The version of tus"),
    ),
    responses(
        (status = 200, description = "Upload-Offset says how far",
         headers(("Upload-Offset" = u64, description = "Bytes that are there"))),
        (status = 404, description = "There is no such upload"),
        (status = 412, description = "Another version of tus"),
    )
)]
pub async fn look(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
    headers: HeaderMap,
) -> Answer<Response> {
    caller.may(Scope::Write)?;
    check_version(&headers)?;
    let upload = resumable(api.own_upload(&caller, id).await?)?;
    let mut headers = progress(upload.received_bytes, upload.expires_ms);
    insert(&mut headers, "upload-length", &upload.total_bytes.to_string());
    if !upload.metadata.is_empty() {
        insert(&mut headers, "upload-metadata", &upload.metadata);
    }
    insert(&mut headers, "cache-control", "no-store");
    Ok((StatusCode::OK, VERSION_HEADERS, headers).into_response())
}

/// Go on with a resumable upload.
#[utoipa::path(
    patch, path = "/v1/uploads/{id}", operation_id = "append_to_upload", tag = "Uploads",
    params(
        ("id" = String, Path, format = Uuid, description = "The upload"),
        ("Tus-Resumable" = inline(Option<TusVersion>), Header, description = "The version of tus"),
        ("Upload-Offset" = u64, Header, description = "Bytes that are there"),
        ("Upload-Checksum" = Option<String>, Header,
         pattern = "^(sha1 [A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]=|sha256 [A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=|sha512 [A-Za-z0-9+/]{85}[AQgw]==)$",
         description = "Of this request's bytes: the name of an algorithm, and its sum in Base64"),
    ),
    request_body(content = [u8], content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "Upload-Offset says how far it is now",
         headers(("Upload-Offset" = u64, description = "Bytes that are there"))),
        (status = 404, description = "There is no such upload"),
        (status = 409, description = "It goes on somewhere else"),
        (status = 412, description = "Another version of tus"),
        (status = 415, description = "Neither video nor audio, or not a body of tus"),
        (status = 423, description = "Another request writes to it"),
        (status = 460, description = "The checksum is another"),
    )
)]
pub async fn append(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
    request: Request,
) -> Answer<Response> {
    caller.may(Scope::Write)?;
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    check_version(&headers)?;
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if kind != Some(b"application/offset+octet-stream") {
        return Err(Problem::unsupported("send application/offset+octet-stream"));
    }
    let offset = number(&headers, "Upload-Offset")?.ok_or_else(|| {
        Problem::bad_request("say where the upload goes on").field("Upload-Offset")
    })?;
    let checksum = Checksum::expected_by(&headers)?;
    let upload = resumable(api.own_upload(&caller, id).await?)?;
    if offset != upload.received_bytes {
        return Err(wrong_offset(upload.received_bytes));
    }
    let expires_ms = upload.expires_ms;
    let received = if upload.finished {
        upload.received_bytes
    } else {
        // In a task of its own: what came before a connection broke is kept.
        let writing = async move { write(&api, upload, body, checksum).await };
        tokio::spawn(writing.in_current_span()).await.map_err(|error| Problem::defect(&error))??
    };
    Ok((StatusCode::NO_CONTENT, VERSION_HEADERS, progress(received, expires_ms)).into_response())
}

/// Give a resumable upload up (tus: termination).
#[utoipa::path(
    delete, path = "/v1/uploads/{id}", operation_id = "give_up_upload", tag = "Uploads",
    params(
        ("id" = String, Path, format = Uuid, description = "The upload"),
        ("Tus-Resumable" = inline(Option<TusVersion>), Header, description = "The version of tus"),
    ),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "There is no such upload"),
        (status = 412, description = "Another version of tus"),
    )
)]
pub async fn give_up(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
    headers: HeaderMap,
) -> Answer<Response> {
    caller.may(Scope::Write)?;
    check_version(&headers)?;
    let upload = api.own_upload(&caller, id).await?;
    match upload.kind {
        UploadKind::Resumable => {}
        UploadKind::Direct => {
            // Its address is good for a while yet, and what comes there counts.
            api.ledger.give_up_direct(upload.id).await?;
            return Ok((StatusCode::NO_CONTENT, VERSION_HEADERS).into_response());
        }
        UploadKind::GivenUp | UploadKind::Accepted => return Err(no_upload()),
    }
    if !api.ledger.drop_upload(&upload).await? {
        return Err(no_upload());
    }
    if let Err(error) = remove_upload(&*api.store, &upload).await {
        // Swept later.
        tracing::debug!(error = chain(&error), "an upload that was given up stays for now");
    }
    Ok((StatusCode::NO_CONTENT, VERSION_HEADERS).into_response())
}

/// For clients that cannot send HEAD, PATCH or DELETE: as if they had, with all that belongs to it.
#[utoipa::path(
    post, path = "/v1/uploads/{id}", operation_id = "override_method", tag = "Uploads",
    params(
        ("id" = String, Path, format = Uuid, description = "The upload"),
        ("X-HTTP-Method-Override" = inline(OverriddenMethod), Header, description = "The method meant"),
        ("Tus-Resumable" = inline(Option<TusVersion>), Header, description = "The version of tus"),
    ),
    request_body(content = [u8], content_type = "application/offset+octet-stream"),
    responses(
        (status = 200, description = "As HEAD"),
        (status = 204, description = "As PATCH or DELETE"),
        (status = 404, description = "There is no such upload"),
        (status = 409, description = "It goes on somewhere else"),
        (status = 412, description = "Another version of tus"),
        (status = 423, description = "Another request writes to it"),
        (status = 460, description = "The checksum is another"),
    )
)]
pub async fn instead(
    State(api): State<Api>,
    caller: Caller,
    id: Id<JobId>,
    request: Request,
) -> Answer<Response> {
    let headers = request.headers().clone();
    let method = headers.get("x-http-method-override").map(HeaderValue::as_bytes);
    match method {
        Some(b"PATCH") => append(State(api), caller, id, request).await,
        Some(b"DELETE") => give_up(State(api), caller, id, headers).await,
        Some(b"HEAD") => look(State(api), caller, id, headers).await,
        _ => {
            let why = "POST stands for HEAD, PATCH or DELETE here: say which";
            Err(Problem::bad_request(why).field("X-HTTP-Method-Override"))
        }
    }
}

/// What an answer of tus has whatever it says.
pub(crate) fn speak_tus(status: StatusCode, headers: &mut HeaderMap) {
    insert(headers, "tus-resumable", VERSION);
    if status == StatusCode::PRECONDITION_FAILED {
        insert(headers, "tus-version", VERSION);
    }
}

/// What of tus there is, for `OPTIONS`.
pub(crate) fn abilities(api: &Api) -> Response {
    let mut headers = HeaderMap::new();
    insert(&mut headers, "tus-version", VERSION);
    insert(&mut headers, "tus-extension", EXTENSIONS);
    insert(&mut headers, "tus-max-size", &most_bytes(api).to_string());
    insert(&mut headers, "tus-checksum-algorithm", NAMES);
    (StatusCode::NO_CONTENT, VERSION_HEADERS, headers).into_response()
}

impl Api {
    /// Writes an upload down that is to come, if there is room for it.
    pub(super) async fn begin(&self, new: &NewUpload) -> Answer<()> {
        match self.ledger.begin_upload(new).await? {
            UploadBegun::Begun => Ok(()),
            UploadBegun::OverQuota(over) => Err(over_quota(over)),
            UploadBegun::TooMany => Err(Problem::over_quota(format!(
                "you have {MAX_UPLOADS} uploads that are no jobs yet: finish or delete some"
            ))),
            UploadBegun::NoUser => Err(no_user()),
        }
    }
}

fn resumable(upload: Upload) -> Answer<Upload> {
    if upload.kind == UploadKind::Resumable { Ok(upload) } else { Err(no_upload()) }
}

fn check_version(headers: &HeaderMap) -> Answer<()> {
    let version = headers.get("tus-resumable").and_then(|version| version.to_str().ok());
    // Clients that are not of tus but know HTTP may do without.
    if version.is_none_or(|version| version == VERSION) {
        return Ok(());
    }
    Err(Problem::precondition_failed("this is tus 1.0.0").field("Tus-Resumable"))
}

fn number(headers: &HeaderMap, name: &'static str) -> Answer<Option<u64>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    // Rust takes a sign as well.
    let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.to_str().ok().filter(is_number).and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Problem::bad_request("this is no number").field(name))
}

/// Pairs of a key and a text in Base64, as they were sent.
fn metadata(headers: &HeaderMap) -> Answer<String> {
    let Some(value) = headers.get("upload-metadata") else { return Ok(String::new()) };
    let invalid = |why| Problem::bad_request(why).field("Upload-Metadata");
    let text = value.to_str().map_err(|_| invalid("this is no text"))?;
    if text.len() > MAX_METADATA_BYTES {
        return Err(invalid("this is too long"));
    }
    let is_pair = |pair: &str| {
        let mut words = pair.trim().split(' ');
        let has_key = words.next().is_some_and(|key| !key.is_empty());
        let has_text = words.next().is_none_or(|text| BASE64_STANDARD.decode(text).is_ok());
        has_key && has_text && words.next().is_none()
    };
    if !text.is_empty() && !text.split(',').all(is_pair) {
        return Err(invalid("keys and texts in Base64, separated by commas"));
    }
    Ok(text.to_owned())
}

/// `filename` of the metadata, as the clients of tus have it.
fn file_name(metadata: &str) -> String {
    let mut pairs = metadata.split(',').filter_map(|pair| pair.trim().split_once(' '));
    let encoded = pairs.find(|(key, _)| matches!(*key, "filename" | "name"));
    let name = encoded.and_then(|(_, text)| BASE64_STANDARD.decode(text).ok());
    name.map(|name| String::from_utf8_lossy(&name).into_owned()).unwrap_or_default()
}

fn progress(received_bytes: u64, expires_ms: i64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    insert(&mut headers, "upload-offset", &received_bytes.to_string());
    insert(&mut headers, "upload-expires", &expires(expires_ms));
    headers
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A date as HTTP has it (RFC 9110 section 5.6.7).
fn expires(ms: i64) -> String {
    let seconds = u64::try_from(ms / 1000).unwrap_or_default();
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

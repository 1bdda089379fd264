//! An upload becomes a job: `POST /v1/jobs`.
//!
//! The body is the video itself, a form with the video in it, or JSON that names an upload that is
//! there already. It goes past us into the store, and the job is written down when it is all there:
//! whoever gets a 201 has a job that will be done.
//!
//! With an `Idempotency-Key` a request can be repeated without fear (draft-ietf-httpapi-idempotency-
//! key-header): it is known by its key, and to be the same by the hash of its options and its bytes.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest as _, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use tonemill_job::{JobId, ObjectKey, chain};
use tonemill_ledger::accept::{KnownRequest, MAX_IDEMPOTENCY_KEY_BYTES};
use tonemill_ledger::{Acceptance, Idempotency, NewJob, OverQuota};
use uuid::Uuid;

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::body::{broken, small_body};
use crate::jobs::intake::{TakenIn, take_in, too_large};
use crate::jobs::request::{JobRequest, clean_file_name};
use crate::jobs::view::JobView;
use crate::problem::{Answer, Problem};

/// Longest field of a form, apart from the file, in bytes.
const MAX_FIELD_BYTES: usize = 128 << 10;
/// Most fields of a form.
const MAX_FIELDS: usize = 100;

/// The form of an upload.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "for the documentation")]
struct UploadForm {
    /// The video. Further fields are the options, by their names.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// All options at once, in JSON.
    options: Option<JobRequest>,
}

/// Submit a video: the body is the video (options in the query), a form with a field `file`, or JSON
/// that names a finished upload.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "Jobs", operation_id = "create_job",
    params(
        JobRequest,
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 190,
         pattern = "^[!-~]([ -~]*[!-~])?$",
         description = "Makes the request safe to repeat: the same key and request give the same job"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context"),
    ),
    request_body(content(
        (UploadForm = "multipart/form-data"),
        (JobRequest = "application/json"),
        ([u8] = "application/octet-stream"),
    )),
    responses(
        (status = 201, description = "Accepted: it will be done", body = JobView,
         headers(("Location" = String, description = "The job"))),
        (status = 200, description = "It was accepted before, under the same key", body = JobView),
        (status = 404, description = "There is no such upload", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "The same key is being used by another request, or the upload \
         is not whole", body = Problem,
         content_type = "application/problem+json"),
        (status = 413, description = "The upload is too large", body = Problem,
         content_type = "application/problem+json"),
        (status = 415, description = "Neither video nor audio", body = Problem,
         content_type = "application/problem+json"),
        (status = 422, description = "An option is not valid", body = Problem,
         content_type = "application/problem+json"),
        (status = 429, description = "Over a quota", body = Problem,
         content_type = "application/problem+json"),
    )
)]
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    request: Request,
) -> Answer<Response> {
    caller.may(Scope::Write)?;
    let (job, known) = api.submit(&caller, query, &headers, request).await?;
    let view = api.view_of(&caller, job).await?;
    let location = format!("/v1/jobs/{job}");
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, [(header::LOCATION, location)], Json(view)).into_response())
}

impl Api {
    /// Takes an upload in and accepts its job; whether it was known before.
    pub(crate) async fn submit(
        &self,
        caller: &Caller,
        query: Vec<(String, String)>,
        headers: &HeaderMap,
        request: Request,
    ) -> Answer<(JobId, bool)> {
        let mut query: Vec<_> = query;
        query.retain(|(name, _)| name != "access_token");
        let key = idempotency_key(headers)?;
        // Two requests of one key at once, in this process: the second comes again later.
        let _busy = match &key {
            Some(key) => Some(self.busy_keys.enter(caller.user.id, key)?),
            None => None,
        };
        let id = JobId::new();
        let input = ObjectKey::upload(id);
        let kind = content_type(headers);
        let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let traceparent = traceparent.filter(|value| value.len() <= 64).map(str::to_owned);
        if kind == "application/json" {
            if let Some((name, _)) = query.into_iter().next() {
                let why = "options come in the JSON or in the query, not both";
                return Err(Problem::invalid(why).field(name));
            }
            let body = small_body(request).await?;
            let request = JobRequest::from_json(&body)?;
            return self.submit_upload(caller, request, key, traceparent).await;
        }
        let is_form = kind == "multipart/form-data";
        if !self.is_known(caller, key.as_deref()).await? {
            // A form is longer than its file.
            let other = if is_form { MAX_FIELDS as u64 * MAX_FIELD_BYTES as u64 } else { 0 };
            let declared = declared_bytes(headers).map(|bytes| bytes.saturating_sub(other));
            self.check_room(caller, declared).await?;
        }
        let (request, taken) = if is_form {
            self.take_form(&input, query, request).await?
        } else {
            self.take_body(&input, query, headers, request).await?
        };
        let new = NewJob {
            id,
            user: caller.user.id,
            lane: request.lane,
            label: request.label.clone(),
            file_name: clean_file_name(request.file_name.as_deref().unwrap_or_default()),
            media: taken.media.to_owned(),
            options: request.options(),
            traceparent,
            input: input.clone(),
            input_bytes: taken.bytes,
            input_blake3: Some(taken.blake3),
            is_upload: false,
        };
        let accepted = self.accept(&new, key).await;
        let is_kept = matches!(accepted, Ok((_, false)));
        // Where the ledger did not answer, the job may be there: a sweep finds out.
        let is_refused = match &accepted {
            Ok((_, known)) => *known,
            Err(problem) => problem.status < 500,
        };
        if !is_kept && is_refused {
            self.forget_object(&input).await;
        }
        accepted
    }

    /// Writes the job down.
    pub(crate) async fn accept(&self, new: &NewJob, key: Option<String>) -> Answer<(JobId, bool)> {
        let request_hash = request_hash(new)?;
        let idempotency = key.map(|key| Idempotency { key, request_hash: request_hash.clone() });
        match self.ledger.accept(new, idempotency.as_ref()).await? {
            Acceptance::Accepted => {
                metrics::counter!("tonemill_jobs_accepted_total", "lane" => new.lane.name())
                    .increment(1);
                Ok((new.id, false))
            }
            Acceptance::Known(KnownRequest { job, request_hash: before })
                if before == request_hash =>
            {
                Ok((job, true))
            }
            Acceptance::Known(_) => Err(Problem::key_reused(
                "this Idempotency-Key was used for another file or other options",
            )
            .field("Idempotency-Key")),
            Acceptance::OverQuota(over) => Err(over_quota(over)),
            Acceptance::NoUpload => Err(Problem::conflict("the upload is not there any more")),
            Acceptance::NoUser => Err(Problem::unauthorized("this user may not log in any more")),
        }
    }

    /// Whether a request came before: then what it needs room for is there already.
    async fn is_known(&self, caller: &Caller, key: Option<&str>) -> Answer<bool> {
        let Some(key) = key else { return Ok(false) };
        Ok(self.ledger.known_request(caller.user.id, key).await?.is_some())
    }

    /// Refuses what the quotas have no room for before it is sent. What is accepted in the end is
    /// decided when the job is written down.
    pub(crate) async fn check_room(&self, caller: &Caller, bytes: Option<u64>) -> Answer<()> {
        let bytes = bytes.unwrap_or(0);
        if bytes > self.config.max_upload_bytes {
            return Err(too_large(self.config.max_upload_bytes));
        }
        let usage = self.ledger.usage(caller.user.id).await?;
        match usage.and_then(|(usage, quotas)| quotas.exceeded_by(usage, bytes)) {
            Some(over) => Err(over_quota(over)),
            None => Ok(()),
        }
    }

    async fn take_body(
        &self,
        input: &ObjectKey,
        query: Vec<(String, String)>,
        headers: &HeaderMap,
        request: Request,
    ) -> Answer<(JobRequest, TakenIn)> {
        let mut wanted = JobRequest::from_fields(query)?;
        refuse_upload(&wanted)?;
        if wanted.file_name.is_none() {
            wanted.file_name = disposition_file_name(headers);
        }
        let body = request.into_body().into_data_stream();
        let most = self.config.max_upload_bytes;
        let taken = take_in(&*self.store, input, body, most, |error| broken(error)).await?;
        Ok((wanted, taken))
    }

    async fn take_form(
        &self,
        input: &ObjectKey,
        query: Vec<(String, String)>,
        request: Request<Body>,
    ) -> Answer<(JobRequest, TakenIn)> {
        let mut form = Multipart::from_request(request, &())
            .await
            .map_err(|error| Problem::bad_request(error.body_text()))?;
        let mut fields = query;
        let mut json = None;
        let mut taken = None;
        let outcome = async {
            while let Some(field) = form.next_field().await.map_err(|error| form_broken(&error))? {
                let name = field.name().unwrap_or_default().to_owned();
                if name == "file" || field.file_name().is_some() && name != "options" {
                    if taken.is_some() {
                        return Err(Problem::bad_request("one file at a time").field(name));
                    }
                    if let Some(name) = field.file_name() {
                        fields.push(("file_name".to_owned(), name.to_owned()));
                    }
                    let most = self.config.max_upload_bytes;
                    let body = field.map(|chunk| chunk);
                    let taking = take_in(&*self.store, input, body, most, form_broken).await?;
                    taken = Some(taking);
                } else if name == "options" {
                    json = Some(text(field).await?);
                } else {
                    fields.push((name, text(field).await?));
                }
                if fields.len() > MAX_FIELDS {
                    return Err(Problem::too_large("the form has too many fields"));
                }
            }
            wanted(json.as_deref(), std::mem::take(&mut fields))
        };
        let wanted = match outcome.await {
            Ok(wanted) => wanted,
            Err(problem) => {
                if taken.is_some() {
                    self.forget_object(input).await;
                }
                return Err(problem);
            }
        };
        let taken = taken
            .ok_or_else(|| Problem::bad_request("the form has no field \"file\"").field("file"))?;
        Ok((wanted, taken))
    }

    /// Removes what nobody needs; what cannot be removed now is swept later.
    pub(crate) async fn forget_object(&self, key: &ObjectKey) {
        if let Err(error) = self.store.delete(key).await {
            tracing::debug!(error = chain(&error), "an upload that nobody needs stays for now");
        }
    }
}

/// What a form asks for: all at once in `options`, or field by field.
fn wanted(json: Option<&str>, fields: Vec<(String, String)>) -> Answer<JobRequest> {
    let Some(json) = json else {
        let request = JobRequest::from_fields(fields)?;
        refuse_upload(&request)?;
        return Ok(request);
    };
    let mut request = JobRequest::from_json(json.as_bytes())?;
    refuse_upload(&request)?;
    for (name, text) in fields {
        match name.as_str() {
            "file_name" => request.file_name = request.file_name.or(Some(text)),
            _ => {
                let why = "options come in the field \"options\" or one by one, not both";
                return Err(Problem::invalid(why).field(name));
            }
        }
    }
    Ok(request)
}

fn refuse_upload(request: &JobRequest) -> Answer<()> {
    match request.upload {
        None => Ok(()),
        Some(_) => {
            Err(Problem::invalid("an upload is named in JSON, without a body").field("upload"))
        }
    }
}

async fn text(mut field: Field<'_>) -> Answer<String> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| form_broken(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_FIELD_BYTES {
            return Err(Problem::too_large("a field of the form is too long").field(name));
        }
    }
    String::from_utf8(bytes).map_err(|_| Problem::bad_request("a field is no UTF-8").field(name))
}

fn form_broken(error: &axum::extract::multipart::MultipartError) -> Problem {
    let problem = broken(error);
    // What the form itself has wrong is worth telling.
    if problem.status == 400 { Problem::bad_request(error.body_text()) } else { problem }
}

/// What makes two requests the same: the bytes and what is to become of them.
fn request_hash(new: &NewJob) -> Answer<String> {
    let NewJob { lane, label, file_name, options, input_bytes, input_blake3, .. } = new;
    let all = (lane, label, file_name, options, input_bytes, input_blake3);
    let json = serde_json::to_vec(&all).map_err(|error| Problem::defect(&error))?;
    Ok(blake3::hash(&json).to_hex().to_string())
}

fn idempotency_key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let invalid = |why| Problem::bad_request(why).field("Idempotency-Key");
    let text = value.to_str().map_err(|_| invalid("the key is no text"))?;
    // A structured string has quotes (RFC 9651 section 3.3.3); many clients leave them away.
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() || text.len() > MAX_IDEMPOTENCY_KEY_BYTES {
        return Err(invalid("the key has 1 to 190 characters"));
    }
    Ok(Some(text.to_owned()))
}

fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn content_type(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

/// The file name in `Content-Disposition` (RFC 6266), in its plain form.
fn disposition_file_name(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_DISPOSITION)?.to_str().ok()?;
    let parameter = |name: &str| {
        let mut parameters = text.split(';').skip(1).map(str::trim);
        parameters.find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
        })
    };
    let extended = parameter("filename*").and_then(|value| {
        let encoded = value.strip_prefix("UTF-8''").or_else(|| value.strip_prefix("utf-8''"))?;
        percent_encoding::percent_decode_str(encoded).decode_utf8().ok().map(String::from)
    });
    extended.or_else(|| parameter("filename").map(str::to_owned))
}

pub(crate) fn over_quota(over: OverQuota) -> Problem {
    let minute = std::time::Duration::from_mins(1);
    metrics::counter!("tonemill_quota_refusals_total").increment(1);
    match over {
        OverQuota::UnfinishedJobs { limit } => {
            let why = format!("you may have {limit} unfinished jobs: wait for some to finish");
            Problem::over_quota(why).retry_after(minute)
        }
        OverQuota::StoredBytes { limit } => {
            let why = format!("you may have {limit} bytes stored: delete jobs that are done");
            Problem::over_quota(why).retry_after(minute)
        }
        OverQuota::DailyAudio { limit_ms, day_ends_in_ms } => {
            let minutes = limit_ms / 60_000;
            let why = format!("you may have {minutes} minutes of audio a day (UTC)");
            let pause = std::time::Duration::from_millis(day_ends_in_ms);
            Problem::over_quota(why).retry_after(pause)
        }
    }
}

/// Idempotency keys of requests that are being answered.
#[derive(Debug, Default)]
pub struct BusyKeys(Mutex<HashSet<(Uuid, String)>>);

impl BusyKeys {
    fn enter(&self, user: Uuid, key: &str) -> Answer<Busy<'_>> {
        let entry = (user, key.to_owned());
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(entry.clone()) {
            let why = "a request with this Idempotency-Key is under way";
            let pause = std::time::Duration::from_secs(1);
            return Err(Problem::conflict(why).field("Idempotency-Key").retry_after(pause));
        }
        Ok(Busy { keys: self, entry })
    }
}

/// Lets the next request of a key in when it is dropped.
struct Busy<'a> {
    keys: &'a BusyKeys,
    entry: (Uuid, String),
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.entry);
    }
}

//! An upload becomes a job: `POST /v1/jobs`.
//!
//! The body is the video itself, a form with the video in it, or JSON that names an upload that is
//! there already. It goes past us into the store, and the job is written down when it is all there:
//! whoever gets a 201 has a job that will be done.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize as _;
use tokio::time::timeout;
use tonemill_job::objects::StoreError;
use tonemill_job::{JobId, JobOptions, ObjectKey, chain};
use tonemill_ledger::accept::KnownRequest;
use tonemill_ledger::card::Card;
use tonemill_ledger::{Acceptance, Idempotency, Job, NewJob};
use tonemill_telemetry::trace;
use tracing::Instrument as _;

use crate::Api;
use crate::auth::{Caller, Scope, no_user};
use crate::body::{broken, small_body};
use crate::jobs::disposition;
use crate::jobs::form::{self, UploadForm, refuse_upload};
use crate::jobs::idempotency::{idempotency_key, request_hash};
use crate::jobs::intake::{TakenIn, take_in};
use crate::jobs::quotas::over_quota;
use crate::jobs::request::{JobRequest, clean_file_name};
use crate::jobs::view::{JobView, JobWebhookView};
use crate::problem::{Answer, Problem};

/// How long an answer waits for the store to take a job's card.
const CARD: Duration = Duration::from_secs(5);

/// Submit a video: the body is the video (options in the query), a form with a field `file`, or
/// JSON that names a finished upload.
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
        (status = 200, description = "It was accepted before, under the same key or of the same \
         upload", body = JobView),
        (status = 404, description = "There is no such upload"),
        (status = 409, description = "The same key is being used by another request, or the upload \
         is not whole, or a job already, with other options"),
        (status = 413, description = "The upload is too large"),
        (status = 415, description = "Neither video nor audio"),
        (status = 422, description = "An option is not valid"),
        (status = 429, description = "Over a quota"),
    )
)]
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
    request: Request,
) -> Answer<Response> {
    caller.may(Scope::Write)?;
    let Submitted { id, new } = api.submit(&caller, query, request).await?;
    let seen = api.view_of(&caller, id).await;
    let (status, view) = match new {
        // It is accepted, whatever happens now: an error would have it sent again.
        Some(new) => {
            let mut view = seen.unwrap_or_else(|_| JobView::accepted(&new, api.ledger.now_ms()));
            view.webhook = new.webhook.map(JobWebhookView::from);
            (StatusCode::CREATED, view)
        }
        None => {
            let mut view = seen?;
            view.webhook = api.job_webhook(&caller, id).await?;
            (StatusCode::OK, view)
        }
    };
    let location = format!("/v1/jobs/{id}");
    // No cache keeps a webhook's secret.
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((status, headers, Json(view)).into_response())
}

/// What became of a request for a job.
pub(crate) struct Submitted {
    pub id: JobId,
    /// The job, if it was accepted now and not before.
    pub new: Option<Box<NewJob>>,
}

impl Api {
    /// Takes an upload in and accepts its job.
    pub(crate) async fn submit(
        &self,
        caller: &Caller,
        mut query: Vec<(String, String)>,
        request: Request,
    ) -> Answer<Submitted> {
        query.retain(|(name, _)| name != "access_token");
        let (api, caller) = (self.clone(), caller.clone());
        // In a task of its own: of a client that goes away in the middle nothing is left.
        let submitting = async move {
            let way = match content_type(request.headers()).as_str() {
                // It came before, and is counted by what it is.
                "application/json" => None,
                "multipart/form-data" => Some("form"),
                _ => Some("body"),
            };
            let submitted = api.submit_body(&caller, query, request).await;
            way.inspect(|way| count_upload(way, &submitted));
            submitted
        };
        let submitted = tokio::spawn(submitting.in_current_span()).await;
        submitted.map_err(|error| Problem::defect(&error))?
    }

    async fn submit_body(
        &self,
        caller: &Caller,
        query: Vec<(String, String)>,
        request: Request,
    ) -> Answer<Submitted> {
        let headers = request.headers();
        let key = idempotency_key(headers)?;
        let _busy = match &key {
            Some(key) => Some(self.busy_keys.enter(caller.user.id, key)?),
            None => None,
        };
        let traceparent = trace::traceparent();
        let id = JobId::new();
        let input = ObjectKey::upload(id);
        let (request, taken) = match content_type(headers).as_str() {
            "application/json" => {
                if let Some((name, _)) = query.into_iter().next() {
                    let why = "options come in the JSON or in the query, not both";
                    return Err(Problem::invalid(why).field(name));
                }
                let request = JobRequest::from_json(&small_body(request).await?)?;
                return self.submit_upload(caller, request, key, traceparent).await;
            }
            "multipart/form-data" => {
                self.expect(caller, key.as_deref(), headers, form::MAX_OTHER_BYTES).await?;
                self.take_form(caller.user.id, &input, query, request).await?
            }
            _ => {
                self.expect(caller, key.as_deref(), headers, 0).await?;
                self.take_body(caller, &input, query, request).await?
            }
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
            webhook: request.webhook()?,
        };
        let accepted = self.accept(caller, &new, key).await;
        let is_needless = match &accepted {
            Ok(submitted) => submitted.new.is_none(),
            // Where the ledger did not answer, the job may be there: a sweep finds out.
            Err(problem) => problem.status < 500,
        };
        if is_needless {
            self.forget_object(&input).await;
        }
        accepted
    }

    /// Writes the job down, and its card beside its upload.
    pub(crate) async fn accept(
        &self,
        caller: &Caller,
        new: &NewJob,
        key: Option<String>,
    ) -> Answer<Submitted> {
        let request_hash = request_hash(new)?;
        let idempotency = key.map(|key| Idempotency { key, request_hash });
        match self.ledger.accept(new, idempotency.as_ref()).await? {
            Acceptance::Accepted => {
                metrics::counter!("tonemill_jobs_accepted_total", "lane" => new.lane.name())
                    .increment(1);
                let card = Card::of(new, &caller.user.name, idempotency);
                put_card(new.id, card.put(&*self.store)).await;
                Ok(Submitted { id: new.id, new: Some(Box::new(new.clone())) })
            }
            Acceptance::Known(known) => self.of_key(caller, &known, idempotency).await,
            Acceptance::OverQuota(over) => Err(over_quota(over)),
            // Another request has made it a job in this moment, or nobody.
            Acceptance::NoUpload => match self.ledger.job(caller.own(), new.id).await? {
                Some(job) => self.of_upload(caller, new, &job).await,
                None => Err(Problem::conflict("the upload is not there any more")),
            },
            Acceptance::NoUser => Err(no_user()),
        }
    }

    /// The job of a request that came before, under the same key.
    pub(crate) async fn of_key(
        &self,
        caller: &Caller,
        known: &KnownRequest,
        request: Option<Idempotency>,
    ) -> Answer<Submitted> {
        if request.as_ref().is_none_or(|request| request.request_hash != known.request_hash) {
            let why = "this Idempotency-Key was used for another file or other options";
            return Err(Problem::key_reused(why).field("Idempotency-Key"));
        }
        if let Some(job) = self.ledger.job(caller.own(), known.job).await? {
            self.put_missing_card(caller, &job, request).await;
        }
        Ok(Submitted { id: known.job, new: None })
    }

    /// Who accepted the job may have died before it could put its card.
    async fn put_missing_card(&self, caller: &Caller, job: &Job, request: Option<Idempotency>) {
        if let Some(card) = Card::of_known(job, &caller.user.name, request) {
            put_card(job.id, card.put_missing(&*self.store)).await;
        }
    }

    /// Refuses a body that there is no room for before it is sent, unless its request came before:
    /// then what it needs room for is there already. `other_bytes` of it may be no upload.
    async fn expect(
        &self,
        caller: &Caller,
        key: Option<&str>,
        headers: &HeaderMap,
        other_bytes: u64,
    ) -> Answer<()> {
        if let Some(key) = key
            && self.ledger.known_request(caller.user.id, key).await?.is_some()
        {
            return Ok(());
        }
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let declared: u64 = declared.and_then(|text| text.parse().ok()).unwrap_or(0);
        self.check_room(caller, declared.saturating_sub(other_bytes)).await
    }

    async fn take_body(
        &self,
        caller: &Caller,
        input: &ObjectKey,
        query: Vec<(String, String)>,
        request: Request,
    ) -> Answer<(JobRequest, TakenIn)> {
        let mut wanted = JobRequest::from_fields(query)?;
        refuse_upload(&wanted)?;
        if wanted.file_name.is_none() {
            wanted.file_name = disposition::file_name(request.headers());
        }
        let body = request.into_body().into_data_stream();
        let taken = take_in(self, caller.user.id, input, body, |error| broken(error)).await?;
        Ok((wanted, taken))
    }

    /// The job that an upload has become, if it is the one that is asked for.
    pub(crate) async fn of_upload(
        &self,
        caller: &Caller,
        new: &NewJob,
        job: &Job,
    ) -> Answer<Submitted> {
        // What is in the ledger went through JSON, which not every fraction survives.
        let asked = serde_json::to_string(&new.options).map_err(|error| Problem::defect(&error))?;
        let asked: Option<JobOptions> = serde_json::from_str(&asked).ok();
        let webhook = self.ledger.job_webhook(job.user, job.id).await?;
        let told = webhook.as_ref().map(|webhook| (&webhook.url, &webhook.events));
        let is_same = job.lane == new.lane
            && job.label == new.label
            && job.file_name == new.file_name
            && asked == JobOptions::deserialize(&job.options).ok()
            && told == new.webhook.as_ref().map(|new| (&new.url, &new.events));
        if is_same {
            self.put_missing_card(caller, job, None).await;
            return Ok(Submitted { id: job.id, new: None });
        }
        let why =
            "the upload is a job already, with other options: upload it again for another job";
        Err(Problem::conflict(why).field("upload"))
    }

    /// Removes what nobody needs; what cannot be removed now is swept later.
    pub(crate) async fn forget_object(&self, key: &ObjectKey) {
        if let Err(error) = self.store.delete(key).await {
            tracing::debug!(error = chain(&error), "an upload that nobody needs stays for now");
        }
    }
}

/// The job is accepted, whatever becomes of its card.
async fn put_card(job: JobId, putting: impl Future<Output = Result<(), StoreError>>) {
    let failed = match timeout(CARD, putting).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("no answer within {} s", CARD.as_secs()),
    };
    tracing::warn!(
        %job,
        error = failed,
        "the job has no card: a ledger from a backup older than it will not know it"
    );
}

/// Counts what became of an upload that came this `way`.
pub(crate) fn count_upload(way: &'static str, submitted: &Answer<Submitted>) {
    let outcome = match submitted {
        Ok(submitted) if submitted.new.is_some() => "accepted",
        // It was asked for before, and counted then.
        Ok(_) => return,
        Err(problem) if problem.status < 500 => "refused",
        Err(_) => "failed",
    };
    let labels = [("way", way), ("outcome", outcome)];
    metrics::counter!("tonemill_uploads_total", &labels).increment(1);
}

fn content_type(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

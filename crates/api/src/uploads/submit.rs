//! The job of an upload that is there. It has the upload's name, so however often it is asked for,
//! there is one.

use tonemill_job::objects::StoreErrorKind;
use tonemill_job::{JobId, ObjectKey};
use tonemill_ledger::uploads::{Upload, UploadKind};
use tonemill_ledger::{Idempotency, Job, NewJob};

use crate::Api;
use crate::auth::Caller;
use crate::jobs::create::{Submitted, count_upload};
use crate::jobs::idempotency::request_hash;
use crate::jobs::intake::not_media;
use crate::jobs::request::{JobRequest, clean_file_name};
use crate::media::{HEAD_BYTES, sniff};
use crate::problem::{Answer, Problem};
use crate::uploads::no_upload;

impl Api {
    /// Accepts the job of a finished upload.
    pub(crate) async fn submit_upload(
        &self,
        caller: &Caller,
        request: JobRequest,
        key: Option<String>,
        traceparent: Option<String>,
    ) -> Answer<Submitted> {
        let id = JobId::from(request.upload.ok_or_else(|| {
            Problem::invalid("name a finished upload, or send the video itself").field("upload")
        })?);
        let upload = match self.own_upload(caller, id).await {
            Ok(upload) => upload,
            // It has become a job already: this request came before, and its answer was lost.
            Err(problem) => {
                return match self.ledger.job(caller.own(), id).await? {
                    Some(job) => self.submit_again(caller, &job, &request, key).await,
                    None => Err(problem.field("upload")),
                };
            }
        };
        let way = if upload.kind == UploadKind::Direct { "direct" } else { "tus" };
        let submitted = self.submit_own(upload, caller, &request, key, traceparent).await;
        count_upload(way, &submitted);
        submitted
    }

    async fn submit_own(
        &self,
        upload: Upload,
        caller: &Caller,
        request: &JobRequest,
        key: Option<String>,
        traceparent: Option<String>,
    ) -> Answer<Submitted> {
        let media = match upload.kind {
            UploadKind::Resumable if upload.finished => upload.media.clone().unwrap_or_default(),
            UploadKind::Resumable => return Err(not_whole(upload.received_bytes, &upload)),
            UploadKind::Direct => self.look_at(&upload).await?.to_owned(),
            UploadKind::GivenUp | UploadKind::Accepted => {
                return Err(no_upload().field("upload"));
            }
        };
        let file_name = match &request.file_name {
            Some(name) => clean_file_name(name),
            None => upload.file_name.clone(),
        };
        let new = NewJob {
            id: upload.id,
            user: caller.user.id,
            lane: request.lane,
            label: request.label.clone(),
            file_name,
            media,
            options: request.options(),
            traceparent,
            input: upload.key,
            input_bytes: upload.total_bytes,
            input_blake3: upload.blake3,
            is_upload: true,
            webhook: request.webhook()?,
        };
        self.accept(caller, &new, key).await
    }

    /// The answer to a request for the job of an upload that is one already.
    async fn submit_again(
        &self,
        caller: &Caller,
        job: &Job,
        request: &JobRequest,
        key: Option<String>,
    ) -> Answer<Submitted> {
        let named = request.file_name.as_deref().map(clean_file_name);
        let again = NewJob {
            id: job.id,
            user: job.user,
            lane: request.lane,
            label: request.label.clone(),
            // What the upload was called then is known as the job's name alone.
            file_name: named.unwrap_or_else(|| job.file_name.clone()),
            media: job.media.clone(),
            options: request.options(),
            traceparent: None,
            input: ObjectKey::upload(job.id),
            input_bytes: job.input_bytes,
            input_blake3: job.input_blake3.clone(),
            is_upload: true,
            webhook: request.webhook()?,
        };
        if let Some(key) = key
            && let Some(known) = self.ledger.known_request(job.user, &key).await?
        {
            let request = Idempotency { key, request_hash: request_hash(&again)? };
            return self.of_key(caller, &known, Some(request)).await;
        }
        self.of_upload(caller, &again, job).await
    }

    /// Looks at what came past us.
    async fn look_at(&self, upload: &Upload) -> Answer<&'static str> {
        let info = match self.store.head(&upload.key).await {
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Err(not_whole(0, upload));
            }
            outcome => outcome?,
        };
        if info.bytes != upload.total_bytes {
            return Err(not_whole(info.bytes, upload));
        }
        let head = self.store.get(&upload.key, 0..info.bytes.min(HEAD_BYTES as u64)).await?;
        sniff(&head).ok_or_else(|| not_media(info.bytes))
    }
}

fn not_whole(bytes: u64, upload: &Upload) -> Problem {
    let why = format!("the upload has {bytes} of {} bytes", upload.total_bytes);
    Problem::conflict(why).field("upload")
}

//! A job of an upload that is there already: JSON with `upload`.

use tonemill_job::JobId;

use crate::Api;
use crate::auth::Caller;
use crate::jobs::request::JobRequest;
use crate::problem::{Answer, Problem};

impl Api {
    /// Accepts the job of a finished upload.
    pub(crate) async fn submit_upload(
        &self,
        _caller: &Caller,
        request: JobRequest,
        _key: Option<String>,
        _traceparent: Option<String>,
    ) -> Answer<(JobId, bool)> {
        let _upload = request.upload.ok_or_else(|| {
            Problem::invalid("name a finished upload, or send the video itself").field("upload")
        })?;
        Err(Problem::not_found("there is no such upload").field("upload"))
    }
}

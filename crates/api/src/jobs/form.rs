//! An upload in a form (RFC 7578): the video in the field `file`, and options around it.

use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest as _, Request};
use tonemill_job::ObjectKey;
use uuid::Uuid;

use crate::Api;
use crate::body::broken;
use crate::jobs::intake::{TakenIn, take_in};
use crate::jobs::request::JobRequest;
use crate::problem::{Answer, Problem};

/// All fields of a form together, apart from the file, in bytes.
const MAX_FIELDS_BYTES: usize = 256 << 10;
/// Most fields of a form.
const MAX_FIELDS: usize = 100;
/// By how much a form may be longer than its file, in bytes: by the fields and what is between
/// them.
pub(super) const MAX_OTHER_BYTES: u64 = 1 << 20;

/// The form of an upload.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "for the documentation")]
pub(super) struct UploadForm {
    /// The video. Further fields are the options, by their names.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// All options at once, in JSON.
    options: Option<JobRequest>,
}

impl Api {
    /// Takes in the file of a form, and what is wanted of it.
    pub(super) async fn take_form(
        &self,
        user: Uuid,
        input: &ObjectKey,
        query: Vec<(String, String)>,
        request: Request,
    ) -> Answer<(JobRequest, TakenIn)> {
        let mut form = Multipart::from_request(request, &())
            .await
            .map_err(|error| Problem::bad_request(error.body_text()))?;
        let mut fields = query;
        let mut json = None;
        let mut called = None;
        let mut left_bytes = MAX_FIELDS_BYTES;
        let mut taken = None;
        let outcome = async {
            while let Some(field) = form.next_field().await.map_err(|error| form_broken(&error))? {
                let name = field.name().unwrap_or_default().to_owned();
                if name == "file" || field.file_name().is_some() && name != "options" {
                    if taken.is_some() {
                        return Err(Problem::bad_request("one file at a time").field(name));
                    }
                    called = field.file_name().map(str::to_owned);
                    taken = Some(take_in(self, user, input, field, form_broken).await?);
                } else if name == "options" {
                    if json.replace(text(field, &mut left_bytes).await?).is_some() {
                        return Err(Problem::invalid("comes twice").field(name));
                    }
                } else {
                    fields.push((name, text(field, &mut left_bytes).await?));
                }
                if fields.len() > MAX_FIELDS {
                    return Err(Problem::too_large("the form has too many fields"));
                }
            }
            let mut wanted = wanted(json.as_deref(), std::mem::take(&mut fields))?;
            // Every client names the file; who says the name besides means it.
            wanted.file_name = wanted.file_name.or(called.take());
            Ok(wanted)
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
        if name != "file_name" || request.file_name.is_some() {
            let why = "options come in the field \"options\" or one by one, not both";
            return Err(Problem::invalid(why).field(name));
        }
        request.file_name = Some(text);
    }
    Ok(request)
}

/// An upload that is there needs no body.
pub(super) fn refuse_upload(request: &JobRequest) -> Answer<()> {
    match request.upload {
        None => Ok(()),
        Some(_) => {
            Err(Problem::invalid("an upload is named in JSON, without a body").field("upload"))
        }
    }
}

async fn text(mut field: Field<'_>, left_bytes: &mut usize) -> Answer<String> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| form_broken(&error))? {
        let too_long = || Problem::too_large("the fields of the form are too long").field(&name);
        *left_bytes = left_bytes.checked_sub(chunk.len()).ok_or_else(too_long)?;
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Problem::bad_request("a field is no UTF-8").field(name))
}

fn form_broken(error: &MultipartError) -> Problem {
    let problem = broken(error);
    // What the form itself has wrong is worth telling.
    if problem.status == 400 { Problem::bad_request(error.body_text()) } else { problem }
}

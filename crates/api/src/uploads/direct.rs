//! An upload past us: an address at the store that is good for one file of one length.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tonemill_job::{JobId, ObjectKey};
use tonemill_ledger::job::MAX_FILE_NAME_BYTES;
use tonemill_ledger::uploads::{ADDRESS_VALID, NewUpload, UploadKind};
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::body::{JsonBody, check_text, whole_number};
use crate::jobs::intake::too_large;
use crate::jobs::request::clean_file_name;
use crate::jobs::view::time;
use crate::problem::{Answer, Problem};
use crate::uploads::{LIFETIME, ms};

/// The longest object of a single request at S3 and what speaks like it: 5 GiB.
const MAX_PUT_BYTES: u64 = 5 << 30;

/// A file that is to be uploaded to the store.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDirectUpload {
    /// Exactly how long it is: at most 5 GiB.
    #[serde(deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 5_368_709_120_u64)]
    bytes: u64,
    /// What it is called.
    #[serde(default)]
    #[schema(max_length = 255)]
    file_name: String,
}

/// Where to upload it.
#[derive(Serialize, ToSchema)]
pub struct DirectUpload {
    /// Name it in `POST /v1/jobs` when it is there.
    #[schema(value_type = String, format = Uuid)]
    upload: JobId,
    /// Always `PUT`.
    method: &'static str,
    /// Where to.
    url: String,
    /// Headers that the request must have.
    headers: BTreeMap<&'static str, String>,
    /// When it must have begun.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Get an address at the store to upload a file to, past the API.
#[utoipa::path(
    post, path = "/v1/uploads/direct", operation_id = "create_direct_upload", tag = "Uploads",
    request_body = NewDirectUpload,
    responses(
        (status = 201, description = "Where to upload it", body = DirectUpload),
        (status = 409, description = "The store has no addresses: upload through the API"),
        (status = 413, description = "Too large"),
        (status = 422, description = "A value is not valid"),
        (status = 429, description = "Over a quota"),
    )
)]
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    JsonBody(new): JsonBody<NewDirectUpload>,
) -> Answer<(StatusCode, [(header::HeaderName, &'static str); 1], Json<DirectUpload>)> {
    caller.may(Scope::Write)?;
    check_text("file_name", &new.file_name, MAX_FILE_NAME_BYTES)?;
    if new.bytes == 0 {
        return Err(Problem::invalid("the upload is empty").field("bytes"));
    }
    let most = api.config.max_upload_bytes.min(MAX_PUT_BYTES);
    if new.bytes > most {
        return Err(too_large(most).field("bytes"));
    }
    let id = JobId::new();
    let key = ObjectKey::upload(id);
    let url = api.store.presign_put(&key, new.bytes, ADDRESS_VALID).await?.ok_or_else(|| {
        Problem::conflict("this service's store has no addresses: upload through the API")
    })?;
    let upload = NewUpload {
        id,
        user: caller.user.id,
        kind: UploadKind::Direct,
        key,
        parts: None,
        file_name: clean_file_name(&new.file_name),
        metadata: String::new(),
        total_bytes: new.bytes,
        lifetime_ms: ms(LIFETIME),
    };
    api.begin(&upload).await?;
    let answer = DirectUpload {
        upload: id,
        method: "PUT",
        url,
        headers: [("Content-Length", new.bytes.to_string())].into(),
        expires_at: time(api.ledger.now_ms() + ms(ADDRESS_VALID)),
    };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(answer)))
}

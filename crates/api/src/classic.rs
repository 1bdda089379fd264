//! The short routes of the classic tutorial system, for its clients as they are: `POST /login` with
//! HTTP Basic answers with a token as plain text, `POST /upload` takes a form with one file,
//! `GET /download?fid=` sends the MP3. Same handlers, other answers.

use axum::extract::{Extension, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use headers::authorization::Basic;
use headers::{Authorization, HeaderMapExt as _};
use serde::Deserialize;

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::jobs::view::no_job;
use crate::problem::{Answer, Problem};
use crate::server::ClientAddress;

/// Log in with HTTP Basic; the answer is the access token.
#[utoipa::path(
    post, path = "/login", tag = "Classic", operation_id = "classic_log_in",
    responses(
        (status = 200, description = "The access token", body = String, content_type = "text/plain"),
        (status = 401, description = "Wrong name or password"),
        (status = 429, description = "Too many wrong passwords"),
    ),
    security(("basic" = []))
)]
pub async fn log_in(
    State(api): State<Api>,
    Extension(address): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Answer<Response> {
    let basic = headers.typed_get::<Authorization<Basic>>().ok_or_else(|| {
        Problem::unauthorized("missing credentials").challenge("Basic realm=\"tonemill\"")
    })?;
    let token = api.log_in(basic.username(), basic.password(), address).await?.access_token;
    Ok(([(header::CACHE_CONTROL, "no-store")], token).into_response())
}

/// The form of the tutorial.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "for the documentation")]
struct ClassicForm {
    /// The video.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Upload one video; the answer says so, and names the job.
#[utoipa::path(
    post, path = "/upload", tag = "Classic", operation_id = "classic_upload",
    request_body(content = ClassicForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "`success!`, and the job in `X-Job-Id` and `Location`",
         body = String, content_type = "text/plain",
         headers(("X-Job-Id" = String, description = "The job"),
                 ("Location" = String, description = "Where it can be looked at"))),
        (status = 409, description = "The same key is being used by another request"),
        (status = 415, description = "Neither video nor audio"),
    )
)]
pub async fn upload(State(api): State<Api>, caller: Caller, request: Request) -> Answer<Response> {
    caller.may(Scope::Write)?;
    let job = api.submit(&caller, Vec::new(), request).await?.id.to_string();
    let location = format!("/v1/jobs/{job}");
    let names = [(header::HeaderName::from_static("x-job-id"), job), (header::LOCATION, location)];
    Ok((StatusCode::OK, names, "success!").into_response())
}

/// Which file.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DownloadQuery {
    /// The job's id.
    #[param(required = true)]
    fid: Option<String>,
}

/// Download a job's MP3.
#[utoipa::path(
    get, path = "/download", tag = "Classic", operation_id = "classic_download",
    params(DownloadQuery),
    responses(
        (status = 200, description = "The MP3", body = [u8], content_type = "audio/mpeg"),
        (status = 206, description = "The range", body = [u8], content_type = "audio/mpeg"),
        (status = 304, description = "You have it already"),
        (status = 307, description = "It is at the store, under an address for a few minutes"),
        (status = 400, description = "No fid, or several"),
        (status = 404, description = "There is no such job"),
        (status = 409, description = "It is not finished"),
        (status = 410, description = "It is not in the store any more"),
        (status = 412, description = "It is not what If-Match says"),
        (status = 416, description = "The range begins after its end"),
    )
)]
pub async fn download(
    State(api): State<Api>,
    caller: Caller,
    query: Result<Query<DownloadQuery>, axum::extract::rejection::QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Answer<Response> {
    caller.may(Scope::Read)?;
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let fid = query.fid.ok_or_else(|| Problem::bad_request("fid is required").field("fid"))?;
    let id = fid.parse().map_err(|_| no_job())?;
    let job = api.own_job(&caller, id).await?;
    api.output(&job, &method, &headers).await
}

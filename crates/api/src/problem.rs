//! Errors as users see them: `application/problem+json` (RFC 9457).
//!
//! Every error answer of the API is a [`Problem`]. What went wrong inside is logged here, once, and
//! not told.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tonemill_job::chain;
use tonemill_job::objects::{StoreError, StoreErrorKind};
use tonemill_job::queue::QueueError;
use tonemill_ledger::{LedgerError, LedgerErrorKind};
use utoipa::ToSchema;

/// What handlers return.
pub type Answer<T, E = Problem> = Result<T, E>;

/// Whoever is told that we are not there asks again after this long.
pub(crate) const AWAY: Duration = Duration::from_secs(5);

/// Why a request was not answered as it wished.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Where this kind of problem is explained, relative to the API.
    #[serde(rename = "type", serialize_with = "as_reference")]
    #[schema(value_type = String, format = "uri-reference")]
    pub slug: &'static str,
    /// The kind of problem in a few words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is the matter this time, and what can be done.
    pub detail: String,
    /// The field of the request that is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The `Retry-After` of the answer, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
    /// For a 401: what the client may do about it.
    #[serde(skip)]
    challenge: Option<&'static str>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $slug:literal $status:ident $title:literal;)+) => {
        impl Problem {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(detail: impl Into<String>) -> Self {
                Self::new($slug, StatusCode::$status, $title, detail.into())
            })+
        }

        /// Slug, status and title of every kind, for the documentation.
        pub(crate) const KINDS: &[(&str, StatusCode, &str)] =
            &[$(($slug, StatusCode::$status, $title)),+];
    };
}

kinds! {
    /// What was sent makes no sense.
    bad_request "bad-request" BAD_REQUEST "The request makes no sense";
    /// Nobody is logged in, or not any more.
    unauthorized "unauthorized" UNAUTHORIZED "Log in first";
    /// Who is logged in may not do this.
    forbidden "forbidden" FORBIDDEN "You may not do this";
    /// There is no such thing, or it is somebody else's.
    not_found "not-found" NOT_FOUND "There is no such thing";
    /// The path is there, but not for this.
    method_not_allowed "method-not-allowed" METHOD_NOT_ALLOWED "This cannot be done here";
    /// The body did not come.
    timeout "timeout" REQUEST_TIMEOUT "The request came too slowly";
    /// The state of what is asked for does not allow it.
    conflict "conflict" CONFLICT "Not in this state";
    /// It was there.
    gone "gone" GONE "It is not there any more";
    /// A condition of the request does not hold.
    precondition_failed "precondition-failed" PRECONDITION_FAILED "A condition does not hold";
    /// Another request is at it.
    locked "locked" LOCKED "Somebody is at it";
    /// The upload is larger than is allowed.
    too_large "too-large" PAYLOAD_TOO_LARGE "Too large";
    /// What was uploaded is neither video nor audio.
    not_media "not-media" UNSUPPORTED_MEDIA_TYPE "Neither video nor audio";
    /// A header or a body is of a kind that is not taken here.
    unsupported "unsupported" UNSUPPORTED_MEDIA_TYPE "Of a kind that is not taken here";
    /// The range is not within the output.
    bad_range "bad-range" RANGE_NOT_SATISFIABLE "Outside of the file";
    /// A field has a value that cannot be.
    invalid "invalid" UNPROCESSABLE_ENTITY "A value is not valid";
    /// The idempotency key was used for another request.
    key_reused "key-reused" UNPROCESSABLE_ENTITY "The key stands for another request";
    /// The user has as much as it may.
    over_quota "over-quota" TOO_MANY_REQUESTS "Over your quota";
    /// The user asks too often.
    too_many "too-many-requests" TOO_MANY_REQUESTS "Too many requests";
    /// A defect.
    internal "internal" INTERNAL_SERVER_ERROR "A defect of the service";
    /// Something that we need is away.
    unavailable "unavailable" SERVICE_UNAVAILABLE "Not now";
}

impl Problem {
    /// Bytes are not those that they were said to be: 460, which tus made up.
    #[must_use]
    pub fn checksum_mismatch(detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
        Self::new("checksum-mismatch", status, "The checksum is another", detail.into())
    }

    fn new(slug: &'static str, status: StatusCode, title: &'static str, detail: String) -> Self {
        Self {
            slug,
            title,
            status: status.as_u16(),
            detail,
            field: None,
            retry_after_seconds: None,
            challenge: (status == StatusCode::UNAUTHORIZED).then_some("Bearer"),
        }
    }

    /// Names the field that is to blame.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says when to come again, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        let seconds = pause.as_millis().div_ceil(1000).max(1);
        self.retry_after_seconds = Some(seconds.try_into().unwrap_or(u32::MAX));
        self
    }

    /// Says how to log in (RFC 9110 section 11.6.1).
    #[must_use]
    pub fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Something that we need is away; it is logged as `what`.
    fn away(what: &str, error: &dyn std::error::Error) -> Self {
        tracing::warn!(error = chain(error), "{what} is away");
        Self::unavailable("a part of the service does not answer: try again in a moment")
            .retry_after(AWAY)
    }

    /// A defect; it is logged.
    pub(crate) fn defect(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = chain(error), "a request failed");
        Self::internal("this is logged: give the request's id to whoever runs the service")
    }
}

fn as_reference<S: serde::Serializer>(slug: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("/docs#{slug}"))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (retry_after, challenge) = (self.retry_after_seconds, self.challenge);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error.kind {
            LedgerErrorKind::Unavailable | LedgerErrorKind::Refused => {
                Self::away("the ledger", &error)
            }
            LedgerErrorKind::Invalid => Self::defect(&error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::Unavailable | StoreErrorKind::Denied => Self::away("the store", &error),
            StoreErrorKind::NotFound => Self::gone("the file is not in the store any more"),
            _ => Self::defect(&error),
        }
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        Self::away("the queue", &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_what_the_standard_says() {
        let problem = Problem::over_quota("3 jobs at a time").field("file");
        let response = problem.retry_after(Duration::from_millis(1001)).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let response = Problem::unauthorized("who are you?").into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        let mut slugs: Vec<_> = KINDS.iter().map(|(slug, ..)| slug).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), KINDS.len());
    }
}

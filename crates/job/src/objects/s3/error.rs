//! What the store's errors mean to our callers.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::super::{StoreError, StoreErrorKind};
use crate::object_key::ObjectKey;

/// Codes of a request whose bytes changed on the way: it is worth trying again.
pub const DAMAGED_ON_THE_WAY: [&str; 5] = [
    "BadDigest",
    "IncompleteBody",
    "InvalidDigest",
    "SignatureDoesNotMatch",
    "XAmzContentSHA256Mismatch",
];

/// The error of `operation` on `key`.
pub fn store_error<E>(
    operation: &'static str,
    key: Option<&ObjectKey>,
    error: SdkError<E, HttpResponse>,
) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let Some(answer) = error.as_service_error() else {
        return StoreError::new(StoreErrorKind::Unavailable, operation, key, error);
    };
    let kind = kind_of_answer(answer.code(), status);
    match (answer.code(), status) {
        // There was no body: the SDK knows no more than this, and says less.
        (None, Some(status)) => {
            let advice =
                if kind == StoreErrorKind::Denied { ": check keys and bucket" } else { "" };
            StoreError::new(kind, operation, key, format!("the store answered {status}{advice}"))
        }
        _ => StoreError::new(kind, operation, key, error),
    }
}

/// Whether the store says that there is no such thing.
pub fn is_not_found<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|response| response.status().as_u16());
    error
        .as_service_error()
        .is_some_and(|e| kind_of_answer(e.code(), status) == StoreErrorKind::NotFound)
}

/// Answers to HEAD have no body, and so no code.
fn kind_of_answer(code: Option<&str>, status: Option<u16>) -> StoreErrorKind {
    match (code.unwrap_or_default(), status.unwrap_or_default()) {
        // `SignatureDoesNotMatch` is both: a secret that is wrong, or a flipped bit. When it stays,
        // it is the secret.
        (
            "NoSuchBucket"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "AuthorizationHeaderMalformed"
            | "PermanentRedirect",
            _,
        ) => StoreErrorKind::Denied,
        (code, _) if DAMAGED_ON_THE_WAY.contains(&code) => StoreErrorKind::Corrupt,
        // The store has lost a part, or another has come in its place.
        ("InvalidPart", _) => StoreErrorKind::Corrupt,
        ("InvalidRange", _) | (_, 416) => StoreErrorKind::Invalid,
        ("NotImplemented", _) | (_, 501) => StoreErrorKind::Unsupported,
        (_, 401 | 403) => StoreErrorKind::Denied,
        (_, 404) => StoreErrorKind::NotFound,
        (_, 412) => StoreErrorKind::Exists,
        _ => StoreErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_a_kind() {
        use StoreErrorKind::{
            Corrupt, Denied, Exists, Invalid, NotFound, Unavailable, Unsupported,
        };
        for (code, status, kind) in [
            (Some("NoSuchKey"), 404, NotFound),
            (None, 404, NotFound),
            (Some("NoSuchUpload"), 404, NotFound),
            (Some("NoSuchBucket"), 404, Denied),
            (Some("AccessDenied"), 403, Denied),
            (None, 403, Denied),
            (Some("SignatureDoesNotMatch"), 403, Denied),
            (Some("ExpiredToken"), 400, Denied),
            (Some("InvalidRange"), 416, Invalid),
            (Some("PreconditionFailed"), 412, Exists),
            (Some("BadDigest"), 400, Corrupt),
            (Some("InvalidPart"), 400, Corrupt),
            (Some("XAmzContentSHA256Mismatch"), 400, Corrupt),
            (Some("NotImplemented"), 501, Unsupported),
            (Some("SlowDown"), 503, Unavailable),
            (Some("InternalError"), 500, Unavailable),
            (Some("RequestTimeTooSkewed"), 403, Denied),
            (None, 400, Unavailable),
        ] {
            assert_eq!(kind_of_answer(code, Some(status)), kind, "{code:?} {status}");
        }
    }
}

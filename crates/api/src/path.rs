//! The name in a path: text of any kind, for a handler to find that there is no such thing.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::problem::{Answer, Problem};

/// `{id}` of a path.
#[derive(Debug)]
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        // Bytes that are no text name nothing.
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| Problem::not_found("there is no such thing"))
    }
}

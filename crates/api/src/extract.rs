//! What a path and a query say, read before a handler runs and refused alike.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use crate::body::invalid;
use crate::problem::{Answer, Problem};

/// `{id}` of a path. A text that is no id names nothing.
#[derive(Debug)]
pub struct Id<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(text)| text.parse().ok());
        id.map(Self).ok_or_else(|| Problem::not_found("there is nothing of this name"))
    }
}

/// The query, all of whose fields are known and make sense.
#[derive(Debug)]
pub struct Fields<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Fields<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        // As axum reads one, but that it has no path to what is wrong.
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query));
        serde_path_to_error::deserialize(reader)
            .map(Self)
            .map_err(|error| invalid(&error.path().to_string(), &error.inner().to_string()))
    }
}

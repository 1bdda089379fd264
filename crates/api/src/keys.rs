//! API keys: one's own, shown once.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tonemill_ledger::credentials::{ApiKey, ApiKeyMade, MAX_API_KEYS, MAX_KEY_LABEL_BYTES};
use tonemill_ledger::users::Role;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::auth::{Caller, Scope, no_user};
use crate::body::{JsonBody, check_text};
use crate::extract::Id;
use crate::jobs::view::time;
use crate::names::ScopeName;
use crate::problem::{Answer, Problem};

/// An API key to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What you call it.
    #[schema(max_length = 190)]
    label: String,
    /// What it may do: some of `read`, `write`, `admin`.
    #[schema(value_type = Vec<ScopeName>, min_items = 1)]
    scopes: Vec<String>,
    /// When it ends (RFC 3339). Default: never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// An API key.
#[derive(Serialize, ToSchema)]
pub struct ApiKeyView {
    id: Uuid,
    label: String,
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Within a minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// The key itself, told this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl ApiKeyView {
    fn new(key: ApiKey, secret: Option<String>) -> Self {
        Self {
            id: key.id,
            label: key.label,
            scopes: key.scopes.split(' ').map(str::to_owned).collect(),
            created_at: time(key.created_ms),
            expires_at: key.expires_ms.map(time),
            last_used_at: key.used_ms.map(time),
            key: secret,
        }
    }
}

/// Make an API key. It is told this once.
#[utoipa::path(
    post, path = "/v1/keys", tag = "Account",
    request_body = NewApiKey,
    responses(
        (status = 201, description = "The key", body = ApiKeyView),
        (status = 403, description = "By an API key, or with a scope beyond your role"),
        (status = 409, description = "You have as many as may be"),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn add_key(
    State(api): State<Api>,
    caller: Caller,
    JsonBody(new): JsonBody<NewApiKey>,
) -> Answer<(StatusCode, [(header::HeaderName, &'static str); 1], Json<ApiKeyView>)> {
    caller.log_in()?;
    check_text("label", &new.label, MAX_KEY_LABEL_BYTES)?;
    let mut scopes: Vec<&str> = Vec::new();
    for name in &new.scopes {
        let scope = Scope::named(name).ok_or_else(|| {
            Problem::invalid(format!("{name:?} is none of read, write, admin")).field("scopes")
        })?;
        if scope == Scope::Admin && caller.user.role != Role::Admin {
            return Err(Problem::forbidden("only administrators' keys may administer"));
        }
        if !scopes.contains(&scope.name()) {
            scopes.push(scope.name());
        }
    }
    if scopes.is_empty() {
        return Err(Problem::invalid("a key may do something").field("scopes"));
    }
    let expires_ms = new.expires_at.map(Timestamp::as_millisecond);
    if expires_ms.is_some_and(|expires| expires <= api.ledger.now_ms()) {
        return Err(Problem::invalid("this time is past").field("expires_at"));
    }
    let (user, scopes) = (caller.user.id, scopes.join(" "));
    let (key, token) = match api.ledger.add_api_key(user, &new.label, &scopes, expires_ms).await? {
        ApiKeyMade::Made(key, token) => (key, token),
        ApiKeyMade::TooMany => {
            let why = format!("you have {MAX_API_KEYS} API keys: delete some");
            return Err(Problem::conflict(why));
        }
        ApiKeyMade::NoUser => return Err(no_user()),
    };
    let view = ApiKeyView::new(key, Some(token.text()));
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(view)))
}

/// List your API keys.
#[utoipa::path(
    get, path = "/v1/keys", tag = "Account",
    responses((status = 200, description = "Those that are good", body = Vec<ApiKeyView>))
)]
pub async fn list_keys(State(api): State<Api>, caller: Caller) -> Answer<Json<Vec<ApiKeyView>>> {
    caller.log_in()?;
    let keys = api.ledger.api_keys(caller.user.id).await?;
    Ok(Json(keys.into_iter().map(|key| ApiKeyView::new(key, None)).collect()))
}

/// End an API key, at once.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "Account",
    params(("id" = String, Path, format = Uuid, description = "The key")),
    responses(
        (status = 204, description = "Ended"),
        (status = 404, description = "There is no such key"),
    )
)]
pub async fn delete_key(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
) -> Answer<StatusCode> {
    caller.log_in()?;
    if !api.ledger.revoke_api_key(caller.user.id, id).await? {
        return Err(Problem::not_found("there is no such key"));
    }
    Ok(StatusCode::NO_CONTENT)
}

//! One's own account: who one is, API keys, webhooks.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tonemill_ledger::credentials::{ApiKey, MAX_KEY_LABEL_BYTES};
use tonemill_ledger::users::Role;
use tonemill_ledger::webhooks::{EVENTS, MAX_URL_BYTES, MAX_WEBHOOKS, Webhook};
use tonemill_ledger::{Quotas, Usage};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::body::{JsonBody, whole};
use crate::jobs::view::time;
use crate::names::{EventName, RoleName, ScopeName};
use crate::path::Id;
use crate::problem::{Answer, Problem};

/// Most API keys of a user.
const MAX_API_KEYS: usize = 100;

/// Who one is, what one has, and what one may have.
#[derive(Serialize, ToSchema)]
pub struct Me {
    id: Uuid,
    /// The name to log in with.
    name: String,
    /// `admin` or `user`.
    #[schema(value_type = RoleName)]
    role: &'static str,
    email: Option<String>,
    usage: UsageView,
    /// What is absent has no limit.
    quotas: QuotasView,
}

#[derive(Serialize, ToSchema)]
struct UsageView {
    unfinished_jobs: u64,
    stored_bytes: u64,
    /// Converted since midnight (UTC).
    daily_audio_minutes: f64,
}

/// What a user may have; `null` is as much as it likes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotasView {
    /// Jobs that wait or run.
    #[serde(default, deserialize_with = "whole")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub unfinished_jobs: Option<u64>,
    /// Uploads and outputs in the store.
    #[serde(default, deserialize_with = "whole")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub stored_bytes: Option<u64>,
    /// Audio that is converted in a day (UTC).
    #[serde(default, deserialize_with = "whole")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub daily_audio_minutes: Option<u64>,
}

/// The largest number that every JSON has (RFC 8259 section 6).
const MOST: u64 = (1 << 53) - 1;
/// Their milliseconds are a number of the ledger's.
const MOST_MINUTES: u64 = 1_000_000_000_000;

impl QuotasView {
    /// Whether the ledger can keep them.
    pub(crate) fn check(&self) -> Answer<()> {
        for (field, value, most) in [
            ("quotas.unfinished_jobs", self.unfinished_jobs, MOST),
            ("quotas.stored_bytes", self.stored_bytes, MOST),
            ("quotas.daily_audio_minutes", self.daily_audio_minutes, MOST_MINUTES),
        ] {
            if value.is_some_and(|value| value > most) {
                return Err(Problem::invalid(format!("is at most {most}")).field(field));
            }
        }
        Ok(())
    }
}

impl From<Quotas> for QuotasView {
    fn from(quotas: Quotas) -> Self {
        Self {
            unfinished_jobs: quotas.unfinished_jobs,
            stored_bytes: quotas.stored_bytes,
            daily_audio_minutes: quotas.daily_audio_ms.map(|ms| ms / 60_000),
        }
    }
}

impl From<QuotasView> for Quotas {
    fn from(view: QuotasView) -> Self {
        Self {
            unfinished_jobs: view.unfinished_jobs,
            stored_bytes: view.stored_bytes,
            daily_audio_ms: view.daily_audio_minutes.map(|minutes| minutes.saturating_mul(60_000)),
        }
    }
}

/// Who you are, and what you have.
#[utoipa::path(
    get, path = "/v1/me", tag = "Account",
    responses((status = 200, description = "You", body = Me))
)]
pub async fn me(State(api): State<Api>, caller: Caller) -> Answer<Json<Me>> {
    let found = api.ledger.usage(caller.user.id).await?;
    let (usage, quotas): (Usage, Quotas) = found.unwrap_or_default();
    let user = caller.user;
    Ok(Json(Me {
        id: user.id,
        name: user.name,
        role: user.role.name(),
        email: user.email,
        usage: UsageView {
            unfinished_jobs: usage.unfinished_jobs,
            stored_bytes: usage.stored_bytes,
            daily_audio_minutes: usage.daily_audio_ms as f64 / 60_000.0,
        },
        quotas: quotas.into(),
    }))
}

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
        (status = 403, description = "By an API key, or with a scope beyond your role",
         body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "You have as many as may be", body = Problem,
         content_type = "application/problem+json"),
        (status = 422, description = "A value is not valid", body = Problem,
         content_type = "application/problem+json"),
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
    if api.ledger.api_keys(caller.user.id).await?.len() >= MAX_API_KEYS {
        return Err(Problem::conflict("you have 100 API keys: delete some"));
    }
    let user = caller.user.id;
    let made = api.ledger.add_api_key(user, &new.label, &scopes.join(" "), expires_ms).await?;
    let view = ApiKeyView::new(made.0, Some(made.1.text()));
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
        (status = 404, description = "There is no such key", body = Problem,
         content_type = "application/problem+json"),
    )
)]
pub async fn delete_key(State(api): State<Api>, caller: Caller, Id(id): Id) -> Answer<StatusCode> {
    caller.log_in()?;
    let no_key = || Problem::not_found("there is no such key");
    let id = id.parse().map_err(|_| no_key())?;
    let revoked = api.ledger.revoke_api_key(caller.user.id, id).await?;
    if revoked { Ok(StatusCode::NO_CONTENT) } else { Err(no_key()) }
}

/// A webhook to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where it is: https, or http.
    #[schema(format = Uri, max_length = 2000, pattern = "^https?://")]
    url: String,
    /// What it is told: some of `job.started`, `job.finished`, `job.failed`. Default: the last two.
    #[serde(default)]
    #[schema(value_type = Option<Vec<EventName>>, min_items = 1)]
    events: Option<Vec<String>>,
}

/// A webhook.
#[derive(Serialize, ToSchema)]
pub struct WebhookView {
    id: Uuid,
    url: String,
    #[schema(value_type = Vec<EventName>)]
    events: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Since when it is told nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    disabled_at: Option<Timestamp>,
    /// What its notifications are signed with, told this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl WebhookView {
    fn new(webhook: Webhook, secret: Option<String>) -> Self {
        Self {
            id: webhook.id,
            url: webhook.url,
            events: webhook.events,
            created_at: time(webhook.created_ms),
            disabled_at: webhook.disabled_ms.map(time),
            secret,
        }
    }
}

/// Add a webhook. Its secret is told this once.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "Account",
    request_body = NewWebhook,
    responses(
        (status = 201, description = "The webhook", body = WebhookView),
        (status = 409, description = "You have as many as may be", body = Problem,
         content_type = "application/problem+json"),
        (status = 422, description = "A value is not valid", body = Problem,
         content_type = "application/problem+json"),
    )
)]
pub async fn add_webhook(
    State(api): State<Api>,
    caller: Caller,
    JsonBody(new): JsonBody<NewWebhook>,
) -> Answer<(StatusCode, [(header::HeaderName, &'static str); 1], Json<WebhookView>)> {
    caller.may(Scope::Write)?;
    check_text("url", &new.url, MAX_URL_BYTES)?;
    let is_web = url::Url::parse(&new.url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
    });
    // A URL parser forgives what is none by RFC 3986; whoever reads it later may not.
    let is_web = is_web
        && new
            .url
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte));
    if !is_web {
        return Err(Problem::invalid("this is no http or https URL").field("url"));
    }
    let events =
        new.events.unwrap_or_else(|| EVENTS[1..].iter().map(ToString::to_string).collect());
    if events.is_empty() || events.iter().any(|event| !EVENTS.contains(&event.as_str())) {
        let why = format!("some of {}", EVENTS.join(", "));
        return Err(Problem::invalid(why).field("events"));
    }
    // 32 bytes as Standard Webhooks write them.
    let bytes = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
    let bytes = *blake3::hash(&bytes).as_bytes();
    let secret =
        format!("whsec_{}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes));
    let added = api.ledger.add_webhook(caller.user.id, &new.url, &secret, &events).await?;
    let webhook = added.ok_or_else(|| {
        Problem::conflict(format!("you have {MAX_WEBHOOKS} webhooks: delete some"))
    })?;
    let view = WebhookView::new(webhook, Some(secret));
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(view)))
}

/// List your webhooks.
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "Account",
    responses((status = 200, description = "All of them", body = Vec<WebhookView>))
)]
pub async fn list_webhooks(
    State(api): State<Api>,
    caller: Caller,
) -> Answer<Json<Vec<WebhookView>>> {
    caller.may(Scope::Read)?;
    let webhooks = api.ledger.webhooks(caller.user.id).await?;
    Ok(Json(webhooks.into_iter().map(|webhook| WebhookView::new(webhook, None)).collect()))
}

/// Remove a webhook.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", tag = "Account",
    params(("id" = String, Path, format = Uuid, description = "The webhook")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "There is no such webhook", body = Problem,
         content_type = "application/problem+json"),
    )
)]
pub async fn delete_webhook(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
) -> Answer<StatusCode> {
    caller.may(Scope::Write)?;
    let no_webhook = || Problem::not_found("there is no such webhook");
    let id = id.parse().map_err(|_| no_webhook())?;
    let deleted = api.ledger.delete_webhook(caller.user.id, id).await?;
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(no_webhook()) }
}

/// Whether a text fits into the ledger.
pub(crate) fn check_text(field: &'static str, text: &str, most_bytes: usize) -> Answer<()> {
    if text.len() > most_bytes {
        return Err(Problem::invalid(format!("has at most {most_bytes} bytes")).field(field));
    }
    if text.contains('\0') {
        return Err(Problem::invalid("may not hold a NUL character").field(field));
    }
    Ok(())
}

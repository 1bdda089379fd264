//! Webhooks: who is told what becomes of one's jobs.

pub mod target;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tonemill_job::JobId;
use tonemill_ledger::deliveries::default_events;
use tonemill_ledger::webhooks::{MAX_WEBHOOKS, Webhook, WebhookChange};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::body::JsonBody;
use crate::deliveries::DeliveryView;
use crate::extract::Id;
use crate::jobs::view::time;
use crate::names::EventName;
use crate::problem::{Answer, Problem};
use crate::webhooks::target::{check_some_events, check_url, new_secret, new_webhook};

/// A webhook to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where it is: https, or http.
    #[schema(format = Uri, max_length = 2000, pattern = "^https?://[^/?#@]+([/?#]|$)")]
    url: String,
    /// What it is told: some of `job.started`, `job.finished`, `job.failed`. Default: the last two.
    #[serde(default)]
    #[schema(value_type = Option<Vec<EventName>>, min_items = 1)]
    events: Option<Vec<String>>,
}

/// What of a webhook changes; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChangeRequest {
    /// Where it is: https, or http.
    #[serde(default)]
    #[schema(format = Uri, max_length = 2000, pattern = "^https?://[^/?#@]+([/?#]|$)")]
    url: Option<String>,
    /// What it is told: some of `job.started`, `job.finished`, `job.failed`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<EventName>>, min_items = 1)]
    events: Option<Vec<String>>,
    /// One that is not is told nothing.
    #[serde(default)]
    enabled: Option<bool>,
}

/// A webhook.
#[derive(Serialize, ToSchema)]
pub struct WebhookView {
    id: Uuid,
    url: String,
    #[schema(value_type = Vec<EventName>)]
    events: Vec<String>,
    /// The job that it is told of; absent: all of yours.
    #[schema(value_type = Option<String>, format = Uuid)]
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<JobId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Since when it is told nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    disabled_at: Option<Timestamp>,
    /// Why: you disabled it, or it answered that nobody is there.
    disabled_why: Option<String>,
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
            job_id: webhook.job,
            created_at: time(webhook.created_ms),
            disabled_at: webhook.disabled_ms.map(time),
            disabled_why: webhook.disabled_why,
            secret,
        }
    }
}

/// No cache keeps a secret.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// Add a webhook for all your jobs.
///
/// It is told by POST, signed as Standard Webhooks have it. The secret is told this once.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "Notifications",
    request_body = NewWebhook,
    responses(
        (status = 201, description = "The webhook", body = WebhookView),
        (status = 409, description = "You have as many as may be"),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn add_webhook(
    State(api): State<Api>,
    caller: Caller,
    JsonBody(new): JsonBody<NewWebhook>,
) -> Answer<(StatusCode, [(HeaderName, &'static str); 1], Json<WebhookView>)> {
    caller.may(Scope::Write)?;
    check_url("url", &new.url)?;
    let events = match new.events {
        Some(events) => check_some_events("events", &events)?,
        None => default_events(),
    };
    let wanted = new_webhook(new.url, events);
    let added = api.ledger.add_webhook(caller.user.id, &wanted).await?;
    let webhook = added.ok_or_else(|| {
        Problem::conflict(format!("you have {MAX_WEBHOOKS} webhooks: delete some"))
    })?;
    let view = WebhookView::new(webhook, Some(wanted.secret));
    Ok((StatusCode::CREATED, NO_STORE, Json(view)))
}

/// List your webhooks, but for those of single jobs.
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "Notifications",
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

/// Look at a webhook.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", tag = "Notifications",
    params(("id" = String, Path, format = Uuid, description = "The webhook")),
    responses(
        (status = 200, description = "The webhook", body = WebhookView),
        (status = 404, description = "There is no such webhook"),
    )
)]
pub async fn show_webhook(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
) -> Answer<Json<WebhookView>> {
    caller.may(Scope::Read)?;
    Ok(Json(WebhookView::new(api.own_webhook(&caller, id).await?, None)))
}

/// Change a webhook, or disable it for a while.
#[utoipa::path(
    patch, path = "/v1/webhooks/{id}", tag = "Notifications",
    params(("id" = String, Path, format = Uuid, description = "The webhook")),
    request_body = WebhookChangeRequest,
    responses(
        (status = 200, description = "The webhook as it is now", body = WebhookView),
        (status = 404, description = "There is no such webhook"),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn change_webhook(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
    JsonBody(change): JsonBody<WebhookChangeRequest>,
) -> Answer<Json<WebhookView>> {
    caller.may(Scope::Write)?;
    if let Some(url) = &change.url {
        check_url("url", url)?;
    }
    let events = change.events.map(|events| check_some_events("events", &events)).transpose()?;
    let disabled = change.enabled.map(|enabled| !enabled);
    let change = WebhookChange { url: change.url, events, disabled, secret: None };
    Ok(Json(WebhookView::new(api.change_own_webhook(&caller, id, &change).await?, None)))
}

/// Give a webhook another secret.
///
/// It is told this once. For 24 hours the one before signs as well, so that nothing is lost until
/// the receiver knows the new one; the one before that is good for nothing at once.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/rotate", tag = "Notifications",
    params(("id" = String, Path, format = Uuid, description = "The webhook")),
    responses(
        (status = 200, description = "The webhook, with its new secret", body = WebhookView),
        (status = 404, description = "There is no such webhook"),
    )
)]
pub async fn rotate_secret(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
) -> Answer<([(HeaderName, &'static str); 1], Json<WebhookView>)> {
    caller.may(Scope::Write)?;
    let secret = new_secret();
    let change = WebhookChange { secret: Some(secret.clone()), ..WebhookChange::default() };
    let webhook = api.change_own_webhook(&caller, id, &change).await?;
    Ok((NO_STORE, Json(WebhookView::new(webhook, Some(secret)))))
}

/// Try a webhook out: it is told `webhook.test`.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/test", tag = "Notifications",
    params(("id" = String, Path, format = Uuid, description = "The webhook")),
    responses(
        (status = 202, description = "It is owed; what comes of it, the delivery shows",
         body = DeliveryView,
         headers(("Location" = String, description = "The delivery"))),
        (status = 404, description = "There is no such webhook"),
        (status = 409, description = "It is disabled"),
    )
)]
pub async fn try_out(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
) -> Answer<(StatusCode, [(HeaderName, String); 1], Json<DeliveryView>)> {
    caller.may(Scope::Write)?;
    let webhook = api.own_webhook(&caller, id).await?;
    if webhook.disabled_ms.is_some() {
        return Err(Problem::conflict("the webhook is disabled: enable it first"));
    }
    let delivery = api.ledger.try_webhook_out(caller.user.id, &webhook).await?;
    let view = api.delivery_view(&caller, delivery).await?;
    let location = [(header::LOCATION, format!("/v1/deliveries/{delivery}"))];
    Ok((StatusCode::ACCEPTED, location, Json(view)))
}

/// Remove a webhook.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", tag = "Notifications",
    params(("id" = String, Path, format = Uuid, description = "The webhook")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "There is no such webhook"),
    )
)]
pub async fn delete_webhook(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
) -> Answer<StatusCode> {
    caller.may(Scope::Write)?;
    if !api.ledger.delete_webhook(caller.user.id, id).await? {
        return Err(no_webhook());
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    async fn own_webhook(&self, caller: &Caller, id: Uuid) -> Answer<Webhook> {
        self.ledger.webhook(caller.user.id, id).await?.ok_or_else(no_webhook)
    }

    async fn change_own_webhook(
        &self,
        caller: &Caller,
        id: Uuid,
        change: &WebhookChange,
    ) -> Answer<Webhook> {
        if !self.ledger.change_webhook(caller.user.id, id, change).await? {
            return Err(no_webhook());
        }
        self.own_webhook(caller, id).await
    }
}

fn no_webhook() -> Problem {
    Problem::not_found("there is no such webhook")
}

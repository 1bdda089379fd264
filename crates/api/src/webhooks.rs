//! Webhooks: who is told what becomes of one's jobs.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tonemill_ledger::credentials::random_bytes;
use tonemill_ledger::deliveries::JOB_EVENTS;
use tonemill_ledger::webhooks::{MAX_URL_BYTES, MAX_WEBHOOKS, NewWebhook as Wanted, Webhook};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::body::{JsonBody, check_text};
use crate::extract::Id;
use crate::jobs::view::time;
use crate::names::EventName;
use crate::problem::{Answer, Problem};

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

/// Add a webhook.
///
/// Deliveries are written down, but not sent in this version yet. The secret is told this once.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "Account",
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
) -> Answer<(StatusCode, [(header::HeaderName, &'static str); 1], Json<WebhookView>)> {
    caller.may(Scope::Write)?;
    check_text("url", &new.url, MAX_URL_BYTES)?;
    if !is_web(&new.url) {
        return Err(Problem::invalid("this is no http or https URL").field("url"));
    }
    let events =
        new.events.unwrap_or_else(|| JOB_EVENTS[1..].iter().map(ToString::to_string).collect());
    if events.is_empty() || events.iter().any(|event| !JOB_EVENTS.contains(&event.as_str())) {
        let why = format!("some of {}", JOB_EVENTS.join(", "));
        return Err(Problem::invalid(why).field("events"));
    }
    // 32 bytes as Standard Webhooks write them.
    let secret = format!("whsec_{}", BASE64_STANDARD.encode(random_bytes()));
    let wanted = Wanted { id: Uuid::now_v7(), url: new.url, secret: secret.clone(), events };
    let added = api.ledger.add_webhook(caller.user.id, &wanted).await?;
    let webhook = added.ok_or_else(|| {
        Problem::conflict(format!("you have {MAX_WEBHOOKS} webhooks: delete some"))
    })?;
    let view = WebhookView::new(webhook, Some(secret));
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(view)))
}

/// Whether this is a URL that can be asked for, of a host and without a name or password.
fn is_web(url: &str) -> bool {
    // A URL parser forgives what is none by RFC 3986; whoever reads it later may not.
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    !authority.is_empty()
        && !authority.contains('@')
        && url.bytes().all(is_plain)
        && url::Url::parse(url).is_ok_and(|url| url.has_host())
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
        return Err(Problem::not_found("there is no such webhook"));
    }
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_hosts() {
        for good in
            ["http://h", "https://h/", "http://h:8080/a?b=c@d#e", "https://[::1]/", "http://h?a"]
        {
            assert!(is_web(good), "{good}");
        }
        for bad in [
            "",
            "h",
            "ftp://h/",
            "http:h",
            "http:/h",
            "http://",
            "http:///x",
            "https://?x",
            "http://#x",
            "http://:pw@h/",
            "http://u@h/",
            "http://u:pw@h/",
            "http://@h/",
            "http://h:x/",
            "http://h/ a",
            "http://h\\x",
            " http://h",
        ] {
            assert!(!is_web(bad), "{bad}");
        }
    }
}

//! Deliveries: what one was told, or is to be, and what came of it.

#![allow(unused_qualifications, reason = "in code that utoipa writes")]

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tonemill_job::JobId;
use tonemill_ledger::deliveries::{Delivery, DeliveryAttempt, DeliveryFilter, DeliveryState};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::extract::{Fields, Id};
use crate::jobs::view::time;
use crate::names::DeliveryStateName;
use crate::problem::{Answer, Problem};

/// Deliveries of a page, unless asked otherwise, and at most.
const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeliveryQuery {
    /// In this state.
    #[param(value_type = Option<DeliveryStateName>, inline)]
    state: Option<String>,
    /// To this webhook.
    webhook: Option<Uuid>,
    /// About this job.
    job: Option<Uuid>,
    /// How many: 1 to 500.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<Uuid>,
    #[param(ignore)]
    #[allow(dead_code, reason = "read by the caller's extractor")]
    access_token: Option<String>,
}

/// A page of deliveries, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryPage {
    deliveries: Vec<DeliveryView>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Uuid>,
}

/// A notification that is owed, or was.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    id: Uuid,
    /// What it tells: `job.finished`, `webhook.test`, …
    event: String,
    /// The same for all who are told of one change, at every attempt.
    event_id: Uuid,
    /// The job that it is about.
    #[schema(value_type = Option<String>, format = Uuid)]
    job_id: Option<JobId>,
    /// Where it goes; `null`: by mail.
    webhook_id: Option<Uuid>,
    /// `owed` until it is `delivered`, or `dead`: refused for good, or for too long.
    #[schema(value_type = DeliveryStateName)]
    state: &'static str,
    /// How often it was tried.
    attempts: u64,
    /// When it is tried next, if it is owed. While it is being tried: when whoever does is given
    /// up.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_try_at: Option<Timestamp>,
    /// What came of the last attempt.
    answer: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was delivered, or given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

/// A delivery with all that is known about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryDetailView {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// What it tells, in full.
    #[schema(value_type = Object)]
    payload: Value,
    /// The attempts at it.
    attempt_log: Vec<DeliveryAttemptView>,
}

/// An attempt.
#[derive(Debug, Serialize, ToSchema)]
struct DeliveryAttemptView {
    /// From 1.
    attempt: u64,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// `null`: it is under way, or nobody lived to tell.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// What came of it.
    answer: Option<String>,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let is_owed = delivery.state == DeliveryState::Owed;
        Self {
            id: delivery.id,
            event: delivery.event,
            event_id: delivery.event_id,
            job_id: delivery.job,
            webhook_id: delivery.webhook,
            state: delivery.state.name(),
            attempts: delivery.attempts,
            next_try_at: is_owed.then(|| time(delivery.next_ms)),
            answer: delivery.answer,
            created_at: time(delivery.created_ms),
            ended_at: delivery.ended_ms.map(time),
        }
    }
}

impl From<DeliveryAttempt> for DeliveryAttemptView {
    fn from(attempt: DeliveryAttempt) -> Self {
        Self {
            attempt: attempt.attempt,
            started_at: time(attempt.started_ms),
            ended_at: attempt.ended_ms.map(time),
            answer: attempt.answer,
        }
    }
}

/// List what you were told, or are to be, newest first.
#[utoipa::path(
    get, path = "/v1/deliveries", tag = "Notifications",
    params(DeliveryQuery),
    responses(
        (status = 200, description = "A page", body = DeliveryPage),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn list_deliveries(
    State(api): State<Api>,
    caller: Caller,
    Fields(query): Fields<DeliveryQuery>,
) -> Answer<Json<DeliveryPage>> {
    caller.may(Scope::Read)?;
    let most = query.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&most) {
        return Err(Problem::invalid("a page has 1 to 500 deliveries").field("limit"));
    }
    let filter = DeliveryFilter {
        job: query.job.map(JobId::from),
        webhook: query.webhook,
        state: query.state.as_deref().map(state).transpose()?,
        before: query.cursor,
    };
    // One more tells whether there is another page.
    let mut deliveries = api.ledger.list_deliveries(caller.own(), &filter, most + 1).await?;
    let next_cursor = (deliveries.len() > most as usize).then(|| {
        deliveries.truncate(most as usize);
        deliveries.last().map(|delivery| delivery.id)
    });
    let deliveries = deliveries.into_iter().map(DeliveryView::from).collect();
    Ok(Json(DeliveryPage { deliveries, next_cursor: next_cursor.flatten() }))
}

fn state(name: &str) -> Answer<DeliveryState> {
    let why = || Problem::invalid(format!("{name:?} is none of owed, delivered, dead"));
    DeliveryState::named(name).ok_or_else(|| why().field("state"))
}

/// Look at a delivery: what it tells, and each attempt at it.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}", tag = "Notifications",
    params(("id" = String, Path, format = Uuid, description = "The delivery")),
    responses(
        (status = 200, description = "All that is known about it", body = DeliveryDetailView),
        (status = 404, description = "There is no such delivery, or it is somebody else's"),
    )
)]
pub async fn show_delivery(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
) -> Answer<Json<DeliveryDetailView>> {
    caller.may(Scope::Read)?;
    let found = api.ledger.delivery(caller.own(), id).await?;
    let (delivery, payload, attempts) = found.ok_or_else(no_delivery)?;
    let attempt_log = attempts.into_iter().map(DeliveryAttemptView::from).collect();
    Ok(Json(DeliveryDetailView { delivery: delivery.into(), payload, attempt_log }))
}

/// Have a delivery that is over made once more, with the event id that it had.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/replay", tag = "Notifications",
    params(("id" = String, Path, format = Uuid, description = "The delivery")),
    responses(
        (status = 202, description = "It is owed again", body = DeliveryView),
        (status = 404, description = "There is no such delivery, or it is somebody else's"),
        (status = 409, description = "It is owed still"),
    )
)]
pub async fn replay_delivery(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
) -> Answer<(StatusCode, Json<DeliveryView>)> {
    caller.may(Scope::Write)?;
    let is_replayed = api.ledger.replay_delivery(caller.own(), id).await?;
    // One that is not there is no conflict.
    let view = api.delivery_view(&caller, id).await?;
    if !is_replayed {
        return Err(Problem::conflict("the delivery is owed still: it is tried again by itself"));
    }
    Ok((StatusCode::ACCEPTED, Json(view)))
}

impl Api {
    /// A delivery of the caller's as it is now.
    pub(crate) async fn delivery_view(&self, caller: &Caller, id: Uuid) -> Answer<DeliveryView> {
        let found = self.ledger.delivery(caller.own(), id).await?;
        found.map(|(delivery, ..)| delivery.into()).ok_or_else(no_delivery)
    }
}

fn no_delivery() -> Problem {
    Problem::not_found("there is no such delivery")
}

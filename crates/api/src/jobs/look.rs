//! One job, and many: `GET /v1/jobs/{id}`, `GET /v1/jobs`.

#![allow(unused_qualifications, reason = "in code that utoipa writes")]

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tonemill_job::JobId;
use tonemill_ledger::{JobFilter, JobState};
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::extract::{Fields, Id};
use crate::jobs::view::{JobDetailView, JobView};
use crate::names::StateName;
use crate::problem::{Answer, Problem};

/// Jobs of a page, unless asked otherwise, and at most.
const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// In these states, separated by commas.
    #[param(value_type = Option<Vec<StateName>>, style = Form, explode = false, min_items = 1)]
    state: Option<String>,
    /// With this label.
    label: Option<String>,
    /// Accepted at this time (RFC 3339) or later.
    #[param(value_type = Option<String>, format = DateTime)]
    created_from: Option<Timestamp>,
    /// Accepted before this time (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    created_before: Option<Timestamp>,
    /// How many: 1 to 500.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(format = Uuid)]
    cursor: Option<String>,
    #[param(ignore)]
    #[allow(dead_code, reason = "read by the caller's extractor")]
    access_token: Option<String>,
}

/// A page of jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobPage {
    /// The jobs, without what a single one tells: warnings, failure.
    jobs: Vec<JobView>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// List your jobs, newest first.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "Jobs", operation_id = "list_jobs",
    params(ListQuery),
    responses(
        (status = 200, description = "A page", body = JobPage),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    Fields(query): Fields<ListQuery>,
) -> Answer<Json<JobPage>> {
    caller.may(Scope::Read)?;
    let most = query.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&most) {
        return Err(Problem::invalid("a page has 1 to 500 jobs").field("limit"));
    }
    let filter = filter(query)?;
    // One more tells whether there is another page.
    let mut jobs = api.ledger.list_jobs(caller.own(), &filter, most + 1).await?;
    let next_cursor = (jobs.len() > most as usize).then(|| {
        jobs.truncate(most as usize);
        jobs.last().map(|job| job.id.to_string())
    });
    let jobs = jobs.iter().map(|job| JobView::new(job, None, None)).collect();
    Ok(Json(JobPage { jobs, next_cursor: next_cursor.flatten() }))
}

fn filter(query: ListQuery) -> Answer<JobFilter> {
    let mut states = Vec::new();
    for name in query.state.iter().flat_map(|states| states.split(',')) {
        let state = JobState::named(name.trim()).filter(|state| *state != JobState::Deleted);
        let why = format!("{name:?} is none of {STATES}");
        states.push(state.ok_or_else(|| Problem::invalid(why).field("state"))?);
    }
    let before = match query.cursor {
        None => None,
        Some(cursor) => Some(
            cursor
                .parse::<JobId>()
                .map_err(|_| Problem::invalid("this is no cursor of ours").field("cursor"))?,
        ),
    };
    if query.label.as_ref().is_some_and(|label| label.contains('\0')) {
        return Err(Problem::invalid("no text may hold a NUL character").field("label"));
    }
    Ok(JobFilter {
        states,
        failures: Vec::new(),
        label: query.label,
        created_from_ms: query.created_from.map(Timestamp::as_millisecond),
        created_before_ms: query.created_before.map(Timestamp::as_millisecond),
        before,
    })
}

const STATES: &str = "waiting, queued, running, finished, failed, cancelled";

/// Look at one job.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", operation_id = "show_job", tag = "Jobs",
    params(("id" = String, Path, format = Uuid, description = "The job")),
    responses(
        (status = 200, description = "All that is known about it", body = JobDetailView),
        (status = 404, description = "There is no such job, or it is somebody else's"),
    )
)]
pub async fn show(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Answer<Json<JobDetailView>> {
    caller.may(Scope::Read)?;
    Ok(Json(api.detailed_view_of(&caller, id).await?))
}

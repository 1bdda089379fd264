//! Ending and replaying: `POST /v1/jobs/{id}/cancel`, `DELETE /v1/jobs/{id}`,
//! `POST /v1/jobs/{id}/retry`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;
use tonemill_job::{JobId, chain};
use tonemill_ledger::{JobState, Owner, TransitionOutcome};

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::extract::Id;
use crate::jobs::quotas::over_quota;
use crate::jobs::view::{JobView, no_job};
use crate::problem::{Answer, Problem};

/// How long a worker may take to be told: it is told again when it next asks.
const PATIENCE: Duration = Duration::from_secs(1);

/// Cancel a job that is not over, and leave one alone that is.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", operation_id = "cancel_job", tag = "Jobs",
    params(("id" = String, Path, format = Uuid, description = "The job")),
    responses(
        (status = 200, description = "Cancelled, now or before", body = JobView),
        (status = 404, description = "There is no such job, or it is somebody else's"),
        (status = 409, description = "It is finished, or has failed"),
    )
)]
pub async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Answer<Json<JobView>> {
    caller.may(Scope::Write)?;
    match api.cancel(caller.own(), id).await? {
        TransitionOutcome::Done | TransitionOutcome::NotNow(JobState::Cancelled) => {
            Ok(Json(api.view_of(&caller, id).await?))
        }
        TransitionOutcome::NotNow(state) => Err(not_now(state)),
        _ => Err(no_job()),
    }
}

/// Cancel a job that is not over; delete one that is, with its output.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", operation_id = "end_job", tag = "Jobs",
    params(("id" = String, Path, format = Uuid, description = "The job")),
    responses(
        (status = 200, description = "Cancelled: it is still there to look at", body = JobView),
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is no such job, or it is somebody else's"),
        (status = 409, description = "It was replayed in this moment"),
    )
)]
pub async fn end(State(api): State<Api>, caller: Caller, Id(id): Id<JobId>) -> Answer<Response> {
    caller.may(Scope::Write)?;
    match api.cancel(caller.own(), id).await? {
        TransitionOutcome::Done => Ok(Json(api.view_of(&caller, id).await?).into_response()),
        TransitionOutcome::NotNow(_) => match api.ledger.delete_job(caller.own(), id).await? {
            TransitionOutcome::Done => Ok(StatusCode::NO_CONTENT.into_response()),
            // It was replayed in this moment, or deleted.
            TransitionOutcome::NotNow(state) => Err(not_now(state)),
            _ => Err(no_job()),
        },
        _ => Err(no_job()),
    }
}

/// Try a failed or cancelled job again.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", operation_id = "retry_job", tag = "Jobs",
    params(("id" = String, Path, format = Uuid, description = "The job")),
    responses(
        (status = 202, description = "It waits for its turn", body = JobView),
        (status = 404, description = "There is no such job, or it is somebody else's"),
        (status = 409, description = "It is not over, or it is finished"),
        (status = 410, description = "Its upload is gone"),
        (status = 429, description = "Over a quota"),
    )
)]
pub async fn retry(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Answer<(StatusCode, Json<JobView>)> {
    caller.may(Scope::Write)?;
    match api.ledger.replay(caller.own(), id).await? {
        TransitionOutcome::Done => {
            Ok((StatusCode::ACCEPTED, Json(api.view_of(&caller, id).await?)))
        }
        TransitionOutcome::NotNow(state) => Err(not_now(state)),
        TransitionOutcome::NoInput => Err(Problem::gone("its upload is gone: submit it again")),
        TransitionOutcome::OverQuota(over) => Err(over_quota(over)),
        TransitionOutcome::NoJob => Err(no_job()),
    }
}

impl Api {
    /// Ends a job in the ledger, and has its worker told.
    pub async fn cancel(&self, owner: Owner, job: JobId) -> Answer<TransitionOutcome> {
        let outcome = self.ledger.cancel(owner, job).await?;
        if outcome == TransitionOutcome::Done {
            // The ledger has decided. A worker that does not hear of it works in vain.
            match timeout(PATIENCE, self.queue.cancel(job)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%job, error = chain(&error), "no worker is told of a cancellation");
                }
                Err(_) => tracing::warn!(%job, "the queue is slow to tell of a cancellation"),
            }
        }
        Ok(outcome)
    }
}

fn not_now(state: JobState) -> Problem {
    Problem::conflict(format!("the job is {}", state.name()))
}

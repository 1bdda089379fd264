//! A job's life as it happens: `GET /v1/jobs/{id}/events`, as server-sent events (WHATWG HTML,
//! section 9.2).
//!
//! `state` events carry the whole job, and their id is the version of its state, so that a client
//! that comes back (`Last-Event-ID`) is told the state again only if it has changed. `progress`
//! events come in between, without an id. The stream ends with the job, and with the caller's right
//! to it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, sleep_until};
use tonemill_job::JobId;
use tonemill_ledger::JobState;

use crate::Api;
use crate::auth::{Caller, Scope};
use crate::extract::Id;
use crate::jobs::view::JobView;
use crate::problem::Answer;
use crate::watch::{Outlook, Snapshot};

/// Proxies cut what is silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often is looked whether the caller still may; before a state is told it is in any case.
const LOOK: Duration = Duration::from_secs(3);

/// Watch a job. Browsers' `EventSource` may send the access token in the query.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", operation_id = "watch_job", tag = "Jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "The job"),
        ("Last-Event-ID" = Option<String>, Header, description = "Sent by clients that come back"),
        ("access_token" = Option<String>, Query, description = "Instead of the header"),
    ),
    responses(
        (status = 200, description = "Events `state` (a job) and `progress`", body = String,
         content_type = "text/event-stream"),
        (status = 204, description = "The job is over, and you know it: do not come back"),
        (status = 404, description = "There is no such job, or it is somebody else's"),
    )
)]
pub async fn events(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
    headers: HeaderMap,
) -> Answer<Response> {
    caller.may(Scope::Read)?;
    let job = api.own_job(&caller, id).await?;
    let known: Option<u64> =
        headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    if job.state.is_ended() && known == Some(job.version) {
        // A browser comes back until it is told not to.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let snapshot = api.snapshot(job).await;
    let news = api.watch.subscribe(snapshot);
    let watching = Watching {
        api,
        caller,
        looked: Instant::now(),
        news,
        told: known,
        outlook: Outlook::default(),
        over: false,
    };
    let stream = unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok::<_, Infallible>(event), watching))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    // Buffers on the way would hold events back.
    let unbuffered = [(header::HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((unbuffered, Sse::new(stream).keep_alive(keep_alive)).into_response())
}

/// Somebody who watches a job.
struct Watching {
    api: Api,
    caller: Caller,
    /// When the caller was found to be one.
    looked: Instant,
    news: Receiver<Arc<Snapshot>>,
    /// The version that was told last.
    told: Option<u64>,
    /// The outlook that was told last.
    outlook: Outlook,
    over: bool,
}

impl Watching {
    /// The next event; `None` after the job's end, or when the caller may not be told any more.
    async fn next(&mut self) -> Option<Event> {
        while !self.over {
            let snapshot = Arc::clone(&self.news.borrow_and_update());
            let is_new_state = self.told != Some(snapshot.job.version);
            if (is_new_state || self.looked.elapsed() >= LOOK) && !self.look().await? {
                continue;
            }
            if is_new_state {
                self.told = Some(snapshot.job.version);
                self.outlook = snapshot.outlook.clone();
                self.over = snapshot.job.state.is_ended();
                return self.state(&snapshot).await;
            }
            if self.outlook != snapshot.outlook {
                self.outlook = snapshot.outlook.clone();
                if let Some(progress) = snapshot.outlook.view() {
                    return Event::default().event("progress").json_data(progress).ok();
                }
            }
            let ends = self.api.shutdown.cancelled();
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = sleep_until(self.looked + LOOK) => {}
                () = ends => return None,
            }
        }
        None
    }

    /// Looks whether the caller still may; `None` if not, and false if nobody can say so for now.
    async fn look(&mut self) -> Option<bool> {
        match self.api.look_again(&self.caller).await {
            Ok(_) => self.looked = Instant::now(),
            // A browser that is refused once does not come back. It is told nothing until it is
            // known.
            Err(problem) if problem.status >= 500 => {
                let ends = self.api.shutdown.cancelled();
                tokio::select! {
                    () = sleep(LOOK) => return Some(false),
                    () = ends => return None,
                }
            }
            Err(_) => return None,
        }
        Some(true)
    }

    async fn state(&self, snapshot: &Snapshot) -> Option<Event> {
        let Snapshot { job, outlook } = snapshot;
        let event = Event::default().event("state").id(job.version.to_string());
        if job.state == JobState::Deleted {
            return None;
        }
        let detail = self.api.detail_of(&self.caller, job).await.ok().flatten();
        event.json_data(JobView::new(job, detail.as_ref(), Some(outlook))).ok()
    }
}

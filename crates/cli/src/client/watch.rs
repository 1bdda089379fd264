//! `tonemill watch`: jobs until they are over, whatever happens to the connection.

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, HeaderName};
use serde_json::Value;
use tonemill_job::JobId;

use crate::args::client::WatchArgs;
use crate::client::api::{Api, Ask};
use crate::client::bars::Bars;
use crate::client::drive;
use crate::client::events::{Event, Events};
use crate::client::job::{Job, Progress, path};
use crate::client::link::is_kind;
use crate::client::retry::{Retry, Stop, Trouble};
use crate::exit::{CancelToken, Outcome};
use crate::failure::Failure;
use crate::json::{print_json, print_line};
use crate::text::clock;
use crate::text::plain;

/// Jobs that are watched at a time: each takes a connection, and those before the rest are over
/// first.
pub const AT_A_TIME: usize = 8;

/// Watches until all are over.
pub fn run(args: &WatchArgs, cancel: &CancelToken) -> Outcome {
    let bars = Bars::new(!args.json && !args.quiet);
    let farewell = || "the jobs go on; say the same again to watch on".to_owned();
    drive(cancel, watch(args, &bars), farewell)
}

async fn watch(args: &WatchArgs, bars: &Bars) -> Result<Outcome, Failure> {
    let api = Api::open(&args.server, bars)?;
    let outcomes = iter(&args.ids).map(|id| watch_one(&api, args, bars, *id));
    let outcomes = outcomes.buffer_unordered(AT_A_TIME);
    Ok(outcomes.fold(Outcome::Done, |worst, outcome| async move { worst.max(outcome) }).await)
}

async fn watch_one(api: &Api, args: &WatchArgs, bars: &Bars, id: JobId) -> Outcome {
    let bar = bars.file(id.to_string());
    let told = std::cell::Cell::new(Outcome::Done);
    let followed = follow(api, id, |job, value| {
        bar.set_name(job.name());
        bar.job(job);
        if let Some(value) = value.filter(|_| args.json) {
            told.set(told.get().max(bars.suspend(|| print_json(value))));
        }
    });
    let followed = followed.await;
    drop(bar);
    let ended = bars.suspend(|| match followed {
        Ok(job) if job.is_finished() => {
            if args.json || args.quiet {
                return Outcome::Done;
            }
            print_line(&finished_line(&job))
        }
        Ok(job) => {
            job.failed().tell_of(format_args!("{id}: {}", job.name()));
            // Whose fault it was, its line says.
            Outcome::BadInput
        }
        Err(failed) => failed.tell_of(id),
    });
    ended.max(told.get())
}

fn finished_line(job: &Job) -> String {
    let Some(output) = &job.output else { return format!("{} {}", job.id, job.state) };
    let incomplete = if output.truncated { ", INCOMPLETE" } else { "" };
    let length = clock(output.duration_seconds);
    format!("{} finished {} ({length}{incomplete})", job.id, plain(&output.file_name))
}

/// Follows a job until it is over. `news` gets each new look at it, and what the service says about
/// it when its state has changed.
pub async fn follow(
    api: &Api,
    id: JobId,
    mut news: impl FnMut(&Job, Option<&Value>),
) -> Result<Job, Failure> {
    let mut retry = Retry::new(&api.link);
    let mut known: Option<Job> = None;
    loop {
        let mut ask = Ask::get(format!("{}/events", path(id))).header(ACCEPT, "text/event-stream");
        if let Some(version) = known.as_ref().and_then(|job| job.version) {
            let last = HeaderName::from_static("last-event-id");
            ask = ask.header(last, version.to_string());
        }
        let response = api.send(&ask).await?;
        match response.status() {
            // It is over, and we know it.
            StatusCode::NO_CONTENT => {
                let job = api.job(id).await?;
                if job.is_over() {
                    return Ok(job);
                }
                retry.pause(ended()).await?;
                continue;
            }
            StatusCode::OK if is_kind(&response, "text/event-stream") => {}
            StatusCode::OK => return Err(api.link.strange("its events are none")),
            _ => return Err(api.refused(response).await),
        }
        let mut events = Events::new(&api.link, response);
        let stop = loop {
            match events.next().await {
                Ok(Some(event)) => {
                    retry.progressed();
                    let seen = see(api, id, &event, &mut known)?;
                    if let Some(job) = &known {
                        news(job, seen.as_ref());
                        if job.is_over() {
                            return Ok(job.clone());
                        }
                    }
                }
                Ok(None) => break ended(),
                Err(stop) => break stop,
            }
        };
        retry.pause(stop).await?;
    }
}

/// Takes note of an event; what the service says about the job, if its state has changed.
fn see(
    api: &Api,
    id: JobId,
    event: &Event,
    known: &mut Option<Job>,
) -> Result<Option<Value>, Failure> {
    match event.name.as_str() {
        "state" => {
            let value: Value = serde_json::from_str(&event.data)
                .map_err(|error| api.link.strange(&plain(&error.to_string())))?;
            *known = Some(api.read_job(value.clone(), id)?);
            Ok(Some(value))
        }
        "progress" => {
            if let (Some(job), Ok(progress)) =
                (known.as_mut(), serde_json::from_str::<Progress>(&event.data))
            {
                job.progress = Some(progress);
            }
            Ok(None)
        }
        // Of a later service.
        _ => Ok(None),
    }
}

/// A service that is about to end closes its streams; a job that was deleted has no events more.
fn ended() -> Stop {
    let failed = Failure::fault("the service ends its events before the job", "try again later");
    Stop::Passing(Trouble { failed, after: None, is_away: false, is_busy: false })
}

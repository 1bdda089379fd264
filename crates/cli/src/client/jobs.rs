//! `tonemill jobs`: the newest, single ones in detail, and what can be done about them.

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use tonemill_job::JobId;

use crate::args::client::{ChangeArgs, JobsArgs, JobsCommand, ListArgs};
use crate::client::api::{Api, Ask};
use crate::client::bars::Bars;
use crate::client::drive;
use crate::client::job::{Job, path};
use crate::exit::{CancelToken, Outcome};
use crate::failure::Failure;
use crate::json::{print_line, print_lines};
use crate::text::plain;

/// Jobs of a page: as many as surely fit into the JSON that is read.
const PAGE: usize = 50;
/// Requests at a time for how far jobs are.
const AT_A_TIME: usize = 8;
/// Longest name in a table, in characters.
const MAX_NAME: usize = 48;

#[derive(Deserialize)]
struct Page {
    jobs: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Clone, Copy)]
enum Change {
    Cancel,
    Retry,
    Delete,
}

/// Lists, shows or changes jobs.
pub fn run(args: &JobsArgs, cancel: &CancelToken) -> Outcome {
    let farewell = || "nothing more was done".to_owned();
    match &args.command {
        Some(JobsCommand::List(args)) => drive(cancel, list(args), farewell),
        Some(JobsCommand::Cancel(args)) => drive(cancel, change(args, Change::Cancel), farewell),
        Some(JobsCommand::Retry(args)) => drive(cancel, change(args, Change::Retry), farewell),
        Some(JobsCommand::Delete(args)) => drive(cancel, change(args, Change::Delete), farewell),
        None if args.ids.is_empty() => drive(cancel, list(&args.list), farewell),
        None => drive(cancel, show(args), farewell),
    }
}

async fn list(args: &ListArgs) -> Result<Outcome, Failure> {
    let api = Api::open(&args.server, &Bars::new(false))?;
    let mut found = Vec::new();
    let mut cursor = None;
    let limit = args.limit as usize;
    while found.len() < limit {
        let ask = Ask::get(list_path(args, cursor.as_deref(), PAGE.min(limit - found.len())));
        let page: Page = api.json(&ask).await?;
        cursor = page.next_cursor.filter(|_| !page.jobs.is_empty());
        found.extend(page.jobs);
        if cursor.is_none() {
            break;
        }
    }
    found.truncate(limit);
    if args.json {
        return Ok(print_lines(found.iter().map(Value::to_string)));
    }
    let jobs = iter(found).map(|value| with_progress(&api, value)).buffered(AT_A_TIME);
    let jobs: Vec<Result<Job, Failure>> = jobs.collect().await;
    let jobs = jobs.into_iter().collect::<Result<Vec<Job>, Failure>>()?;
    Ok(print_lines(table(&jobs)))
}

fn list_path(args: &ListArgs, cursor: Option<&str>, limit: usize) -> String {
    // Only what comes after the question mark is taken of it.
    let Ok(mut url) = Url::parse("http://localhost/v1/jobs") else { return "/v1/jobs".to_owned() };
    let mut query = url.query_pairs_mut();
    query.append_pair("limit", &limit.to_string());
    if !args.state.is_empty() {
        let states: Vec<&str> = args.state.iter().map(|state| state.name()).collect();
        query.append_pair("state", &states.join(","));
    }
    if let Some(label) = &args.label {
        query.append_pair("label", label);
    }
    if let Some(cursor) = cursor {
        query.append_pair("cursor", cursor);
    }
    drop(query);
    format!("/v1/jobs?{}", url.query().unwrap_or_default())
}

/// A job of a list, with how far it is, which lists do not tell.
async fn with_progress(api: &Api, value: Value) -> Result<Job, Failure> {
    let job: Job = serde_json::from_value(value)
        .map_err(|error| api.link.strange(&plain(&error.to_string())))?;
    if job.is_over() {
        return Ok(job);
    }
    // It may have been deleted since.
    Ok(api.job_if_there(job.id).await?.unwrap_or(job))
}

fn table(jobs: &[Job]) -> Vec<String> {
    let head = ["ID", "STATE", "PROGRESS", "AGE", "NAME"].map(str::to_owned);
    let rows: Vec<[String; 5]> = jobs.iter().map(row).collect();
    let rows: Vec<&[String; 5]> = [&head].into_iter().chain(&rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &&[String; 5]| {
        let [id, state, progress, age, name] = row;
        let [a, b, c, d, _] = widths;
        format!("{id:a$}  {state:b$}  {progress:c$}  {age:>d$}  {name}").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(job: &Job) -> [String; 5] {
    let name = match job.label.as_str() {
        "" => job.name(),
        label => format!("{} ({})", job.name(), plain(label)),
    };
    let name = match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    };
    let id = job.id.to_string();
    [id, plain(&job.state), job.progress_shown(), age(job.created_at), name]
}

fn age(since: Option<Timestamp>) -> String {
    let Some(since) = since else { return String::new() };
    let seconds = Timestamp::now().as_second().saturating_sub(since.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

async fn show(args: &JobsArgs) -> Result<Outcome, Failure> {
    let JobsArgs { ids, list: ListArgs { json, server, .. }, .. } = args;
    let api = Api::open(server, &Bars::new(false))?;
    let mut worst = Outcome::Done;
    for (index, id) in ids.iter().enumerate() {
        let shown = match api.job_value(*id).await {
            Ok(value) if *json => Ok(vec![value.to_string()]),
            Ok(value) => api.read_job(value, *id).map(|job| detail(&job)),
            Err(failed) => Err(failed),
        };
        match shown {
            Ok(lines) => {
                let gap = (index > 0 && !json).then(String::new);
                worst = worst.max(print_lines(gap.into_iter().chain(lines)));
            }
            Err(failed) => worst = worst.max(failed.tell_of(id)),
        }
    }
    Ok(worst)
}

fn detail(job: &Job) -> Vec<String> {
    let mut lines = vec![("job", job.id.to_string()), ("file", job.name())];
    if !job.label.is_empty() {
        lines.push(("label", plain(&job.label)));
    }
    let progress = job.progress_shown();
    let progress = if progress.is_empty() { progress } else { format!(", {progress}") };
    let attempts =
        if job.attempts > 1 { format!(", attempt {}", job.attempts) } else { String::new() };
    lines.push(("state", format!("{}{progress}{attempts}", plain(&job.state))));
    for (name, time) in [("accepted", job.created_at), ("ended", job.ended_at)] {
        if let Some(time) = time {
            lines.push((name, format!("{time:.0} ({} ago)", age(Some(time)))));
        }
    }
    lines.push(("input", format!("{} bytes", job.input_bytes)));
    if let Some(output) = &job.output {
        lines.push(("output", format!("{}, {} bytes", plain(&output.file_name), output.bytes)));
        lines.extend(output.warnings.iter().map(|warning| ("warning", plain(warning))));
    }
    if let Some(failure) = &job.failure {
        lines.push(("failure", plain(&failure.message)));
        lines.push(("advice", plain(&failure.advice)));
    }
    lines.iter().map(|(name, text)| format!("{name:9} {text}")).collect()
}

async fn change(args: &ChangeArgs, change: Change) -> Result<Outcome, Failure> {
    let ChangeArgs { ids, quiet, server } = args;
    let api = Api::open(server, &Bars::new(false))?;
    let mut worst = Outcome::Done;
    for id in ids {
        let done = match change {
            Change::Cancel => cancel(&api, *id).await,
            Change::Retry => retry(&api, *id).await,
            Change::Delete => delete(&api, *id).await,
        };
        worst = worst.max(match done {
            Ok(_) if *quiet => Outcome::Done,
            Ok(what) => print_line(&format!("{id} {what}")),
            Err(failed) => failed.tell_of(id),
        });
    }
    Ok(worst)
}

async fn cancel(api: &Api, id: JobId) -> Result<&'static str, Failure> {
    api.expect(&Ask::new(Method::POST, format!("{}/cancel", path(id)))).await?;
    Ok("cancelled")
}

async fn delete(api: &Api, id: JobId) -> Result<&'static str, Failure> {
    let job = api.job(id).await?;
    if !job.is_over() {
        let advice = format!("say `tonemill jobs cancel {id}` first");
        return Err(Failure::input(format!("the job is {}", plain(&job.state)), advice));
    }
    match api.expect(&Ask::new(Method::DELETE, path(id)).once()).await {
        Ok(response) if response.status() == StatusCode::NO_CONTENT => Ok("deleted"),
        Ok(_) => Err(Failure::input("the job was tried again in this moment", "it was cancelled")),
        Err(failed) => match api.job_if_there(id).await {
            Ok(None) => Ok("deleted"),
            _ => Err(failed),
        },
    }
}

async fn retry(api: &Api, id: JobId) -> Result<&'static str, Failure> {
    let ask = Ask::new(Method::POST, format!("{}/retry", path(id))).once();
    match api.expect(&ask).await {
        Ok(_) => Ok("waits for its turn"),
        Err(failed) if failed.outcome == Outcome::Fault => match api.job(id).await {
            Ok(job) if !job.is_over() => Ok("waits for its turn"),
            _ => Err(failed),
        },
        Err(failed) => Err(failed),
    }
}

//! What `tonemill upload` says of each file, in words or as a line of JSON.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::client::job::{Job, JobWebhook};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{Line, print_json, print_line};
use crate::target::Target;
use crate::text::{clock, plain, shown};

use super::{Accepted, Uploads};

/// How much went over the network.
#[derive(Debug, Clone, Serialize)]
pub struct Transfer {
    /// Of the file.
    pub bytes: u64,
    /// This time.
    pub sent_bytes: u64,
    /// What the service had before.
    pub resumed_at: u64,
}

/// A file, as a line of JSON: as those of `convert` and `submit`, with the job and the upload.
#[derive(Serialize)]
struct Done<'a> {
    input_path: &'a str,
    output_path: Option<&'a str>,
    job: Value,
    upload: &'a Transfer,
    #[serde(flatten)]
    report: Option<Value>,
}

impl Uploads<'_> {
    /// Says what a webhook's notifications are signed with, which is told once.
    pub(super) fn tell_secret(&self, accepted: &Accepted<'_>) {
        let Some(JobWebhook { id, secret }) = &accepted.webhook else { return };
        let input = shown(accepted.input);
        let told = match secret {
            Some(secret) => format!("is signed with {} (this is told once)", plain(secret)),
            // Its answer was lost on the way.
            None => format!("has a secret that is told no more: POST /v1/webhooks/{id}/rotate"),
        };
        self.bars.suspend(|| eprintln!("tonemill: {input}: webhook {id} {told}"));
    }

    /// Says that a job is accepted, if nobody waits for its end.
    pub(super) async fn tell_accepted(&self, accepted: &Accepted<'_>) -> Outcome {
        let Accepted { input, job, .. } = accepted;
        if self.args.files.outputs.json {
            return self.tell_json(accepted).await;
        }
        if self.args.files.outputs.quiet {
            return Outcome::Done;
        }
        let input = shown(input);
        let line = format!("{input} -> job {job} (`tonemill download {job}` when it is done)");
        self.bars.suspend(|| print_line(&line))
    }

    /// Says what came of a job.
    pub(super) async fn tell_done(&self, accepted: &Accepted<'_>, job: &Job) -> Outcome {
        if self.args.files.outputs.json {
            return self.tell_json(accepted).await;
        }
        let Some(output) = &job.output else { return Outcome::Done };
        self.bars.suspend(|| {
            let input = shown(accepted.input);
            for warning in &output.warnings {
                eprintln!("tonemill: {input}: warning: {}", plain(warning));
            }
            if self.args.files.outputs.quiet {
                return Outcome::Done;
            }
            let to = match accepted.target {
                Some(Target::File(path)) => shown(path),
                _ => format!("job {}", job.id),
            };
            let incomplete = if output.truncated { ", INCOMPLETE" } else { "" };
            let length = clock(output.duration_seconds);
            print_line(&format!("{input} -> {to} ({length}{incomplete})"))
        })
    }

    /// Says why there is nothing.
    pub(super) fn tell_failed(&self, input: &Path, failed: &Failure) -> Outcome {
        self.bars.suspend(|| {
            let outcome = failed.tell_of(shown(input));
            if !self.args.files.outputs.json {
                return outcome;
            }
            outcome.max(Line::<Value>::failed(input, failed).print())
        })
    }

    async fn tell_json(&self, accepted: &Accepted<'_>) -> Outcome {
        let mut job = match self.api.job_value(accepted.job).await {
            Ok(job) => job,
            Err(failed) => return self.tell_failed(accepted.input, &failed),
        };
        // Told once, with the job's beginning.
        if let Some(JobWebhook { secret: Some(secret), .. }) = &accepted.webhook
            && let Some(Value::Object(webhook)) = job.get_mut("webhook")
        {
            webhook.insert("secret".to_owned(), secret.as_str().into());
        }
        // As the other commands have it, beside the paths.
        let report = job.as_object_mut().and_then(|job| job.remove("report"));
        let output_path = match accepted.target {
            Some(Target::File(path)) => Some(path.to_string_lossy()),
            _ => None,
        };
        let line = Done {
            input_path: &accepted.input.to_string_lossy(),
            output_path: output_path.as_deref(),
            job,
            upload: &accepted.sent,
            report: report.filter(Value::is_object),
        };
        self.bars.suspend(|| print_json(&line))
    }
}

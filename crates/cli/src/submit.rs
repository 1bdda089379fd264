//! `tonemill submit`: has files converted by the workers, through the very store and queue that the
//! service uses, and takes everything away again.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::block_in_place;
use tonemill_codec::{CancelToken, ErrorKind};
use tonemill_job::message::{Failure, FailureKind, Finished, Reply, What};
use tonemill_job::queue::EventId;
use tonemill_job::{JobId, JobMessage, ObjectKey};
use uuid::Uuid;

use crate::args_service::SubmitArgs;
use crate::exit::Outcome;
use crate::job_options::job_options;
use crate::json::{ErrorFacts, Line, print_line};
use crate::output::Output;
use crate::progress::{Bars, FileBar};
use crate::request::{Target, usage};
use crate::service::Service;
use crate::text::{clock, shown};

/// Bytes at a time, up and down.
const CHUNK_BYTES: usize = 1 << 20;
/// How long one look into the mailbox takes; how soon an interrupt is noticed.
const LOOK: Duration = Duration::from_millis(500);
/// How long cancelled jobs have to end.
const CANCEL: Duration = Duration::from_secs(5);

/// Submits all files and waits; the worst outcome counts.
pub fn run(args: &SubmitArgs, cancel: &CancelToken) -> Outcome {
    let jobs = match args.files.jobs() {
        Ok(jobs) => jobs,
        Err(usage) => usage.exit(),
    };
    if jobs.iter().any(|(input, target)| is_dash(input) || *target == Target::Stdout) {
        usage("standard input and output cannot be submitted: name files").exit();
    }
    if let (Some(start), Some(end)) = (args.part.start, args.part.end)
        && end <= start
    {
        usage("--end must come after --start").exit();
    }
    if let Some(folder) = &args.files.dir
        && let Err(error) = std::fs::create_dir_all(folder)
    {
        eprintln!("tonemill: the folder {} cannot be made: {error}", shown(folder));
        return Outcome::Fault;
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tonemill: no threads can be started: {error}");
            return Outcome::Fault;
        }
    };
    runtime.block_on(async {
        let service = match args.service.open().await {
            Ok(service) => service,
            Err(error) => {
                eprintln!("tonemill: {error}");
                return Outcome::Usage;
            }
        };
        let bars = Bars::new(jobs.len(), !args.files.json && !args.files.quiet);
        let submission = Submission {
            args,
            service,
            cancel,
            mailbox: Uuid::new_v4(),
            bars,
            waiting: HashMap::new(),
        };
        submission.run(&jobs).await
    })
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Files on their way.
struct Submission<'a> {
    args: &'a SubmitArgs,
    service: Service,
    cancel: &'a CancelToken,
    mailbox: Uuid,
    bars: Bars,
    waiting: HashMap<JobId, Submitted<'a>>,
}

/// A file whose upload is in the store and whose job is in the queue.
struct Submitted<'a> {
    input: &'a Path,
    target: &'a Target,
    upload: ObjectKey,
    bar: FileBar,
}

impl<'a> Submission<'a> {
    async fn run(mut self, jobs: &'a [(std::path::PathBuf, Target)]) -> Outcome {
        let mut worst = Outcome::Done;
        for (input, target) in jobs {
            if self.cancel.is_cancelled() {
                break;
            }
            if let Err((outcome, why)) = self.submit(input, target).await {
                self.bars.file_ended();
                self.bars.suspend(|| eprintln!("tonemill: {}: {why}", shown(input)));
                worst = worst.max(outcome);
            }
        }
        worst = worst.max(self.wait().await);
        if let Err(error) = self.service.queue.close_mailbox(self.mailbox).await {
            eprintln!("tonemill: a mailbox stays in Redis for a day: {}", chain(&error));
        }
        worst
    }

    /// Uploads a file and queues its job.
    async fn submit(
        &mut self,
        input: &'a Path,
        target: &'a Target,
    ) -> Result<(), (Outcome, String)> {
        if let Target::File(path) = target
            && path.symlink_metadata().is_ok()
            && !self.args.files.force
        {
            return Err((Outcome::Usage, format!("{} exists: use --force", shown(path))));
        }
        let job = JobId::new();
        let upload = ObjectKey::upload(job);
        self.upload(input, &upload).await?;
        let message = JobMessage {
            lane: self.args.lane.into(),
            options: job_options(self.args),
            reply: Reply::Mailbox(self.mailbox),
            ..JobMessage::new(job, upload.clone())
        };
        let queued = self.service.queue.enqueue(&[message]).await;
        let bar = self.bars.file(&shown(input.file_name().map_or(input, Path::new)));
        self.waiting.insert(job, Submitted { input, target, upload: upload.clone(), bar });
        // One that may have been queued is waited for; the answer is lost, not the job.
        if let Err(error) =
            queued.or_else(|error| if error.ambiguous { Ok(()) } else { Err(error) })
        {
            self.waiting.remove(&job);
            self.remove(&upload).await;
            return Err((Outcome::Fault, chain(&error)));
        }
        Ok(())
    }

    async fn upload(&self, input: &Path, key: &ObjectKey) -> Result<(), (Outcome, String)> {
        let unreadable = |error: std::io::Error| {
            (Outcome::BadInput, format!("cannot be read: {error}: check its name and permissions"))
        };
        let mut file = std::fs::File::open(input).map_err(unreadable)?;
        let store_failed =
            |error: tonemill_job::objects::StoreError| (Outcome::Fault, chain(&error));
        let store = &self.service.store;
        let mut upload =
            store.create(key, "application/octet-stream", 0).await.map_err(store_failed)?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let read = block_in_place(|| {
                Read::take(&mut file, CHUNK_BYTES as u64).read_to_end(&mut chunk)
            });
            if read.map_err(unreadable)? == 0 {
                break;
            }
            if self.cancel.is_cancelled() {
                let _ = upload.abort().await;
                return Err((Outcome::Cancelled, "interrupted".to_owned()));
            }
            upload.write(Bytes::from(chunk)).await.map_err(store_failed)?;
        }
        upload.finish(Bytes::new()).await.map_err(store_failed)
    }

    /// Waits for the end of all jobs.
    async fn wait(&mut self) -> Outcome {
        let mut worst = Outcome::Done;
        let mut after: Option<EventId> = None;
        let mut cancelled_at = None;
        while !self.waiting.is_empty() {
            if self.cancel.is_cancelled() && cancelled_at.is_none() {
                cancelled_at = Some(std::time::Instant::now());
                worst = worst.max(Outcome::Cancelled);
                self.cancel_all().await;
            }
            if cancelled_at.is_some_and(|at| at.elapsed() > CANCEL) {
                break;
            }
            match self.service.queue.mail(self.mailbox, after.as_ref(), LOOK).await {
                Ok(mail) => {
                    for (id, event) in mail {
                        worst = worst.max(self.event(event.job, event.what).await);
                        after = Some(id);
                    }
                    self.show_progress().await;
                }
                // The jobs go on without us, and their events are kept.
                Err(error) => {
                    self.bars.suspend(|| eprintln!("tonemill: {}: trying again", chain(&error)));
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
        // What is still queued finds nothing to convert.
        for (_, left) in std::mem::take(&mut self.waiting) {
            self.remove(&left.upload).await;
        }
        worst
    }

    async fn cancel_all(&self) {
        for job in self.waiting.keys() {
            if let Err(error) = self.service.queue.cancel(*job).await {
                eprintln!("tonemill: job {job} goes on: {}", chain(&error));
            }
        }
    }

    async fn show_progress(&mut self) {
        if self.args.files.json || self.args.files.quiet {
            return;
        }
        for (job, submitted) in &mut self.waiting {
            if let Ok(Some(progress)) = self.service.queue.progress(*job).await {
                submitted.bar.update(tonemill_codec::Progress {
                    encoded_seconds: progress.encoded_seconds,
                    declared_seconds: progress.declared_seconds,
                });
            }
        }
    }

    /// Takes note of what became of a job.
    async fn event(&mut self, job: JobId, what: What) -> Outcome {
        if !what.is_end() {
            return Outcome::Done;
        }
        // The second end of a job that was queued twice.
        let Some(submitted) = self.waiting.remove(&job) else { return Outcome::Done };
        let Submitted { input, target, upload, bar } = submitted;
        drop(bar);
        let outcome = match what {
            What::Finished(finished) => self.fetch(input, target, &finished).await,
            What::Failed { failure } => self.tell_failure(input, &failure),
            _ => Outcome::Cancelled,
        };
        self.remove(&upload).await;
        self.bars.file_ended();
        outcome
    }

    /// Downloads an output, and removes it from the store when it is safe.
    async fn fetch(&self, input: &Path, target: &Target, finished: &Finished) -> Outcome {
        match self.download(target, finished).await {
            Ok(()) => {
                self.remove(&finished.output).await;
                if self.tell_finished(input, target, finished) {
                    Outcome::Done
                } else {
                    Outcome::Fault
                }
            }
            Err((outcome, why)) => {
                let key = &finished.output;
                self.bars.suspend(|| {
                    eprintln!(
                        "tonemill: {}: {why}: the MP3 stays in the store as {key}",
                        shown(input)
                    );
                });
                outcome
            }
        }
    }

    async fn download(
        &self,
        target: &Target,
        finished: &Finished,
    ) -> Result<(), (Outcome, String)> {
        let force = self.args.files.force;
        let unwritable = |error: std::io::Error| {
            let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
            let outcome = if exists { Outcome::Usage } else { Outcome::Fault };
            (outcome, format!("the output cannot be written: {error}"))
        };
        let mut output = Output::create(target, force).map_err(unwritable)?;
        let mut at = 0;
        while at < finished.bytes {
            let end = finished.bytes.min(at + CHUNK_BYTES as u64 * 4);
            let bytes = self.service.store.get(&finished.output, at..end).await;
            let bytes = bytes.map_err(|error| (Outcome::Fault, chain(&error)))?;
            block_in_place(|| output.file.write_all(&bytes)).map_err(unwritable)?;
            at = end;
        }
        block_in_place(|| output.finish(force, self.cancel)).map_err(unwritable)
    }

    async fn remove(&self, key: &ObjectKey) {
        if let Err(error) = self.service.store.delete(key).await {
            eprintln!("tonemill: {key} stays in the store: {}", chain(&error));
        }
    }

    /// Says how it went; false if the report was lost.
    fn tell_finished(&self, input: &Path, target: &Target, finished: &Finished) -> bool {
        let output = match target {
            Target::Stdout => Path::new("-"),
            Target::File(path) => path,
        };
        let mut told = true;
        self.bars.suspend(|| {
            if self.args.files.json {
                told = Line::converted(input, output, &finished.report).print();
                return;
            }
            for warning in &finished.warnings {
                eprintln!("tonemill: {}: warning: {warning}", shown(input));
            }
            if !self.args.files.quiet {
                let incomplete = if finished.truncated { ", INCOMPLETE" } else { "" };
                let length = clock(finished.duration_seconds);
                told = print_line(&format!(
                    "{} -> {} ({length}{incomplete})",
                    shown(input),
                    shown(output)
                ));
            }
        });
        told
    }

    fn tell_failure(&self, input: &Path, failure: &Failure) -> Outcome {
        let (kind, outcome) = match failure.kind {
            FailureKind::BadInput => (ErrorKind::BadInput, Outcome::BadInput),
            FailureKind::LimitExceeded => (ErrorKind::LimitExceeded, Outcome::BadInput),
            FailureKind::Transient => (ErrorKind::Io, Outcome::Fault),
            FailureKind::Crash | FailureKind::Bug => (ErrorKind::Bug, Outcome::Fault),
        };
        let Failure { message, advice, .. } = failure;
        let mut told = true;
        self.bars.suspend(|| {
            eprintln!("tonemill: {}: {message}: {advice}", shown(input));
            if self.args.files.json {
                let facts = ErrorFacts { kind, message, advice };
                told = Line::<serde_json::Value>::failed(input, facts).print();
            }
        });
        if told { outcome } else { outcome.max(Outcome::Fault) }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

//! `tonemill submit`: has files converted by the workers, through the very store and queue that the
//! service uses, and takes everything away again.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tonemill_job::message::{self, FailureKind, Finished, Reply, What};
use tonemill_job::queue::{EventId, QueueError};
use tonemill_job::{JobId, JobMessage, ObjectKey, chain};
use uuid::Uuid;

use crate::args::submit::SubmitArgs;
use crate::backends::Backends;
use crate::exit::{CancelToken, Outcome};
use crate::failure::{ErrorKind, Failure};
use crate::json::{Line, print_line};
use crate::output::{check, make_folder};
use crate::progress::{Bars, FileBar};
use crate::runtime;
use crate::target::{Target, usage};
use crate::text::{clock, shown};
use crate::transfer::{download, upload_file};

/// How long one look into the mailbox takes; how soon an interrupt is noticed.
const LOOK: Duration = Duration::from_millis(500);
/// How long cancelled jobs have to end.
const CANCEL: Duration = Duration::from_secs(5);
/// After this long without a word it is asked whether the queue still has jobs.
const SILENCE: Duration = Duration::from_secs(10);
/// How often a job is queued whose answers are lost. Twice queued is queued.
const QUEUE_TRIES: usize = 5;

/// Submits all files and waits; the worst outcome counts.
pub fn run(args: &SubmitArgs, cancel: &CancelToken) -> Outcome {
    let jobs = match args.files.jobs() {
        Ok(jobs) => jobs,
        Err(text) => usage("submit", &text).exit(),
    };
    if jobs.iter().any(|(input, target)| is_dash(input) || *target == Target::Stdout) {
        usage("submit", "standard input and output cannot be submitted: name files").exit();
    }
    if let Err(text) = args.conversion.part.check() {
        usage("submit", text).exit();
    }
    runtime::run(async {
        make_folder(args.files.outputs.dir.as_deref())?;
        let backends = args.backends.open(None).await?;
        let bars = Bars::new(jobs.len(), !args.files.outputs.json && !args.files.outputs.quiet);
        let submission = Submission {
            args,
            backends,
            cancel,
            mailbox: Uuid::new_v4(),
            bars,
            waiting: HashMap::new(),
        };
        Ok(submission.run(&jobs).await)
    })
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Files on their way.
struct Submission<'a> {
    args: &'a SubmitArgs,
    backends: Backends,
    cancel: &'a CancelToken,
    mailbox: Uuid,
    bars: Bars,
    waiting: HashMap<JobId, Submitted<'a>>,
}

/// A file whose upload is in the store and whose job is in the queue.
struct Submitted<'a> {
    input: &'a Path,
    target: &'a Target,
    message: JobMessage,
    bar: FileBar,
}

impl<'a> Submission<'a> {
    async fn run(mut self, jobs: &'a [(std::path::PathBuf, Target)]) -> Outcome {
        let mut worst = Outcome::Done;
        // Before anything is uploaded.
        if let Err(error) = self.backends.queue.check().await {
            return self.bars.suspend(|| Failure::from(error).tell());
        }
        for (input, target) in jobs {
            if self.cancel.is_cancelled() {
                break;
            }
            if let Err(failure) = self.submit(input, target).await {
                self.bars.file_ended();
                worst = worst.max(self.bars.suspend(|| failure.tell_of(shown(input))));
            }
        }
        worst = worst.max(self.wait().await);
        if let Err(error) = self.backends.queue.close_mailbox(self.mailbox).await {
            eprintln!("tonemill: a mailbox stays in Redis for a day: {}", chain(&error));
        }
        worst
    }

    /// Uploads a file and queues its job.
    async fn submit(&mut self, input: &'a Path, target: &'a Target) -> Result<(), Failure> {
        check(target, self.args.files.outputs.force)?;
        let job = JobId::new();
        let upload = ObjectKey::upload(job);
        upload_file(&*self.backends.store, input, &upload, self.cancel).await?;
        let message = JobMessage {
            lane: self.args.lane.into(),
            options: self.args.conversion.job_options(),
            reply: Reply::Mailbox(self.mailbox),
            ..JobMessage::new(job, upload.clone())
        };
        if let Err(error) = self.queue(&message).await {
            self.remove(&upload).await;
            return Err(error.into());
        }
        let bar = self.bars.file(&shown(input.file_name().map_or(input, Path::new)));
        self.waiting.insert(job, Submitted { input, target, message, bar });
        Ok(())
    }

    /// Queues a job. One that may have been queued already counts as queued, after some tries.
    async fn queue(&self, message: &JobMessage) -> Result<(), QueueError> {
        for _ in 0..QUEUE_TRIES {
            match self.backends.queue.enqueue(std::slice::from_ref(message)).await {
                Err(error) if error.ambiguous => tokio::time::sleep(LOOK).await,
                outcome => return outcome,
            }
        }
        Ok(())
    }

    /// Waits for the end of all jobs.
    async fn wait(&mut self) -> Outcome {
        let mut worst = Outcome::Done;
        let mut after: Option<EventId> = None;
        let mut cancelled_at = None;
        let mut heard = Instant::now();
        while !self.waiting.is_empty() {
            if self.cancel.is_cancelled() && cancelled_at.is_none() {
                cancelled_at = Some(Instant::now());
                worst = worst.max(Outcome::Cancelled);
                self.bars.suspend(|| eprintln!("tonemill: cancelling what is not done"));
                self.cancel_all().await;
            }
            if cancelled_at.is_some_and(|at| at.elapsed() > CANCEL) {
                break;
            }
            match self.backends.queue.mail(self.mailbox, after.as_ref(), LOOK).await {
                Ok(mail) if mail.is_empty() && heard.elapsed() > SILENCE => {
                    heard = Instant::now();
                    self.look_into_silence(after.as_ref()).await;
                }
                Ok(mail) => {
                    for (id, event) in mail {
                        worst = worst.max(self.event(event.job, event.what).await);
                        after = Some(id);
                        heard = Instant::now();
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
            self.remove(&left.message.input).await;
        }
        worst
    }

    /// Says so if nobody works. A Redis that came back empty has lost our jobs: they are queued
    /// once more.
    async fn look_into_silence(&self, after: Option<&EventId>) {
        let queue = &self.backends.queue;
        let Ok(depth) = queue.depth().await else { return };
        let waiting: u64 = depth.lanes.iter().map(|lane| lane.waiting).sum();
        let running: u64 = depth.lanes.iter().map(|lane| lane.running).sum();
        if waiting > 0 && running == 0 {
            let hint = "no worker takes jobs: does one run with this Redis, and reach the store?";
            self.bars.suspend(|| eprintln!("tonemill: {waiting} jobs wait and {hint}"));
        }
        let has_jobs = depth.delayed + waiting + running > 0;
        // A job leaves the queue when its event comes here: looked at in this order, none is
        // missed.
        let mail = queue.mail(self.mailbox, after, Duration::ZERO).await;
        if has_jobs || mail.map_or(true, |mail| !mail.is_empty()) {
            return;
        }
        let jobs = self.waiting.len();
        self.bars.suspend(|| eprintln!("tonemill: the queue has lost {jobs} jobs: queued again"));
        for submitted in self.waiting.values() {
            // If it fails, the next silence is the next try.
            let _ = self.queue(&submitted.message).await;
        }
    }

    async fn cancel_all(&self) {
        for job in self.waiting.keys() {
            if let Err(error) = self.backends.queue.cancel(*job).await {
                eprintln!("tonemill: job {job} goes on: {}", chain(&error));
            }
        }
    }

    async fn show_progress(&mut self) {
        if self.args.files.outputs.json || self.args.files.outputs.quiet {
            return;
        }
        for (job, submitted) in &mut self.waiting {
            if let Ok(Some(progress)) = self.backends.queue.progress(*job).await {
                submitted.bar.update(&progress);
            }
        }
    }

    /// Takes note of what became of a job.
    async fn event(&mut self, job: JobId, what: What) -> Outcome {
        if !what.is_end() {
            return Outcome::Done;
        }
        let Some(submitted) = self.waiting.remove(&job) else {
            // The second end of a job that was queued twice.
            if let What::Finished(finished) = what {
                self.remove(&finished.output).await;
            }
            return Outcome::Done;
        };
        let Submitted { input, target, message, bar } = submitted;
        drop(bar);
        let outcome = match what {
            What::Finished(finished) => self.fetch(input, target, &finished).await,
            What::Failed { failure } => self.tell_failure(input, *failure),
            _ => Outcome::Cancelled,
        };
        self.remove(&message.input).await;
        self.bars.file_ended();
        outcome
    }

    /// Downloads an output, and removes it from the store when it is safe.
    async fn fetch(&self, input: &Path, target: &Target, finished: &Finished) -> Outcome {
        let force = self.args.files.outputs.force;
        match download(&*self.backends.store, finished, target, force, self.cancel).await {
            Ok(()) => {
                self.remove(&finished.output).await;
                self.tell_finished(input, target, finished)
            }
            Err(failure) => {
                let advice = format!("the MP3 stays in the store as {}", finished.output);
                let failure = Failure { advice, ..failure };
                self.bars.suspend(|| failure.tell_of(shown(input)))
            }
        }
    }

    async fn remove(&self, key: &ObjectKey) {
        if let Err(error) = self.backends.store.delete(key).await {
            eprintln!("tonemill: {key} stays in the store: {}", chain(&error));
        }
    }

    /// Says how it went.
    fn tell_finished(&self, input: &Path, target: &Target, finished: &Finished) -> Outcome {
        let output = target.as_path();
        self.bars.suspend(|| {
            if self.args.files.outputs.json {
                return Line::converted(input, output, &finished.report).print();
            }
            for warning in &finished.warnings {
                eprintln!("tonemill: {}: warning: {warning}", shown(input));
            }
            if self.args.files.outputs.quiet {
                return Outcome::Done;
            }
            let incomplete = if finished.truncated { ", INCOMPLETE" } else { "" };
            let length = clock(finished.duration_seconds);
            print_line(&format!("{} -> {} ({length}{incomplete})", shown(input), shown(output)))
        })
    }

    fn tell_failure(&self, input: &Path, failure: message::Failure) -> Outcome {
        let kind = match failure.kind {
            FailureKind::BadInput => ErrorKind::BadInput,
            FailureKind::LimitExceeded => ErrorKind::LimitExceeded,
            FailureKind::Transient => ErrorKind::Io,
            FailureKind::Crash | FailureKind::Bug => ErrorKind::Bug,
        };
        let failure = Failure::of_kind(kind, failure.message, failure.advice);
        self.bars.suspend(|| {
            let outcome = failure.tell_of(shown(input));
            if !self.args.files.outputs.json {
                return outcome;
            }
            outcome.max(Line::<serde_json::Value>::failed(input, &failure).print())
        })
    }
}

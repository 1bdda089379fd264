//! `tonemill upload`: files become jobs, one after the other, while the jobs of those before are
//! watched and their MP3s come down.
//!
//! What is remembered of a file is the name of its upload, which is that of its job: the same
//! command finds either, and asks for no second job. It is forgotten when the command has done all
//! it can.

mod report;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonemill_job::JobId;

use crate::args::client::UploadArgs;
use crate::client::api::{Api, Ask};
use crate::client::bars::Bars;
use crate::client::config_dir::ConfigDir;
use crate::client::download::get_whole;
use crate::client::drive;
use crate::client::job::{Job, JobWebhook};
use crate::client::order::Order;
use crate::client::records::{Left, Opened, Record};
use crate::client::source::Source;
use crate::client::tus::{Arrived, Tus};
use crate::client::watch::{AT_A_TIME, follow};
use crate::exit::{CancelToken, Outcome};
use crate::failure::Failure;
use crate::output::{check, make_folder};
use crate::target::{Target, usage};
use crate::text::shown;

use report::Transfer;

/// How often an upload is begun that the service forgets.
const BEGINNINGS: usize = 3;

/// What is remembered of a file.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Its upload, and its job.
    upload: JobId,
    /// Of the request for the job, once that may have been sent.
    order: Option<String>,
}

/// A file whose job is accepted.
struct Accepted<'a> {
    input: &'a Path,
    target: Option<&'a Target>,
    job: JobId,
    webhook: Option<JobWebhook>,
    sent: Transfer,
    left: Left,
}

/// Uploads all; the worst outcome counts.
pub fn run(args: &UploadArgs, cancel: &CancelToken) -> Outcome {
    let files = match files(args) {
        Ok(files) => files,
        Err(text) => usage("upload", &text).exit(),
    };
    let order = match Order::new(args) {
        Ok(order) => order,
        Err(failed) => usage("upload", &failed.to_string()).exit(),
    };
    let bars = Bars::new(!args.files.outputs.json && !args.files.outputs.quiet);
    let under_way = Mutex::new(Vec::new());
    let work = async {
        let dir = ConfigDir::find().ok();
        let api = Api::open(&args.server, &bars)?;
        let uploads = Uploads { args, api, bars: &bars, dir, order, cancel, under_way: &under_way };
        uploads.run(&files).await
    };
    drive(cancel, work, || farewell(&under_way))
}

/// Inputs, with their outputs if those are wanted here.
fn files(args: &UploadArgs) -> Result<Vec<(PathBuf, Option<Target>)>, String> {
    let files = &args.files;
    if files.inputs.iter().any(|input| input.as_os_str() == "-") {
        return Err("standard input cannot be uploaded: name files".to_owned());
    }
    if !args.wants_outputs() {
        return Ok(files.inputs.iter().map(|input| (input.clone(), None)).collect());
    }
    let jobs = files.jobs()?;
    if jobs.iter().any(|(_, target)| *target == Target::Stdout) {
        return Err("an MP3 does not come on standard output: name a file".to_owned());
    }
    Ok(jobs.into_iter().map(|(input, target)| (input, Some(target))).collect())
}

fn farewell(under_way: &Mutex<Vec<JobId>>) -> String {
    let again = "say the same again to go on where it stopped";
    let jobs = under_way.lock().unwrap_or_else(PoisonError::into_inner).len();
    match jobs {
        0 => again.to_owned(),
        1 => format!("a job goes on; {again}"),
        jobs => format!("{jobs} jobs go on; {again}"),
    }
}

struct Uploads<'a> {
    args: &'a UploadArgs,
    api: Api,
    bars: &'a Bars,
    dir: Option<ConfigDir>,
    order: Order,
    cancel: &'a CancelToken,
    /// Jobs that are not over.
    under_way: &'a Mutex<Vec<JobId>>,
}

impl Uploads<'_> {
    async fn run(&self, files: &[(PathBuf, Option<Target>)]) -> Result<Outcome, Failure> {
        make_folder(self.args.files.outputs.dir.as_deref())?;
        let mut worst = Outcome::Done;
        let mut good = Vec::new();
        // Before anything is uploaded.
        for (input, target) in files {
            let checked =
                target.as_ref().map(|target| check(target, self.args.files.outputs.force));
            match checked {
                Some(Err(failed)) => worst = worst.max(self.tell_failed(input, &failed)),
                _ => good.push((&**input, target.as_ref())),
            }
        }
        let (sender, receiver) = unbounded_channel();
        let (up, down) =
            tokio::join!(self.all_up(good.into_iter(), sender), self.all_down(receiver));
        let (down, left) = down;
        let worst = worst.max(up).max(down);
        // What the network or the disk prevented can be done later.
        if matches!(worst, Outcome::Done | Outcome::BadInput) {
            left.iter().for_each(Left::forget);
        }
        Ok(worst)
    }

    /// Uploads one after the other: together they would only share the line.
    async fn all_up<'a>(
        &self,
        files: impl Iterator<Item = (&'a Path, Option<&'a Target>)>,
        sender: UnboundedSender<Accepted<'a>>,
    ) -> Outcome {
        let mut worst = Outcome::Done;
        let mut files = files;
        for (input, target) in files.by_ref() {
            match self.up(input, target).await {
                Ok(accepted) => {
                    self.tell_secret(&accepted);
                    self.under_way().push(accepted.job);
                    // Whoever listens does so until we end.
                    let _ = sender.send(accepted);
                }
                Err(failed) => {
                    worst = worst.max(self.tell_failed(input, &failed));
                    // What is not this file's fault is the same for the next.
                    if failed.outcome != Outcome::BadInput {
                        break;
                    }
                }
            }
        }
        let left = files.count();
        if left > 0 {
            self.bars.suspend(|| eprintln!("tonemill: {left} more files were not uploaded"));
        }
        worst
    }

    /// Uploads a file and has its job accepted.
    async fn up<'a>(
        &self,
        input: &'a Path,
        target: Option<&'a Target>,
    ) -> Result<Accepted<'a>, Failure> {
        let source = Source::open(input)?;
        let name = input.file_name().unwrap_or_default().to_string_lossy();
        let bar = self.bars.file(name_of(input));
        let size = source.bytes.to_string();
        let facts = [&self.api.link.base, &source.absolute, &size, &source.modified];
        let facts = facts.map(String::as_str);
        let (mut record, kept) = match Record::open(self.dir.as_ref(), "uploads", &facts) {
            Opened::Ours(record, kept) => (record, kept),
            // Somebody uploads the same, perhaps with other options: this one is for itself.
            Opened::Busy => (Record::nowhere(), None),
        };
        let (api, bar) = (&self.api, &bar);
        let mut tus = Tus { api, source: &source, bar, sent_bytes: 0, begun: None };
        match self.arrive(&mut tus, &name, kept, &mut record).await {
            Ok((Ordered { job, webhook }, resumed_at)) => {
                let sent = Transfer { bytes: source.bytes, sent_bytes: tus.sent_bytes, resumed_at };
                Ok(Accepted { input, target, job, webhook, sent, left: record.leave() })
            }
            Err(failed) => {
                if failed.outcome == Outcome::BadInput {
                    tus.give_up().await;
                    record.forget();
                }
                Err(failed)
            }
        }
    }

    /// Brings a file as far as its job; that, and what the service had before.
    async fn arrive(
        &self,
        tus: &mut Tus<'_>,
        name: &str,
        kept: Option<Kept>,
        record: &mut Record<Kept>,
    ) -> Result<(Ordered, u64), Failure> {
        let found = match kept {
            Some(kept) => self.find(tus, kept).await?,
            None => Found::Nothing,
        };
        let begun = match found {
            Found::Job(job) => {
                return Ok((Ordered { job, webhook: None }, tus.source.bytes));
            }
            Found::Upload(upload, offset) => Some((upload, offset)),
            Found::Nothing => None,
        };
        let resumed_at = begun.map_or(0, |(_, offset)| offset);
        let upload = self.complete(tus, begun, record).await?;
        Ok((self.order_job(upload, name, tus.source, record).await?, resumed_at))
    }

    /// What has become of an upload that was remembered.
    async fn find(&self, tus: &Tus<'_>, kept: Kept) -> Result<Found, Failure> {
        let Kept { upload, order } = kept;
        if let Some(offset) = tus.offset(upload).await? {
            return Ok(Found::Upload(upload, offset));
        }
        // It may be the job that was asked for. One with other options is another.
        if order == Some(self.order.hash()) && self.api.job_if_there(upload).await?.is_some() {
            return Ok(Found::Job(upload));
        }
        Ok(Found::Nothing)
    }

    /// Sends what is missing of an upload, or all of a new one.
    async fn complete(
        &self,
        tus: &mut Tus<'_>,
        mut begun: Option<(JobId, u64)>,
        record: &mut Record<Kept>,
    ) -> Result<JobId, Failure> {
        for _ in 0..BEGINNINGS {
            let (upload, offset) = match begun.take() {
                Some(begun) => begun,
                None => {
                    let upload = tus.begin().await?;
                    record.save(&Kept { upload, order: None });
                    (upload, 0)
                }
            };
            tus.begun = Some(upload);
            if tus.send(upload, offset).await? == Arrived::Whole {
                return Ok(upload);
            }
        }
        Err(Failure::fault("the service forgets the upload again and again", "try again later"))
    }

    /// Asks for the job of an upload that is whole. However often it is asked, there is one.
    async fn order_job(
        &self,
        upload: JobId,
        name: &str,
        source: &Source,
        record: &mut Record<Kept>,
    ) -> Result<Ordered, Failure> {
        if !source.is_unchanged() {
            return Err(Failure::input("it changed while it was uploaded", "upload it again"));
        }
        record.save(&Kept { upload, order: Some(self.order.hash()) });
        let ask = Ask::new(Method::POST, "/v1/jobs").json(self.order.request(upload, name));
        let Job { id: job, webhook, .. } = self.api.json(&ask).await?;
        Ok(Ordered { job, webhook })
    }

    fn under_way(&self) -> MutexGuard<'_, Vec<JobId>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worst outcome, and what is remembered still.
    async fn all_down(&self, receiver: UnboundedReceiver<Accepted<'_>>) -> (Outcome, Vec<Left>) {
        let accepted = unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|accepted| (accepted, receiver))
        });
        let ends = accepted.map(|accepted| self.down(accepted)).buffer_unordered(AT_A_TIME);
        let all = (Outcome::Done, Vec::new());
        ends.fold(all, |(worst, mut all), (outcome, left)| async move {
            all.push(left);
            (worst.max(outcome), all)
        })
        .await
    }

    /// Sees a job to the end that was asked for.
    async fn down(&self, accepted: Accepted<'_>) -> (Outcome, Left) {
        if !self.args.watch && accepted.target.is_none() {
            return (self.tell_accepted(&accepted).await, accepted.left);
        }
        let bar = self.bars.file(name_of(accepted.input));
        let followed = follow(&self.api, accepted.job, |job, _| bar.job(job)).await;
        drop(bar);
        let ended = match followed {
            Ok(job) => self.end(&accepted, &job).await,
            Err(failed) => Err(failed),
        };
        let outcome = match &ended {
            Ok(job) => self.tell_done(&accepted, job).await,
            Err(failed) => self.tell_failed(accepted.input, failed),
        };
        (outcome, accepted.left)
    }

    /// What comes of a job that is over.
    async fn end(&self, accepted: &Accepted<'_>, job: &Job) -> Result<Job, Failure> {
        self.under_way().retain(|id| *id != job.id);
        let output = match &job.output {
            Some(output) if job.is_finished() => output,
            _ => {
                // The next time it is another job.
                accepted.left.forget();
                return Err(job.failed());
            }
        };
        if let Some(target) = accepted.target {
            let force = self.args.files.outputs.force;
            let got =
                get_whole(&self.api, job.id, output, target, force, self.bars, self.cancel).await;
            got.map_err(|failed| {
                let advice = format!("say `tonemill download {}` to get the MP3", job.id);
                Failure { advice, ..failed }
            })?;
        }
        Ok(job.clone())
    }
}

fn name_of(input: &Path) -> String {
    shown(input.file_name().map_or(input, Path::new))
}

/// A job that is asked for, and who is told of it, if the service says so now.
struct Ordered {
    job: JobId,
    webhook: Option<JobWebhook>,
}

/// What was found of an upload that was remembered.
enum Found {
    Nothing,
    /// It goes on there.
    Upload(JobId, u64),
    /// It has become a job.
    Job(JobId),
}

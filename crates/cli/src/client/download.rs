//! `tonemill download`: outputs of finished jobs, under their names when they are whole.
//!
//! What is not whole is a hidden file beside the output, and the tag of what it is a part of is in
//! a record: so whatever ends the process, the next one goes on. (A file without a name, as for
//! conversions, would be gone with the process.)

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use tempfile::TempPath;
use tonemill_job::JobId;

use crate::args::client::DownloadArgs;
use crate::client::api::Api;
use crate::client::bars::Bars;
use crate::client::config_dir::ConfigDir;
use crate::client::drive;
use crate::client::fetch::Fetch;
use crate::client::file_name::{MAX_BYTES, safe, shortened};
use crate::client::job::{Job, Output};
use crate::client::records::{Opened, Record};
use crate::exit::{CancelToken, Outcome};
use crate::failure::Failure;
use crate::json::{print_json, print_line};
use crate::output::{self, exists, is_folder, make_folder, unwritable};
use crate::target::{Target, usage};
use crate::text::{clock, shown};

/// What is remembered of a download.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Of what the partial file is a part of.
    tag: String,
}

/// An output that is wanted.
struct Wanted {
    id: JobId,
    output: Output,
    target: Target,
}

/// Downloads all; the worst outcome counts.
pub fn run(args: &DownloadArgs, cancel: &CancelToken) -> Outcome {
    let to_stdout = args.outputs.output.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if args.outputs.output.is_some() && args.ids.len() > 1 {
        usage("download", "-o takes a single job: use -d DIR for several").exit();
    }
    if to_stdout && args.outputs.json {
        usage("download", "--json and an MP3 cannot share standard output").exit();
    }
    if to_stdout && io::stdout().is_terminal() {
        usage("download", "an MP3 is not written to a terminal: redirect it or use -o FILE").exit();
    }
    let bars = Bars::new(!args.outputs.json && !args.outputs.quiet);
    let farewell = || "say the same again to go on where it stopped".to_owned();
    let downloads = Downloads { args, bars: &bars, cancel, to_stdout };
    drive(cancel, downloads.run(), farewell)
}

struct Downloads<'a> {
    args: &'a DownloadArgs,
    bars: &'a Bars,
    cancel: &'a CancelToken,
    to_stdout: bool,
}

impl Downloads<'_> {
    async fn run(&self) -> Result<Outcome, Failure> {
        let api = Api::open(&self.args.server, self.bars)?;
        make_folder(self.args.outputs.dir.as_deref())?;
        let mut worst = Outcome::Done;
        let mut wanted = Vec::new();
        for id in &self.args.ids {
            match self.look(&api, *id).await {
                Ok(found) => wanted.push(found),
                Err(failed) => worst = worst.max(self.tell_failed(*id, &failed)),
            }
        }
        refuse_clashes(&wanted)?;
        for wanted in &wanted {
            let outcome = match self.download(&api, wanted).await {
                Ok(resumed_at) => self.tell_done(wanted, resumed_at),
                Err(failed) => self.tell_failed(wanted.id, &failed),
            };
            worst = worst.max(outcome);
        }
        Ok(worst)
    }

    /// What a job has to download, and where it goes.
    async fn look(&self, api: &Api, id: JobId) -> Result<Wanted, Failure> {
        let job: Job = api.job(id).await?;
        let Some(output) = job.output.clone() else {
            if job.is_over() {
                return Err(job.failed());
            }
            let message = format!("the job is {}", job.state);
            return Err(Failure::input(
                message,
                format!("say `tonemill watch {id}` to wait for it"),
            ));
        };
        let target = match &self.args.outputs.output {
            Some(_) if self.to_stdout => Target::Stdout,
            Some(path) => Target::File(path.clone()),
            None => {
                let name = safe(&output.file_name);
                let folder = self.args.outputs.dir.clone().unwrap_or_default();
                Target::File(folder.join(name))
            }
        };
        Ok(Wanted { id, output, target })
    }

    /// Gets an output; how much of it was there before.
    async fn download(&self, api: &Api, wanted: &Wanted) -> Result<u64, Failure> {
        match &wanted.target {
            Target::File(path) => match path.symlink_metadata() {
                Ok(there) if there.is_dir() => Err(is_folder(&shown(path))),
                // A pipe or a device, or a link to one, cannot be gone on with.
                Ok(_) if path.metadata().is_ok_and(|file| !file.is_file()) => {
                    self.stream(api, wanted).await
                }
                Ok(_) if !self.args.outputs.force => Err(exists(&shown(path))),
                _ => self.resume(api, wanted, path).await,
            },
            Target::Stdout => self.stream(api, wanted).await,
        }
    }

    async fn stream(&self, api: &Api, wanted: &Wanted) -> Result<u64, Failure> {
        let force = self.args.outputs.force;
        get_whole(api, wanted.id, &wanted.output, &wanted.target, force, self.bars, self.cancel)
            .await?;
        Ok(0)
    }

    async fn resume(&self, api: &Api, wanted: &Wanted, path: &Path) -> Result<u64, Failure> {
        let Wanted { id, output, .. } = wanted;
        let partial = Partial::open(api, *id, path)?;
        let Partial { path: part, mut file, mut record, kept } = partial;
        let tag = kept.map(|kept| kept.tag).filter(|tag| !tag.is_empty());
        let bar = self.bars.file(shown(path));
        let mut fetch = Fetch::new(api, (*id, output.bytes), &mut file, tag, &bar)?;
        let fetched = fetch.run(|tag| record.save(&Kept { tag: tag.to_owned() })).await;
        if fetched.as_ref().is_err_and(|failed| failed.outcome == Outcome::BadInput) {
            // There is nothing more to come.
            let _ = std::fs::remove_file(&part);
            record.forget();
            return fetched;
        }
        let kept_bytes = fetched?;
        put(part, path, self.args.outputs.force)?;
        record.forget();
        Ok(kept_bytes)
    }

    fn tell_done(&self, wanted: &Wanted, resumed_at: u64) -> Outcome {
        let Wanted { id, output, target } = wanted;
        let Target::File(path) = target else { return Outcome::Done };
        self.bars.suspend(|| {
            if self.args.outputs.json {
                return print_json(&serde_json::json!({
                    "job": id,
                    "output_path": path.to_string_lossy(),
                    "bytes": output.bytes,
                    "resumed_at": resumed_at,
                }));
            }
            if self.args.outputs.quiet {
                return Outcome::Done;
            }
            let length = clock(output.duration_seconds);
            let incomplete = if output.truncated { ", INCOMPLETE" } else { "" };
            print_line(&format!("{id} -> {} ({length}{incomplete})", shown(path)))
        })
    }

    fn tell_failed(&self, id: JobId, failed: &Failure) -> Outcome {
        self.bars.suspend(|| {
            let outcome = failed.tell_of(id);
            if !self.args.outputs.json {
                return outcome;
            }
            outcome.max(print_json(&serde_json::json!({ "job": id, "error": failed })))
        })
    }
}

/// Gets an output in one go: nothing stays of it if that fails.
pub async fn get_whole(
    api: &Api,
    id: JobId,
    output: &Output,
    target: &Target,
    force: bool,
    bars: &Bars,
    cancel: &CancelToken,
) -> Result<(), Failure> {
    let unwritable = |error: io::Error| unwritable(&target.name(), &error);
    let mut place = output::Output::create(target, force).map_err(unwritable)?;
    let bar = bars.file(target.name());
    let mut fetch = Fetch::new(api, (id, output.bytes), &mut place.file, None, &bar)?;
    fetch.run(|_| {}).await?;
    drop(bar);
    tokio::task::block_in_place(|| place.finish(force, cancel)).map_err(unwritable)
}

/// A file that is not whole.
struct Partial {
    path: PathBuf,
    file: File,
    record: Record<Kept>,
    kept: Option<Kept>,
}

impl Partial {
    fn open(api: &Api, id: JobId, target: &Path) -> Result<Self, Failure> {
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let folder = folder.canonicalize().map_err(|error| {
            Failure::usage(format!("there is no folder {}: {error}", shown(folder)), "")
        })?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        // The job's name keeps it apart from others' files, and from other jobs' parts.
        let ending = format!(".{id}.part");
        let name = shortened(&name, MAX_BYTES - ending.len() - 1);
        let path = folder.join(format!(".{name}{ending}"));
        let dir = ConfigDir::find().ok();
        let facts =
            [&api.link.base, &id.to_string(), &path.to_string_lossy()[..]].map(str::to_owned);
        let facts: Vec<&str> = facts.iter().map(String::as_str).collect();
        let (record, kept) = match Record::open(dir.as_ref(), "downloads", &facts) {
            Opened::Ours(record, kept) => (record, kept),
            Opened::Busy => {
                let message = format!("another tonemill writes {}", shown(target));
                return Err(Failure::fault(message, "wait for it"));
            }
        };
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let readable_by_umask = Mode::from_raw_mode(0o666);
        let file = rustix::fs::open(&path, flags, readable_by_umask);
        let file: File = file.map_err(|error| unwritable(&shown(&path), &error.into()))?.into();
        Ok(Self { path, file, record, kept })
    }
}

/// Gives a file that is whole its name.
fn put(part: PathBuf, path: &Path, force: bool) -> Result<(), Failure> {
    let unwritable = |error: &io::Error| unwritable(&shown(path), error);
    let part = TempPath::try_from_path(part).map_err(|error| unwritable(&error))?;
    let put = if force { part.persist(path) } else { part.persist_noclobber(path) };
    put.map_err(|refused| {
        // It is whole: the next one only has to give it its name.
        let _ = refused.path.keep();
        unwritable(&refused.error)
    })
}

fn refuse_clashes(wanted: &[Wanted]) -> Result<(), Failure> {
    let mut targets = HashMap::new();
    for Wanted { id, target, .. } in wanted {
        if let Some(other) = targets.insert(target, id) {
            let message = format!("{other} and {id} have the same output");
            return Err(Failure::usage(message, "download them apart"));
        }
    }
    Ok(())
}

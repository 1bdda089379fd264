//! Where backups are: a file, a folder, a bucket, or standard input and output. A backup appears
//! under its name when it is whole, and is readable for nobody else.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tonemill_job::ObjectKey;
use tonemill_job::message::now_ms;
use tonemill_job::objects::{ObjectStore as _, S3Store};

use super::retention::{is_name, name_at, outdated, until_now};
use crate::args::backends::BackendArgs;
use crate::exit::CancelToken;
use crate::failure::Failure;
use crate::output::{Output, folder_of, temporary_file, unwritable};
use crate::target::Target;
use crate::text::shown;

/// What is fetched or sent at a time, in bytes.
const STEP: u64 = 8 << 20;
/// Names that are asked for at a time.
const PAGE: usize = 1000;

pub(super) enum Place {
    Stdio,
    File(PathBuf),
    Folder(PathBuf),
    Object(Box<Bucket>, ObjectKey),
    Bucket(Box<Bucket>),
}

/// What became of other backups when one was made.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) removed: Vec<String>,
    /// Those of a time to come, which are neither counted nor removed.
    pub(super) to_come: Vec<String>,
}

/// A bucket, or a part of one.
pub(super) struct Bucket {
    store: S3Store,
    /// As it was said.
    name: String,
    /// What its keys start with, up to a `/`.
    prefix: String,
}

impl Place {
    pub(super) async fn of(text: &str, backends: &BackendArgs) -> Result<Self, Failure> {
        if text == "-" {
            return Ok(Self::Stdio);
        }
        let Some(bucket) = text.strip_prefix("s3://") else {
            let path = PathBuf::from(text);
            return Ok(if path.is_dir() { Self::Folder(path) } else { Self::File(path) });
        };
        let (name, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let prefix = prefix.trim_end_matches('/').to_owned();
        if ObjectKey::try_from(format!("{prefix}/x").trim_start_matches('/').to_owned()).is_err() {
            let what = format!("{text} has more in it than small letters, digits, - . and /");
            return Err(Failure::usage(what, ""));
        }
        let store = backends.bucket_called(name).await?;
        let is_object = Path::new(&prefix).extension().is_some_and(|end| end == "gz");
        let bucket = Box::new(Bucket { store, name: name.to_owned(), prefix });
        if !is_object {
            return Ok(Self::Bucket(bucket));
        }
        let key = key(&bucket.prefix)?;
        Ok(Self::Object(bucket, key))
    }

    /// Whether it has room for several, by their times.
    pub(super) fn keeps_several(&self) -> bool {
        matches!(self, Self::Folder(_) | Self::Bucket(_))
    }

    /// Begins a backup at this time.
    pub(super) fn begin(&self, now_ms: i64) -> Result<Draft<'_>, Failure> {
        let (target, goes_to) = match self {
            Self::Stdio => (Target::Stdout, None),
            Self::File(path) => (Target::File(path.clone()), None),
            Self::Folder(path) => (Target::File(path.join(name_at(now_ms))), None),
            Self::Object(bucket, key) => (Target::Stdout, Some((&**bucket, key.clone()))),
            Self::Bucket(bucket) => {
                (Target::Stdout, Some((&**bucket, bucket.key(&name_at(now_ms))?)))
            }
        };
        let name = target.name();
        let output = Output::create(&target, false).map_err(|error| unwritten(&name, &error))?;
        // The keys that sign log-ins are in it.
        let closed = output.file.set_permissions(Permissions::from_mode(0o600));
        closed.map_err(|error| unwritten(&name, &error))?;
        Ok(Draft { output, target, goes_to })
    }

    /// The backup, as a file at its start; the newest of several.
    pub(super) async fn fetch(&self) -> Result<File, Failure> {
        match self {
            Self::Stdio => spool(&mut io::stdin().lock()),
            Self::File(path) => {
                let unread = |error| Failure::input(format!("{}: {error}", shown(path)), "");
                let mut file = File::open(path).map_err(unread)?;
                if file.metadata().map_err(unread)?.is_file() { Ok(file) } else { spool(&mut file) }
            }
            Self::Folder(path) => {
                let path = path.join(newest(names_in(path)?, &shown(path))?);
                File::open(&path).map_err(|error| Failure::cannot("read the backup", error))
            }
            Self::Object(bucket, key) => bucket.fetch(key).await,
            Self::Bucket(bucket) => {
                let place = format!("s3://{}/{}", bucket.name, bucket.prefix);
                let newest = newest(bucket.names().await?, &place)?;
                bucket.fetch(&bucket.key(&newest)?).await
            }
        }
    }

    /// Removes what is neither among the newest nor young, nor the one that was made at `now_ms`.
    pub(super) async fn let_go(
        &self,
        keep: Option<u32>,
        days: Option<u32>,
        now_ms: i64,
    ) -> Result<Others, Failure> {
        if keep.is_none() && days.is_none() {
            return Ok(Others::default());
        }
        let names = match self {
            Self::Folder(path) => names_in(path)?,
            Self::Bucket(bucket) => bucket.names().await?,
            Self::Stdio | Self::File(_) | Self::Object(..) => Vec::new(),
        };
        let (names, to_come) = until_now(names, now_ms);
        let removed = outdated(names, keep, days, now_ms);
        for name in &removed {
            match self {
                Self::Bucket(bucket) => bucket.store.delete(&bucket.key(name)?).await?,
                Self::Folder(path) => fs::remove_file(path.join(name))
                    .map_err(|error| Failure::cannot(format!("remove {name}"), error))?,
                Self::Stdio | Self::File(_) | Self::Object(..) => {}
            }
        }
        Ok(Others { removed, to_come })
    }
}

/// A backup on its way out.
pub(super) struct Draft<'a> {
    output: Output,
    target: Target,
    goes_to: Option<(&'a Bucket, ObjectKey)>,
}

impl Draft<'_> {
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.output.file
    }

    pub(super) fn is_stdout(&self) -> bool {
        matches!(self.target, Target::Stdout) && self.goes_to.is_none()
    }

    /// Puts it in its place; its name, and how long it is.
    pub(super) async fn finish(self) -> Result<(String, u64), Failure> {
        let name = self.target.name();
        let mut file = &self.output.file;
        // It has to outlive this machine's next loss of power.
        let length = file.sync_all().and_then(|()| file.metadata());
        let length = length.map_err(|error| unwritten(&name, &error))?.len();
        if let Some((bucket, key)) = self.goes_to {
            file.rewind().map_err(|error| Failure::cannot("read the backup", error))?;
            return Ok((bucket.put(&key, file).await?, length));
        }
        let placed = self.output.finish(false, &CancelToken::new());
        // And so has its name.
        let placed = placed.and_then(|()| match &self.target {
            Target::File(path) if path.is_file() => File::open(folder_of(path))?.sync_all(),
            _ => Ok(()),
        });
        placed.map_err(|error| unwritten(&name, &error))?;
        Ok((name, length))
    }
}

impl Bucket {
    fn key(&self, name: &str) -> Result<ObjectKey, Failure> {
        key(format!("{}/{name}", self.prefix).trim_start_matches('/'))
    }

    fn shown(&self, key: &ObjectKey) -> String {
        format!("s3://{}/{key}", self.name)
    }

    async fn put(&self, key: &ObjectKey, file: &File) -> Result<String, Failure> {
        let mut upload = self.store.create(key, "application/gzip", 0).await?;
        loop {
            let mut part = Vec::new();
            let read = file.take(STEP).read_to_end(&mut part);
            if read.map_err(|error| Failure::cannot("read the backup", error))? == 0 {
                break;
            }
            upload.write(Bytes::from(part)).await?;
        }
        upload.finish(Bytes::new()).await?;
        Ok(self.shown(key))
    }

    /// The backups in it, oldest first.
    async fn names(&self) -> Result<Vec<String>, Failure> {
        let (mut names, mut after) = (Vec::new(), None);
        let prefix =
            if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        loop {
            let page = self.store.list(&prefix, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(names) };
            after = Some(last.key.clone());
            let name = |key: &ObjectKey| key.as_str().strip_prefix(&prefix).map(str::to_owned);
            names.extend(page.iter().filter_map(|object| name(&object.key)).filter(|n| is_name(n)));
        }
    }

    async fn fetch(&self, key: &ObjectKey) -> Result<File, Failure> {
        let bytes = self.store.head(key).await?.bytes;
        let mut file = spooled(temporary_file())?;
        let mut at = 0;
        while at < bytes {
            let end = bytes.min(at + STEP);
            let part = self.store.get(key, at..end).await?;
            let written = file.write_all(&part);
            written.map_err(|error| Failure::cannot("keep the backup for a moment", error))?;
            at = end;
        }
        spooled(Ok(file))
    }
}

/// Backups in a folder, oldest first.
fn names_in(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = fs::read_dir(folder);
    let entries =
        entries.map_err(|error| Failure::cannot(format!("read {}", shown(folder)), error))?;
    // Whoever waits for a pipe waits for ever.
    let files = entries.flatten().filter(|entry| entry.path().is_file());
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_name(name)).collect();
    names.sort_unstable();
    Ok(names)
}

/// The newest of what is in a place; what is of a time to come is told of.
fn newest(names: Vec<String>, place: &str) -> Result<String, Failure> {
    let now_ms = i64::try_from(now_ms()).unwrap_or(i64::MAX);
    let (mut names, to_come) = until_now(names, now_ms);
    for name in to_come {
        eprintln!("tonemill: {name} is of a time to come, and not taken unless it is named");
    }
    names.pop().ok_or_else(|| Failure::input(format!("there is no backup in {place}"), ""))
}

fn key(text: &str) -> Result<ObjectKey, Failure> {
    text.to_owned().try_into().map_err(|error| Failure::usage(format!("{error}"), ""))
}

/// A copy of what cannot seek.
fn spool(from: &mut impl io::Read) -> Result<File, Failure> {
    let file = temporary_file();
    let copied = file.and_then(|mut file| io::copy(from, &mut file).map(|_| file));
    spooled(copied)
}

/// At its start.
fn spooled(file: io::Result<File>) -> Result<File, Failure> {
    let file = file.and_then(|mut file| file.rewind().map(|()| file));
    file.map_err(|error| Failure::cannot("keep the backup for a moment", error))
}

fn unwritten(name: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(format!("{name} exists and was kept"), ""),
        _ => unwritable(name, error),
    }
}

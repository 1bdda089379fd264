//! Servers, media and workers for one measurement.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tonemill_job::message::{Finished, What};
use tonemill_job::objects::{ObjectStore, S3Config, S3Credentials, S3Store};
use tonemill_job::queue::Queue;
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};
use tonemill_job::{JobId, JobMessage, ObjectKey};
use tonemill_testbed::redis::RedisServer;
use tonemill_testbed::s3::S3Server;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(30);

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A file or a program.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program failed.
    #[error("{0}")]
    Program(String),
    /// The machine cannot be read.
    #[error(transparent)]
    Machine(#[from] crate::peers::error::PeersError),
    /// The queue.
    #[error("queue: {0:?}")]
    Queue(#[from] tonemill_job::queue::QueueError),
    /// The store.
    #[error("store: {0:?}")]
    Store(#[from] tonemill_job::objects::StoreError),
    /// Work was not done, or not equal.
    #[error("not done: {0}")]
    Work(String),
}

impl PoolError {
    pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }
}

/// Which sources the program was built from.
pub(super) fn revision() -> String {
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    git.map_or_else(|_| "unknown".into(), |out| String::from_utf8_lossy(&out.stdout).trim().into())
}

/// Media, and the program.
pub(super) struct Place {
    folder: PathBuf,
    program: PathBuf,
}

impl Place {
    /// Below `target/`, where media are kept from run to run.
    pub(super) fn prepare() -> Result<Self, PoolError> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folder = root.join("target/pool");
        std::fs::create_dir_all(&folder).map_err(|e| PoolError::file("make", &folder, e))?;
        Ok(Self { folder, program: root.join("target/release/tonemill") })
    }

    pub(super) fn program(&self) -> Command {
        Command::new(&self.program)
    }

    /// A file of `seconds` of sound with a picture, made by ffmpeg with `options`, once.
    pub(super) fn video(
        &self,
        name: &str,
        seconds: u32,
        options: &[&str],
    ) -> Result<PathBuf, PoolError> {
        let path = self.folder.join(name);
        if path.exists() {
            return Ok(path);
        }
        let temporary = self.folder.join(format!("making-{name}"));
        let duration = seconds.to_string();
        let sound = format!(
            "aevalsrc='0.3*sin(2*PI*(200+20*sin(t/3))*t)+0.05*random(0)|0.3*sin(2*PI*330*t)+0.05*random(1)':s=48000:d={duration}"
        );
        let status = Command::new("ffmpeg")
            .args(["-v", "quiet", "-y", "-f", "lavfi", "-i", &sound])
            .args([
                "-f",
                "lavfi",
                "-i",
                &format!("testsrc=size=320x180:rate=12:duration={duration}"),
            ])
            .args(["-map", "0:a", "-map", "1:v", "-c:a", "aac", "-b:a", "128k"])
            .args(["-c:v", "mpeg4", "-b:v", "300k"])
            .args(options)
            .arg(&temporary)
            .status()
            .map_err(|error| PoolError::file("run", Path::new("ffmpeg"), error))?;
        if !status.success() {
            return Err(PoolError::Program(format!("ffmpeg cannot make {name}: {status}")));
        }
        std::fs::rename(&temporary, &path).map_err(|e| PoolError::file("make", &path, e))?;
        Ok(path)
    }
}

/// A Redis, an S3 server, and the service's handles to them.
pub(super) struct Servers {
    pub(super) redis: RedisServer,
    pub(super) s3: S3Server,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) store: Arc<dyn ObjectStore>,
}

impl Servers {
    pub(super) async fn start() -> Result<Self, PoolError> {
        let (redis, s3) = (RedisServer::start(), S3Server::start());
        let queue = queue(&redis)?;
        let credentials = S3Credentials::Static {
            access_key_id: s3.access_key_id.clone(),
            secret_access_key: s3.secret_access_key.clone(),
            session_token: None,
        };
        let config = S3Config::new(Some(s3.endpoint.clone()), s3.bucket.clone(), credentials);
        let store = Arc::new(S3Store::new(config).await?);
        Ok(Self { redis, s3, queue, store })
    }

    /// Uploads a file; a message for a job with it.
    pub(super) async fn upload(&self, bytes: &Bytes) -> Result<JobMessage, PoolError> {
        let job = JobId::new();
        let key = ObjectKey::upload(job);
        let mut upload = self.store.create(&key, "video/mp4", 0).await?;
        for start in (0..bytes.len()).step_by(4 << 20) {
            upload.write(bytes.slice(start..bytes.len().min(start + (4 << 20)))).await?;
        }
        upload.finish(Bytes::new()).await?;
        Ok(JobMessage::new(job, key))
    }

    /// A worker, whose log goes to `log`.
    pub(super) fn worker(
        &self,
        place: &Place,
        arguments: &[&str],
        log: &Path,
    ) -> Result<Worker, PoolError> {
        let log = File::create(log).map_err(|error| PoolError::file("write", log, error))?;
        let mut command = place.program();
        command.arg("worker").args(["--log-format", "json"]).args(arguments);
        command.env("TONEMILL_REDIS_URL", self.redis.url());
        command.env("TONEMILL_S3_ENDPOINT", &self.s3.endpoint);
        command.env("TONEMILL_S3_BUCKET", &self.s3.bucket);
        command.env("TONEMILL_S3_ACCESS_KEY_ID", &self.s3.access_key_id);
        command.env("TONEMILL_S3_SECRET_ACCESS_KEY", &self.s3.secret_access_key);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn();
        child.map(Worker).map_err(|error| PoolError::file("run", &place.program, error))
    }

    /// Waits for the ends of `jobs` jobs, which must all have outputs.
    pub(super) async fn ends(&self, jobs: usize) -> Result<Vec<Finished>, PoolError> {
        let patience = Instant::now() + PATIENCE;
        let mut finished = Vec::new();
        while finished.len() < jobs {
            if Instant::now() > patience {
                return Err(PoolError::Work(format!("{} of {jobs} jobs ended", finished.len())));
            }
            let events = self.queue.events(1000, Duration::from_millis(500)).await?;
            let (ids, events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
            self.queue.confirm(&ids).await?;
            for event in events {
                match event.what {
                    What::Finished(output) => finished.push(*output),
                    What::Started => {}
                    other => return Err(PoolError::Work(format!("{other:?}"))),
                }
            }
        }
        Ok(finished)
    }

    /// Removes all objects.
    pub(super) async fn empty(&self) -> Result<(), PoolError> {
        for prefix in [ObjectKey::UPLOADS, ObjectKey::OUTPUTS] {
            loop {
                let page = self.store.list(prefix, None, 1000).await?;
                if page.is_empty() {
                    break;
                }
                for object in page {
                    self.store.delete(&object.key).await?;
                }
            }
        }
        Ok(())
    }
}

pub(super) fn queue(redis: &RedisServer) -> Result<Arc<dyn Queue>, PoolError> {
    let queue = RedisQueue::new(RedisConfig::new(redis.url()));
    Ok(Arc::new(queue.map_err(|error| PoolError::Work(error.to_string()))?))
}

/// A worker process, killed when it is dropped.
pub(super) struct Worker(Child);

impl Worker {
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file.
pub(super) fn read(path: &Path) -> Result<Bytes, PoolError> {
    std::fs::read(path).map(Bytes::from).map_err(|error| PoolError::file("read", path, error))
}

/// Where a worker's log goes.
pub(super) fn log_of(case: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tonemill-pool-{case}-{}.log", std::process::id()))
}

/// Checks that all outputs are the same; how long they are, in seconds.
pub(super) fn same_length(outputs: &[Finished]) -> Result<f64, PoolError> {
    let first = outputs.first().map_or(0.0, |output| output.duration_seconds);
    let same = outputs.iter().all(|output| {
        (output.duration_seconds - first).abs() < 1e-9
            && output.audio_blake3 == outputs[0].audio_blake3
    });
    if same { Ok(first) } else { Err(PoolError::Work("outputs differ".to_owned())) }
}

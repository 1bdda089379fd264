//! Servers and workers for one measurement.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tonemill_job::message::{Finished, What};
use tonemill_job::objects::{ObjectStore, S3Config, S3Credentials, S3Store};
use tonemill_job::queue::Queue;
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};
use tonemill_job::{JobEvent, JobId, JobMessage, ObjectKey};
use tonemill_testbed::redis::RedisServer;
use tonemill_testbed::s3::S3Server;

use crate::error::BenchError;
use crate::place::Place;
use crate::process::Process;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(30);

/// A Redis, an S3 server, and the service's handles to them.
pub(crate) struct Servers {
    pub(crate) redis: RedisServer,
    pub(crate) s3: S3Server,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) store: Arc<dyn ObjectStore>,
}

impl Servers {
    pub(crate) async fn start() -> Result<Self, BenchError> {
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
    pub(crate) async fn upload(&self, bytes: &Bytes) -> Result<JobMessage, BenchError> {
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
    pub(crate) fn worker(
        &self,
        place: &Place,
        arguments: &[&str],
        log: &Path,
    ) -> Result<Process, BenchError> {
        self.start_worker(place.program(), arguments, log)
    }

    /// The same, with one core to itself as far as workers go: others may use it, too.
    pub(crate) fn worker_on(
        &self,
        core: usize,
        place: &Place,
        arguments: &[&str],
        log: &Path,
    ) -> Result<Process, BenchError> {
        // It becomes the program, which then is what is measured and killed.
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(place.program().get_program());
        self.start_worker(command, arguments, log)
    }

    fn start_worker(
        &self,
        mut command: Command,
        arguments: &[&str],
        log: &Path,
    ) -> Result<Process, BenchError> {
        command.arg("worker").args(["--log-format", "json"]).args(arguments);
        command.env("TONEMILL_REDIS_URL", self.redis.url()).envs(self.s3.variables());
        Process::start(&mut command, log.to_owned())
    }

    /// Waits for the ends of `jobs` jobs, which must all have outputs.
    pub(crate) async fn ends(&self, jobs: usize) -> Result<Vec<Finished>, BenchError> {
        let mut finished = Vec::new();
        let keep = |event: JobEvent| {
            if let What::Finished(output) = event.what {
                finished.push(*output);
            }
        };
        self.events_until(jobs, keep).await?;
        Ok(finished)
    }

    /// Waits for the ends of `jobs` jobs, which must all have outputs; each event is told.
    pub(crate) async fn events_until(
        &self,
        jobs: usize,
        mut tell: impl FnMut(JobEvent),
    ) -> Result<(), BenchError> {
        let (patience, mut ended) = (Instant::now() + PATIENCE, 0);
        while ended < jobs {
            if Instant::now() > patience {
                return Err(BenchError::work(format!("{ended} of {jobs} jobs ended")));
            }
            let events = self.queue.events(1000, Duration::from_millis(500)).await?;
            let (ids, events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
            self.queue.confirm(&ids).await?;
            for event in events {
                match &event.what {
                    What::Finished(_) => ended += 1,
                    What::Started => {}
                    other => return Err(BenchError::work(format!("{other:?}"))),
                }
                tell(event);
            }
        }
        Ok(())
    }

    /// Removes all objects.
    pub(crate) async fn empty(&self) -> Result<(), BenchError> {
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

pub(crate) fn queue(redis: &RedisServer) -> Result<Arc<dyn Queue>, BenchError> {
    let queue = RedisQueue::new(RedisConfig::new(redis.url()));
    Ok(Arc::new(queue.map_err(|error| BenchError::work(error.to_string()))?))
}

/// Where a worker's log goes.
pub(crate) fn log_of(case: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tonemill-pool-{case}-{}.log", std::process::id()))
}

/// Checks that all outputs are the same; how long they are, in seconds.
pub(crate) fn same_length(outputs: &[Finished]) -> Result<f64, BenchError> {
    let first = outputs.first().map_or(0.0, |output| output.duration_seconds);
    let same = outputs.iter().all(|output| {
        (output.duration_seconds - first).abs() < 1e-9
            && output.audio_blake3 == outputs[0].audio_blake3
    });
    if same { Ok(first) } else { Err(BenchError::work("outputs differ".to_owned())) }
}

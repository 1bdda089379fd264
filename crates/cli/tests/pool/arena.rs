//! A place for workers: a Redis and an S3 server of its own, jobs, and worker processes that can be
//! killed, paused and told to end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tonemill_job::message::Reply;
use tonemill_job::objects::{ObjectStore, S3Store};
use tonemill_job::queue::Queue;
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};
use tonemill_job::{JobId, JobMessage, ObjectKey};
use tonemill_testbed::redis::RedisServer;
use tonemill_testbed::s3::S3Server;

use crate::bucket::{Bucket, s3_config};
use crate::clips::Clip;
use crate::recorder::Recorder;
use crate::support::daemon::{Daemon, read};
use crate::support::process::program;

/// A lease in these tests: short, so that the dead are soon replaced.
pub const LEASE: Duration = Duration::from_secs(2);
/// Within this everything ends that is to end.
pub const PATIENCE: Duration = Duration::from_mins(2);

pub struct Arena {
    pub redis: RedisServer,
    pub s3: S3Server,
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn ObjectStore>,
    pub recorder: Recorder,
    /// What was submitted.
    pub jobs: HashMap<JobId, Arc<Clip>>,
    pub logs: TempDir,
    /// Where workers find the servers, if not where they are.
    pub redis_url: Option<String>,
    pub s3_endpoint: Option<String>,
    /// The authority that workers trust besides those that everybody trusts.
    pub trusted: Option<PathBuf>,
    /// How the workers are broken on purpose, if they are.
    pub sabotage: &'static str,
    /// How long jobs may take.
    pub patience: Duration,
    workers_started: usize,
}

impl Arena {
    pub async fn new() -> Self {
        Self::with(RedisServer::start()).await
    }

    pub async fn with(redis: RedisServer) -> Self {
        let s3 = S3Server::start_chosen();
        let mut config = RedisConfig::new(redis.url());
        config.lease = LEASE;
        let queue: Arc<dyn Queue> = Arc::new(RedisQueue::new(config.clone()).unwrap());
        let reader: Arc<dyn Queue> = Arc::new(RedisQueue::new(config).unwrap());
        let store = Arc::new(S3Store::new(s3_config(&s3)).await.unwrap());
        Self {
            recorder: Recorder::start(reader),
            redis,
            s3,
            queue,
            store,
            jobs: HashMap::new(),
            logs: tempfile::tempdir().unwrap(),
            redis_url: None,
            s3_endpoint: None,
            trusted: None,
            sabotage: "",
            patience: PATIENCE,
            workers_started: 0,
        }
    }

    /// Uploads clips in turn and queues as many jobs.
    pub async fn submit(&mut self, count: usize, clips: &[Arc<Clip>]) -> Vec<JobId> {
        let mut messages = Vec::new();
        for clip in clips.iter().cycle().take(count) {
            let message = self.upload(clip).await;
            self.jobs.insert(message.job, Arc::clone(clip));
            messages.push(message);
        }
        // A connection to a Redis that was killed meanwhile is no use.
        while self.queue.check().await.is_err() {}
        self.queue.enqueue(&messages).await.unwrap();
        messages.iter().map(|message| message.job).collect()
    }

    /// Uploads a clip; the message of its job is not queued yet.
    pub async fn upload(&self, clip: &Clip) -> JobMessage {
        let job = JobId::new();
        let key = ObjectKey::upload(job);
        let mut upload = self.store.create(&key, "video/mp4", 0).await.unwrap();
        upload.write(Bytes::copy_from_slice(&clip.bytes)).await.unwrap();
        upload.finish(Bytes::new()).await.unwrap();
        let options = clip.options.clone();
        JobMessage { reply: Reply::Service, options, ..JobMessage::new(job, key) }
    }

    /// Starts a worker with these arguments besides the usual.
    pub fn worker(&mut self, arguments: &[&str]) -> Daemon {
        self.worker_with(arguments, "")
    }

    /// Starts a worker in which the steps named in `faults` fail.
    pub fn worker_with(&mut self, arguments: &[&str], faults: &str) -> Daemon {
        self.workers_started += 1;
        let log = self.logs.path().join(format!("worker-{}.log", self.workers_started));
        let mut command = self.command("worker");
        if !arguments.contains(&"--jobs") {
            command.args(["--jobs", "4"]);
        }
        command.args(["--retry-delay", "0.2", "--log", "info,tonemill_worker=debug"]);
        command.args(["--log-format", "json"]).args(arguments);
        command.env("TONEMILL_FAULTS", faults).env("TONEMILL_SABOTAGE", self.sabotage);
        Daemon::start(&mut command, log)
    }

    /// `tonemill COMMAND` with the addresses of the servers.
    pub fn command(&self, command: &str) -> Command {
        let mut program = program();
        program.arg(command);
        program.env("TONEMILL_REDIS_URL", self.redis_url.clone().unwrap_or(self.redis.url()));
        program.env("TONEMILL_LEASE", LEASE.as_secs_f64().to_string());
        program.envs(self.s3.variables());
        if let Some(endpoint) = &self.s3_endpoint {
            program.env("TONEMILL_S3_ENDPOINT", endpoint);
        }
        if let Some(file) = &self.trusted {
            program.env("SSL_CERT_FILE", file).env("TONEMILL_S3_CA_FILE", file);
        }
        program
    }

    /// Waits until all submitted jobs have ended, or for as long as patience lasts.
    pub async fn wait(&self) -> usize {
        self.recorder.wait_for_ends(self.jobs.len(), self.patience).await
    }

    /// Where its objects are.
    pub fn bucket(&self) -> Bucket<'_> {
        Bucket { store: &*self.store, s3: &self.s3 }
    }

    /// Everything that workers have logged.
    pub fn log(&self) -> String {
        let mut logs: Vec<_> =
            std::fs::read_dir(self.logs.path()).unwrap().map(|f| f.unwrap().path()).collect();
        logs.sort();
        logs.iter().map(|log| read(log)).collect()
    }

    /// Waits until some worker's log has `text` `count` times.
    pub async fn wait_for_log(&self, text: &str, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.log().matches(text).count() < count {
            assert!(Instant::now() < end, "{text} was not logged:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

//! The service in parts, as operators run it, and a batch of jobs in it: uploaded over HTTP,
//! converted, looked at, downloaded.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonemill_testbed::fault_proxy::{Fault, FaultProxy};
use tonemill_testbed::redis::RedisServer;
use tonemill_testbed::s3::S3Server;

use super::meters::{Database, cpu_ms, redis};
use crate::error::{BenchError, file};
use crate::place::Place;
use crate::process::Process;
use crate::scaling::costs::Work;
use crate::service::deployment::{folder, listen};
use crate::service::follow::submit;
use crate::service::http::{ADMIN, Connection, log_in, text};

/// Connections over which jobs come in.
const CONNECTIONS: usize = 4;
/// Between two looks at whether all is done.
const LOOK: Duration = Duration::from_millis(50);
/// How long a batch may take.
const PATIENCE: Duration = Duration::from_mins(30);

/// An API, perhaps a worker, and what they use.
pub(super) struct System {
    // In this order: first the processes, then what they use.
    pub(super) worker: Option<Process>,
    pub(super) api: Process,
    address: SocketAddr,
    proxy: Option<FaultProxy>,
    pub(super) database: Database,
    pub(super) redis: RedisServer,
    s3: S3Server,
    folder: TempDir,
    since: Instant,
}

/// What everybody has done so far, or in a while.
#[derive(Clone, Copy, Default)]
pub(super) struct Readings {
    pub(super) seconds: f64,
    pub(super) worker_ms: f64,
    pub(super) api_ms: f64,
    pub(super) redis: Work,
    pub(super) sql: Work,
    pub(super) s3_ms: f64,
}

/// What came of a batch.
pub(super) struct Batch {
    pub(super) audio_blake3: String,
    /// Bytes of each MP3.
    pub(super) output_bytes: usize,
    /// From the first byte of the first upload to the end of the last conversion.
    pub(super) converting: Duration,
}

impl System {
    /// Without a worker. With a proxy before the store, if that is to be looked at.
    pub(super) async fn start(
        place: &Place,
        database: &str,
        is_proxied: bool,
    ) -> Result<Self, BenchError> {
        let (folder, database) = (folder()?, Database::start(database)?);
        let (redis, s3) = (RedisServer::start(), S3Server::start());
        let proxy = if is_proxied { Some(FaultProxy::http(&s3.endpoint).await) } else { None };
        let mut command = place.program();
        command.args(["api", "--database-url", &database.url()]);
        command.env("TONEMILL_REDIS_URL", redis.url()).envs(s3.variables());
        if let Some(proxy) = &proxy {
            command.env("TONEMILL_S3_ENDPOINT", proxy.endpoint());
        }
        let (api, address) = listen(&mut command, folder.path())?;
        Ok(Self {
            worker: None,
            api,
            address,
            proxy,
            database,
            redis,
            s3,
            folder,
            since: Instant::now(),
        })
    }

    /// A worker as the manifests have it, whatever this machine has.
    pub(super) fn start_worker(&mut self, place: &Place) -> Result<(), BenchError> {
        let mut command = place.program();
        command.args(["worker", "--threads", "2", "--jobs", "8"]);
        command.env("TONEMILL_REDIS_URL", self.redis.url());
        command.envs(self.s3.variables());
        if let Some(proxy) = &self.proxy {
            command.env("TONEMILL_S3_ENDPOINT", proxy.endpoint());
        }
        self.worker = Some(Process::start(&mut command, self.folder.path().join("worker.log"))?);
        Ok(())
    }

    pub(super) async fn log_in(&self) -> Result<Connection, BenchError> {
        Connection::with(self.address, &log_in(self.address, ADMIN).await?).await
    }

    pub(super) fn read(&self) -> Result<Readings, BenchError> {
        Ok(Readings {
            seconds: self.since.elapsed().as_secs_f64(),
            worker_ms: cpu_ms(self.worker.as_ref().map(Process::pid)),
            api_ms: cpu_ms([self.api.pid()]),
            redis: redis(&self.redis)?,
            sql: self.database.work()?,
            s3_ms: cpu_ms([self.s3.pid()]),
        })
    }

    /// Attempts that the worker has ended, by its log.
    fn ended(&self) -> Result<usize, BenchError> {
        let log = self.folder.path().join("worker.log");
        let log = std::fs::read_to_string(&log).map_err(file("read", &log))?;
        Ok(log.matches("attempt ended").count())
    }

    /// So many jobs with this video. All end, with equal audio, and are downloaded.
    pub(super) async fn batch(&self, video: &Bytes, jobs: usize) -> Result<Batch, BenchError> {
        let (before, start) = (self.ended()?, Instant::now());
        let token = log_in(self.address, ADMIN).await?;
        let mut uploading = JoinSet::new();
        for first in 0..CONNECTIONS.min(jobs) {
            let mut connection = Connection::with(self.address, &token).await?;
            let video = video.clone();
            uploading.spawn(async move {
                let mut ids = Vec::new();
                for _ in (first..jobs).step_by(CONNECTIONS) {
                    ids.push(text(&submit(&mut connection, &video).await?, "id"));
                }
                Ok::<_, BenchError>(ids)
            });
        }
        let mut ids = Vec::new();
        while let Some(uploaded) = uploading.join_next().await {
            ids.extend(uploaded??);
        }
        while self.ended()? < before + jobs {
            if start.elapsed() > PATIENCE {
                return Err(BenchError::work("the jobs do not end"));
            }
            sleep(LOOK).await;
        }
        let converting = start.elapsed();
        let mut connection = Connection::with(self.address, &token).await?;
        let mut first: Option<(String, Bytes)> = None;
        for id in ids {
            let output = fetch(&mut connection, &id).await?;
            match &first {
                Some(first) if *first != output => {
                    return Err(BenchError::work(format!("{id} is not like the others")));
                }
                Some(_) => {}
                None => first = Some(output),
            }
        }
        let (audio_blake3, mp3) = first.unwrap_or_default();
        Ok(Batch { audio_blake3, output_bytes: mp3.len(), converting })
    }

    /// Has requests to the store counted, by kind, and their bytes.
    pub(super) fn count_requests(&self) -> Arc<Mutex<Requests>> {
        let counted: Arc<Mutex<Requests>> = Arc::default();
        if let Some(proxy) = &self.proxy {
            let (requests, bytes) = (Arc::clone(&counted), Arc::clone(&counted));
            proxy.plan(move |incoming| {
                let mut counted = requests.lock().unwrap_or_else(PoisonError::into_inner);
                *counted.by_kind.entry(kind(incoming.request).to_owned()).or_default() += 1.0;
                Fault::None
            });
            proxy.guard(move |passing| {
                let mut counted = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                counted.bytes[usize::from(passing.is_response)] += passing.bytes.len() as u64;
                Fault::None
            });
        }
        counted
    }
}

impl Readings {
    /// Whether everybody has done something: what was not measured must not count as free.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        let Self { worker_ms, api_ms, redis, sql, s3_ms, .. } = self;
        let all = [*worker_ms, *api_ms, redis.cpu_ms, redis.calls, sql.cpu_ms, sql.calls, *s3_ms];
        if all.iter().all(|each| *each > 0.0) {
            return Ok(());
        }
        Err(BenchError::work(format!("somebody has done nothing in a batch: {all:?}")))
    }

    /// What was done since an earlier reading, or beside something else.
    pub(super) fn minus(&self, other: &Self) -> Self {
        Self {
            seconds: self.seconds - other.seconds,
            worker_ms: self.worker_ms - other.worker_ms,
            api_ms: self.api_ms - other.api_ms,
            redis: self.redis - other.redis,
            sql: self.sql - other.sql,
            s3_ms: self.s3_ms - other.s3_ms,
        }
    }

    pub(super) fn times(&self, factor: f64) -> Self {
        Self {
            seconds: self.seconds * factor,
            worker_ms: self.worker_ms * factor,
            api_ms: self.api_ms * factor,
            redis: self.redis.times(factor),
            sql: self.sql.times(factor),
            s3_ms: self.s3_ms * factor,
        }
    }
}

/// Requests that passed, and bytes to the store and from it.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests {
    pub(super) by_kind: BTreeMap<String, f64>,
    pub(super) bytes: [u64; 2],
}

/// In the store's words.
fn kind(request: &str) -> &'static str {
    match (request.split(' ').next().unwrap_or_default(), request) {
        ("GET", _) => "GET",
        ("HEAD", _) => "HEAD",
        ("PUT", line) if line.contains("partNumber=") => "UploadPart",
        ("PUT", _) => "PUT",
        ("POST", line) if line.contains("uploads") => "CreateMultipartUpload",
        ("POST", _) => "CompleteMultipartUpload",
        ("DELETE", _) => "DELETE",
        _ => "others",
    }
}

/// The hash of a finished job's audio, and its MP3.
async fn fetch(connection: &mut Connection, id: &str) -> Result<(String, Bytes), BenchError> {
    let start = Instant::now();
    loop {
        let job: serde_json::Value =
            serde_json::from_slice(&connection.get(&format!("/v1/jobs/{id}")).await?)?;
        match job["state"].as_str() {
            Some("finished") => {
                let mp3 = connection.get(&format!("/v1/jobs/{id}/output")).await?;
                return Ok((text(&job["output"], "audio_blake3"), mp3));
            }
            Some("failed" | "cancelled") => return Err(BenchError::work(job.to_string())),
            // The worker has told; the recorder has not written it down yet.
            _ if start.elapsed() < PATIENCE => sleep(LOOK).await,
            _ => return Err(BenchError::work(format!("{id} is never recorded"))),
        }
    }
}

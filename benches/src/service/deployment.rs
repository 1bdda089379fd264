//! The service, whole in one process or in parts, in a folder of its own that goes with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tonemill_ledger::{Ledger, LedgerConfig};
use tonemill_testbed::redis::RedisServer;
use tonemill_testbed::s3::S3Server;

use super::http::{ADMIN, Connection, PASSWORD, add_user, log_in};
use crate::error::{BenchError, file};
use crate::place::Place;
use crate::process::Process;

/// Where the objects are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// In the data folder.
    Folder,
    /// At an S3 server.
    S3,
}

/// A running service.
pub(super) struct Deployment {
    // In this order: first the processes, then what they use.
    pub(super) api: Process,
    pub(super) address: SocketAddr,
    s3: Option<S3Server>,
    redis: Option<RedisServer>,
    folder: TempDir,
}

impl Deployment {
    /// `tonemill serve`, with these arguments besides the usual.
    pub(super) fn embedded(place: &Place, arguments: &[&str]) -> Result<Self, BenchError> {
        let folder = folder()?;
        let mut command = place.program();
        command.arg("serve").arg("--data").arg(folder.path()).args(arguments);
        let (api, address) = listen(&mut command, folder.path())?;
        Ok(Self { api, address, s3: None, redis: None, folder })
    }

    /// `tonemill api`, with Redis, a store and a ledger in `SQLite`; no workers.
    pub(super) fn api(place: &Place, store: Store) -> Result<Self, BenchError> {
        let folder = folder()?;
        let redis = RedisServer::start();
        let s3 = (store == Store::S3).then(S3Server::start);
        let mut command = place.program();
        command.args(["api", "--database-url", &ledger_url(folder.path())]);
        command.env("TMPDIR", temporary(folder.path())?);
        parts(&mut command, &redis, s3.as_ref(), folder.path());
        let (api, address) = listen(&mut command, folder.path())?;
        Ok(Self { api, address, s3, redis: Some(redis), folder })
    }

    /// `tonemill worker`, for an API alone.
    pub(super) fn worker(&self, place: &Place) -> Result<Process, BenchError> {
        let mut command = place.program();
        command.args(["worker", "--log", "warn"]);
        let redis = self.redis.as_ref();
        let redis = redis.ok_or_else(|| BenchError::work("the workers are in the service"))?;
        parts(&mut command, redis, self.s3.as_ref(), self.folder.path());
        Process::start(&mut command, self.folder.path().join("worker.log"))
    }

    /// The ledger that it uses, beside it.
    pub(super) async fn ledger(&self) -> Result<Ledger, BenchError> {
        Ok(Ledger::open(LedgerConfig::new(ledger_url(self.folder.path()))).await?)
    }

    /// The administrator.
    pub(super) async fn admin(&self) -> Result<Connection, BenchError> {
        Connection::with(self.address, &log_in(self.address, ADMIN).await?).await
    }

    /// The access token of a new user.
    pub(super) async fn user(&self, name: &str) -> Result<String, BenchError> {
        add_user(&mut self.admin().await?, name).await
    }

    /// The file that an object is.
    pub(super) fn object(&self, key: &str) -> PathBuf {
        let in_folder = || self.folder.path().join("objects").join(key);
        self.s3.as_ref().map_or_else(in_folder, |s3| s3.object_path(key))
    }

    /// All that is its own.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where an API alone is to put temporary files, if it has any.
    pub(super) fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }
}

pub(super) fn folder() -> Result<TempDir, BenchError> {
    let folder = tempfile::Builder::new().prefix("tonemill-service-").tempdir();
    folder.map_err(file("make", &std::env::temp_dir()))
}

fn temporary(folder: &Path) -> Result<PathBuf, BenchError> {
    let path = folder.join("tmp");
    std::fs::create_dir(&path).map_err(file("make", &path))?;
    Ok(path)
}

/// Where a service with this data folder has its ledger.
pub(super) fn ledger_url(folder: &Path) -> String {
    format!("sqlite://{}?mode=rwc", folder.join("ledger.db").display())
}

/// Starts what listens somewhere, as its only administrator knows it, where requests are not
/// rationed and a log-in outlasts any case.
pub(super) fn listen(
    command: &mut Command,
    folder: &Path,
) -> Result<(Process, SocketAddr), BenchError> {
    command.args(["--listen", "127.0.0.1:0", "--requests", "1000000", "--log", "warn"]);
    command.args(["--access-token", "12:00:00"]);
    command.env("TONEMILL_ADMIN_PASSWORD", PASSWORD);
    let mut process = Process::start(command, folder.join("api.log"))?;
    let address = process.address()?;
    Ok((process, address))
}

fn parts(command: &mut Command, redis: &RedisServer, s3: Option<&S3Server>, folder: &Path) {
    command.env("TONEMILL_REDIS_URL", redis.url());
    let Some(s3) = s3 else {
        command.env("TONEMILL_FOLDER", folder);
        return;
    };
    command.envs(s3.variables());
}

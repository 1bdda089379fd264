//! The parts of the service as processes of their own: APIs, workers, Redis, an S3 server, and a
//! database. Any of them can be killed and started again, and reached on a detour.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tonemill_testbed::redis::RedisServer;
use tonemill_testbed::s3::S3Server;

use crate::client::Client;
use crate::process::{Process, read};
use crate::service::{PASSWORD, store};
use crate::support::process::program;

pub struct Separate {
    pub apis: Vec<(Process, SocketAddr)>,
    pub workers: Vec<Process>,
    pub database: String,
    pub redis: RedisServer,
    pub s3: S3Server,
    /// Variables for the APIs besides the usual: where the others are, if not where they are.
    pub detours: Vec<(&'static str, String)>,
    folder: TempDir,
}

impl Separate {
    /// Several of each over one database; `None` is SQLite.
    pub fn start(database: Option<&str>, apis: usize, workers: usize) -> Self {
        let mut all = Self::without_processes(database);
        // All at once: one of them makes the tables, and the administrator.
        let apis: Vec<Process> = (0..apis).map(|number| all.api(number)).collect();
        all.workers = (0..workers).map(|number| all.worker(number)).collect();
        all.apis = apis.into_iter().map(with_address).collect();
        all
    }

    /// What they need, and none of them.
    pub fn without_processes(database: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = format!("sqlite://{}?mode=rwc", folder.path().join("ledger.db").display());
        let database = database.map_or(file, str::to_owned);
        let (redis, s3) = (RedisServer::start(), S3Server::start_chosen());
        let (apis, workers, detours) = (Vec::new(), Vec::new(), Vec::new());
        Self { apis, workers, database, redis, s3, detours, folder }
    }

    /// One more.
    pub fn add_api(&mut self) {
        self.apis.push(with_address(self.api(self.apis.len())));
    }

    /// One more.
    pub fn add_worker(&mut self) {
        self.workers.push(self.worker(self.workers.len()));
    }

    /// Starts an API again, elsewhere; it is killed first if it runs.
    pub fn restart_api(&mut self, number: usize) {
        self.apis[number].0.kill();
        self.apis[number] = with_address(self.api(number));
    }

    fn api(&self, number: usize) -> Process {
        let mut command = self.command("api");
        command.args(["--listen", "127.0.0.1:0"]).env("TONEMILL_DATABASE_URL", &self.database);
        command.env("TONEMILL_ADMIN_PASSWORD", PASSWORD).envs(self.detours.iter().cloned());
        Process::start(&mut command, self.folder.path().join(format!("api-{number}.log")))
    }

    fn worker(&self, number: usize) -> Process {
        let mut command = self.command("worker");
        command.args(["--retry-delay", "0.2", "--lease", "2"]);
        Process::start(&mut command, self.folder.path().join(format!("worker-{number}.log")))
    }

    fn command(&self, name: &str) -> Command {
        let mut command = program();
        command.args([name, "--log-format", "json"]).envs(store(&self.s3));
        command.env("TONEMILL_REDIS_URL", self.redis.url());
        command
    }

    /// Nobody, at one of the APIs.
    pub fn nobody(&self, api: usize) -> Client {
        Client::new(self.apis[api].1)
    }

    /// Everything that they have logged.
    pub fn log(&self) -> String {
        let entries = std::fs::read_dir(self.folder.path()).expect("a folder").flatten();
        let is_log = |path: &PathBuf| path.extension() == Some("log".as_ref());
        entries.map(|entry| entry.path()).filter(is_log).map(|log| read(&log)).collect()
    }
}

fn with_address(mut api: Process) -> (Process, SocketAddr) {
    let address = api.address();
    (api, address)
}

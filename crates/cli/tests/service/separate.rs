//! The service's parts as processes of their own: APIs, workers, Redis, an S3 server, and a
//! database. Each can be killed and replaced while the others go on, and reached on a detour.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tonemill_testbed::redis::RedisServer;
use tonemill_testbed::s3::S3Server;

use crate::client::Client;
use crate::service::PASSWORD;
use crate::support::daemon::{Daemon, read};
use crate::support::process::{program, program_at};

/// Where nobody is: the port is below those that are given to who asks for any, and no service has
/// it.
pub const NOWHERE: &str = "127.0.0.1:1";

/// Variables that one process has besides the usual.
pub type Variables<'a> = &'a [(&'a str, &'a str)];

pub struct Separate {
    pub apis: Vec<(Daemon, SocketAddr)>,
    pub workers: Vec<Daemon>,
    pub database: String,
    pub redis: RedisServer,
    pub s3: S3Server,
    /// What every process that starts from now on has besides the usual.
    pub variables: Vec<(&'static str, String)>,
    /// What the APIs have besides: where the others are, if not where they are.
    pub detours: Vec<(&'static str, String)>,
    /// The program that starts from now on, if not the one under test.
    pub program: Option<PathBuf>,
    processes: usize,
    folder: TempDir,
}

impl Separate {
    /// Several of each over one database; `None` is SQLite.
    pub fn start(database: Option<&str>, apis: usize, workers: usize) -> Self {
        let mut all = Self::without_processes(database);
        // All at once: one of them makes the tables, and the administrator.
        let apis: Vec<Daemon> = (0..apis).map(|_| all.api(&[])).collect();
        all.workers = (0..workers).map(|_| all.worker(&[])).collect();
        all.apis = apis.into_iter().map(with_address).collect();
        all
    }

    /// A place for them: nobody is there yet.
    pub fn without_processes(database: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = format!("sqlite://{}?mode=rwc", folder.path().join("ledger.db").display());
        let database = database.map_or(file, str::to_owned);
        let (redis, s3) = (RedisServer::start(), S3Server::start_chosen());
        Self {
            apis: Vec::new(),
            workers: Vec::new(),
            database,
            redis,
            s3,
            variables: Vec::new(),
            detours: Vec::new(),
            program: None,
            processes: 0,
            folder,
        }
    }

    /// One more.
    pub fn add_api(&mut self, variables: Variables<'_>) {
        let api = self.api(variables);
        self.apis.push(with_address(api));
    }

    /// One more.
    pub fn add_worker(&mut self, variables: Variables<'_>) {
        let worker = self.worker(variables);
        self.workers.push(worker);
    }

    fn api(&mut self, variables: Variables<'_>) -> Daemon {
        let mut command = self.command("api", variables);
        command.args(["--listen", "127.0.0.1:0"]).env("TONEMILL_DATABASE_URL", &self.database);
        command.env("TONEMILL_ADMIN_PASSWORD", PASSWORD).envs(self.detours.iter().cloned());
        Daemon::start(&mut command, self.next_log("api"))
    }

    /// Starts an API again, elsewhere; it is killed first if it runs.
    pub fn restart_api(&mut self, number: usize) {
        self.apis[number].0.kill();
        let api = self.api(&[]);
        self.apis[number] = with_address(api);
    }

    /// Kills a worker; another takes its place.
    pub fn replace_worker(&mut self, number: usize) {
        self.workers[number].kill();
        self.workers[number] = self.worker(&[]);
    }

    /// A worker that belongs to whoever asked for it.
    pub fn worker(&mut self, variables: Variables<'_>) -> Daemon {
        let mut command = self.command("worker", variables);
        command.args(["--retry-delay", "0.2", "--lease", "2"]);
        Daemon::start(&mut command, self.next_log("worker"))
    }

    /// A notifier that belongs to whoever asked for it. It knows the ledger and no more.
    pub fn notifier(&mut self, variables: Variables<'_>) -> Daemon {
        let mut command = self.program();
        command.args(["notifier", "--log-format", "json", "--public-url", "https://t.example.org"]);
        command.env("TONEMILL_DATABASE_URL", &self.database);
        command.env("TONEMILL_MAIL_FROM", "Tonemill <tonemill@localhost>");
        command.envs(self.variables.iter().cloned()).envs(variables.iter().copied());
        Daemon::start(&mut command, self.next_log("notifier"))
    }

    fn command(&self, name: &str, variables: Variables<'_>) -> Command {
        let mut command = self.program();
        command.args([name, "--log-format", "json"]).envs(self.s3.variables());
        command.env("TONEMILL_REDIS_URL", self.redis.url());
        command.envs(self.variables.iter().cloned()).envs(variables.iter().copied());
        command
    }

    fn program(&self) -> Command {
        self.program.as_deref().map_or_else(program, program_at)
    }

    fn next_log(&mut self, name: &str) -> PathBuf {
        self.processes += 1;
        self.folder.path().join(format!("{name}-{}.log", self.processes))
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

fn with_address(mut api: Daemon) -> (Daemon, SocketAddr) {
    let (_, address) = api.listening();
    (api, address)
}

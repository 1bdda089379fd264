//! The service, whole in one process, in a folder of its own; it can be killed and started again on
//! what it left.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonemill_testbed::s3::S3Server;

use crate::PATIENCE;
use crate::client::Client;
use crate::support::process::program;

/// The first administrator's.
pub const PASSWORD: &str = "correct horse battery staple";

/// A process of the program, killed when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        command.stdout(Stdio::piped()).stderr(file);
        Self { child: command.spawn().expect("the program starts"), log }
    }

    /// Where it says that it listens.
    pub fn address(&mut self) -> SocketAddr {
        let stdout = self.child.stdout.take().expect("it is piped");
        let (sender, receiver) = mpsc::channel();
        // Reads on, so that nobody writes into a closed pipe.
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| {
                let _ = sender.send(line);
            });
        });
        let line = receiver.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|_| panic!("it does not listen:\n{}", read(&self.log)));
        let address = line.strip_prefix("tonemill: http://").expect("where it listens");
        address.parse().expect("an address")
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our child");
    }

    /// Its end, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and its end, which must be a success.
    pub async fn drain(&mut self) {
        self.signal(Signal::TERM);
        let status = crate::until("an end in order", async || self.ended()).await;
        assert!(status.success(), "{status}:\n{}", read(&self.log));
    }

    /// Processor time that it has used, all threads together.
    pub fn cpu(&self) -> Duration {
        let stat = read(Path::new(&format!("/proc/{}/stat", self.id())));
        // After the name, which may hold anything; times are in hundredths of a second.
        let fields: Vec<&str> = stat.rsplit_once(") ").expect("Linux").1.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Waits until it uses less than a tenth of a core; how long that took.
    pub async fn calm(&self) -> Duration {
        const WINDOW: Duration = Duration::from_millis(200);
        let start = Instant::now();
        loop {
            let before = self.cpu();
            tokio::time::sleep(WINDOW).await;
            if self.cpu().saturating_sub(before) <= WINDOW / 10 {
                return start.elapsed();
            }
            assert!(start.elapsed() < PATIENCE, "it works on and on");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `tonemill serve`.
pub struct Service {
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    pub process: Process,
    pub address: SocketAddr,
    folder: TempDir,
}

impl Service {
    /// Everything in one process and one folder.
    pub fn embedded() -> Self {
        Self::with(&[])
    }

    /// With these arguments besides the usual.
    pub fn with(arguments: &[&str]) -> Self {
        Self::with_environment(arguments, Vec::new())
    }

    /// With its objects at an S3 server.
    pub fn with_store(arguments: &[&str], s3: &S3Server) -> Self {
        Self::with_environment(arguments, store(s3))
    }

    /// In which the steps named in `faults` fail.
    pub fn with_faults(faults: String) -> Self {
        Self::with_environment(&[], vec![("TONEMILL_FAULTS", faults)])
    }

    fn with_environment(arguments: &[&str], environment: Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let (process, address) = start(folder.path(), &arguments, &environment);
        Self { arguments, environment, process, address, folder }
    }

    /// Starts it again, elsewhere; it is ended first if it runs.
    pub fn restart(&mut self) {
        self.process.kill();
        let (process, address) = start(self.folder.path(), &self.arguments, &self.environment);
        (self.process, self.address) = (process, address);
    }

    /// Nobody.
    pub fn nobody(&self) -> Client {
        Client::new(self.address)
    }

    /// The administrator, logged in.
    pub async fn admin(&self) -> Client {
        self.nobody().log_in("admin", PASSWORD).await
    }

    /// A new user, logged in.
    pub async fn user(&self, name: &str) -> Client {
        let user = serde_json::json!({"name": name, "password": PASSWORD});
        self.admin().await.post("/v1/users").json(&user).send().await.expect(201);
        self.nobody().log_in(name, PASSWORD).await
    }

    /// What it keeps everything in.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A place for a file of the test's.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The files below a folder of the data folder.
    pub fn files(&self, below: &str) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.data().join(below)]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }

    /// Waits until no upload is kept: when its job is finished, nobody needs it any more.
    pub async fn without_uploads(&self) {
        let left = async || {
            let files = [self.files("objects/uploads"), self.files("unfinished")].concat();
            files.is_empty().then_some(())
        };
        crate::until("an end of all uploads", left).await;
    }
}

fn start(
    folder: &Path,
    arguments: &[String],
    environment: &[(&'static str, String)],
) -> (Process, SocketAddr) {
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--retry-delay", "0.2"]);
    command.args(["--log-format", "json"]).args(arguments).envs(environment.iter().cloned());
    command.env("TONEMILL_ADMIN_PASSWORD", PASSWORD).arg("--data").arg(folder.join("data"));
    let mut process = Process::start(&mut command, folder.join("log"));
    let address = process.address();
    (process, address)
}

/// Where the objects are.
pub fn store(s3: &S3Server) -> Vec<(&'static str, String)> {
    vec![
        ("TONEMILL_S3_ENDPOINT", s3.endpoint.clone()),
        ("TONEMILL_S3_BUCKET", s3.bucket.clone()),
        ("TONEMILL_S3_REGION", s3.region.clone()),
        ("TONEMILL_S3_ACCESS_KEY_ID", s3.access_key_id.clone()),
        ("TONEMILL_S3_SECRET_ACCESS_KEY", s3.secret_access_key.clone()),
    ]
}

pub fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

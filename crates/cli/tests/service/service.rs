//! The service, whole in one process, in a folder of its own; it can be killed and started again on
//! what it left.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tonemill_testbed::s3::S3Server;

use crate::client::Client;
use crate::process::Process;
use crate::support::process::program;

/// The first administrator's.
pub const PASSWORD: &str = "correct horse battery staple";

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

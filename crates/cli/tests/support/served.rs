//! `tonemill serve`, in a folder of its own; it can be killed and started again on what it left.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::daemon::Daemon;
use super::process::program;

/// The first administrator's.
pub const PASSWORD: &str = "correct horse battery staple";

/// The service, whole in one process.
pub struct Service {
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    pub process: Daemon,
    scheme: String,
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

    /// With these variables as well.
    pub fn with_environment(arguments: &[&str], environment: Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let (process, scheme, address) = start(folder.path(), &arguments, &environment);
        Self { arguments, environment, process, scheme, address, folder }
    }

    /// Starts it again, elsewhere; it is ended first if it runs.
    pub fn restart(&mut self) {
        self.process.kill();
        (self.process, self.scheme, self.address) =
            start(self.folder.path(), &self.arguments, &self.environment);
    }

    /// Where it is, by the name in test certificates.
    pub fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    /// What it keeps everything in.
    pub fn data(&self) -> PathBuf {
        data(self.folder.path())
    }

    /// A place for a file of the test's.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn start(
    folder: &Path,
    arguments: &[String],
    environment: &[(&'static str, String)],
) -> (Daemon, String, SocketAddr) {
    let mut command = program();
    command.args(["serve", "--retry-delay", "0.2"]);
    if !arguments.iter().any(|argument| argument == "--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.args(["--log-format", "json"]).args(arguments).envs(environment.iter().cloned());
    command.env("TONEMILL_ADMIN_PASSWORD", PASSWORD).arg("--data").arg(data(folder));
    let mut process = Daemon::start(&mut command, folder.join("log"));
    let (scheme, address) = process.listening();
    (process, scheme, address)
}

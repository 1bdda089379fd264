//! `tonemill serve`, in a folder of its own; it can be killed and started again on what it left.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::mpsc;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use crate::PATIENCE;
use crate::support::process::program;

/// The administrator's.
pub const PASSWORD: &str = "correct horse battery staple";

pub struct Service {
    child: Child,
    scheme: String,
    pub address: SocketAddr,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: TempDir,
}

impl Service {
    pub fn new() -> Self {
        Self::with(&[], &[])
    }

    pub fn with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let environment = environment.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        let (child, scheme, address) = start(&folder, &arguments, &environment);
        Self { child, scheme, address, arguments, environment, folder }
    }

    /// Where it is, by the name in test certificates.
    pub fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    /// Changes its ledger behind its back: for what only time would change.
    pub fn change(&self, statement: &'static str) {
        let ledger = self.folder.path().join("data/ledger.db");
        let change = async {
            // The service writes as well.
            let options = SqliteConnectOptions::new().filename(ledger);
            let mut ledger = options.busy_timeout(PATIENCE).connect().await?;
            sqlx::query(statement).execute(&mut ledger).await
        };
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let changed = runtime.block_on(change).expect("a statement");
        assert!(changed.rows_affected() > 0, "nothing was changed");
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, somewhere else.
    pub fn restart(&mut self) {
        self.kill();
        let (child, _, address) = start(&self.folder, &self.arguments, &self.environment);
        (self.child, self.address) = (child, address);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(
    folder: &TempDir,
    arguments: &[String],
    environment: &Vec<(String, String)>,
) -> (Child, String, SocketAddr) {
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--retry-delay", "0.2"]).args(arguments);
    command.env("TONEMILL_ADMIN_PASSWORD", PASSWORD);
    for (name, value) in environment {
        command.env(name, value);
    }
    command.arg("--data").arg(folder.path().join("data"));
    let log = File::options().create(true).append(true).open(folder.path().join("log"));
    let log = log.expect("a log");
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
    let stdout = child.stdout.take().expect("it is piped");
    let (sender, receiver) = mpsc::channel();
    // Reads on, so that nobody writes into a closed pipe.
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| {
            let _ = sender.send(line);
        });
    });
    let line = receiver.recv_timeout(PATIENCE).expect("it says where it is");
    let url = line.strip_prefix("tonemill: ").expect("where it is");
    let (scheme, address) = url.split_once("://").expect("an address");
    (child, scheme.to_owned(), address.parse().expect("an address"))
}

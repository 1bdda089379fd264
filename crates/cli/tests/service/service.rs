//! What these tests do with a service that runs: its users, and the files that it keeps.

use std::path::PathBuf;

use tonemill_job::ObjectKey;
use tonemill_testbed::s3::S3Server;

use crate::PATIENCE;
use crate::client::Client;
use crate::support::process::{Finished, program, start};
pub use crate::support::served::{PASSWORD, Service};

impl Service {
    /// With its objects at an S3 server.
    pub fn with_store(arguments: &[&str], s3: &S3Server) -> Self {
        Self::with_environment(arguments, s3.variables().to_vec())
    }

    /// In which the steps named in `faults` fail.
    pub fn with_faults(faults: String) -> Self {
        Self::with_environment(&[], vec![("TONEMILL_FAULTS", faults)])
    }

    /// Its ledger, opened beside it.
    pub async fn ledger(&self) -> tonemill_ledger::Ledger {
        let url = format!("sqlite://{}", self.data().join("ledger.db").display());
        let config = tonemill_ledger::LedgerConfig::new(url);
        tonemill_ledger::Ledger::open(config).await.expect("a ledger")
    }

    /// `tonemill admin` at it.
    pub async fn operate(&self, arguments: &[&str]) -> Finished {
        let mut command = program();
        command.arg("admin").args(arguments).arg("--data").arg(self.data());
        let run = move || start(&mut command).finish(PATIENCE);
        tokio::task::spawn_blocking(run).await.expect("no panic")
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

    /// The files below a folder of the data folder, but for the mark of the store.
    pub fn files(&self, below: &str) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.data().join(below)]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.retain(|file| !file.ends_with(ObjectKey::mark().as_str()));
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

//! S3 servers, each with one bucket.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Process, find, secret};
use crate::server::{self, free_port, on_free_port};

/// An S3 server with one bucket, gone when it is dropped.
#[derive(Debug)]
pub struct S3Server {
    /// Its URL.
    pub endpoint: String,
    /// The region to sign for.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The name of the key that may do everything with the bucket.
    pub access_key_id: String,
    /// The secret of that key.
    pub secret_access_key: String,
    // In this order: first the process, then its folder.
    process: Process,
    folder: TempDir,
}

impl S3Server {
    /// Starts the server that `$TONEMILL_S3` names: `garage`, or s3s-fs if it is not set.
    ///
    /// # Panics
    ///
    /// If it names another, or the server does not start.
    #[must_use]
    pub fn start_chosen() -> Self {
        match std::env::var("TONEMILL_S3") {
            Ok(name) if name == "garage" => Self::start_garage(),
            Ok(name) => panic!("TONEMILL_S3={name} is not known"),
            Err(_) => Self::start(),
        }
    }

    /// Starts s3s-fs, which keeps objects in a folder and verifies signatures and checksums. The
    /// program is `$TONEMILL_S3S_FS`, or where `make setup` puts it.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let program = find("TONEMILL_S3S_FS", "s3s-fs");
        let folder = tempfile::tempdir().expect("a folder for objects");
        let bucket = "tonemill-test";
        let root = folder.path().join("objects");
        // To s3s-fs, a folder is a bucket.
        fs::create_dir_all(root.join(bucket)).expect("a folder for a bucket");
        let (access_key_id, secret_access_key) = ("testbed".to_owned(), secret());
        let mut process = Process::start(
            Command::new(program)
                .args(["--host", "127.0.0.1", "--port", "0"])
                .args(["--access-key", &access_key_id, "--secret-key", &secret_access_key])
                .arg(&root)
                .env("RUST_LOG", "s3s_fs=info"),
            folder.path(),
        )
        .expect("s3s-fs starts");
        // It chooses the port itself, and tells.
        let endpoint = process.wait_until(|log| {
            let (_, rest) = log.split_once("server is running at ")?;
            let (endpoint, _) = rest.split_once('\n')?;
            Some(endpoint.trim().to_owned())
        });
        let endpoint = endpoint.unwrap_or_else(|| panic!("s3s-fs ended:\n{}", process.log()));
        Self {
            endpoint,
            region: "us-east-1".to_owned(),
            bucket: bucket.to_owned(),
            access_key_id,
            secret_access_key,
            process,
            folder,
        }
    }

    /// Starts Garage, a real distributed store, as a single node. The program is
    /// `$TONEMILL_GARAGE`, or where `make setup` puts it.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start_garage() -> Self {
        let program = find("TONEMILL_GARAGE", "garage");
        on_free_port("Garage", |port| Self::try_garage(&program, port))
    }

    fn try_garage(program: &Path, port: u16) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder for objects");
        let config = folder.path().join("garage.toml");
        fs::write(&config, garage_config(folder.path(), port, free_port())).expect("a file");
        let bucket = "tonemill-test";
        let (access_key_id, secret_access_key) = ("testbed-key".to_owned(), secret());
        let endpoint = format!("http://127.0.0.1:{port}");
        let process = server::start(
            Command::new(program)
                .arg("--config")
                .arg(&config)
                .args(["server", "--single-node", "--default-bucket"])
                .env("GARAGE_DEFAULT_ACCESS_KEY", &access_key_id)
                .env("GARAGE_DEFAULT_SECRET_KEY", &secret_access_key)
                .env("GARAGE_DEFAULT_BUCKET", bucket)
                .env("RUST_LOG", "garage=info,garage_api_common=info"),
            folder.path(),
            &format!("listening on {endpoint}"),
        )?;
        Some(Self {
            endpoint,
            region: "garage".to_owned(),
            bucket: bucket.to_owned(),
            access_key_id,
            secret_access_key,
            process,
            folder,
        })
    }

    /// What Tonemill's processes are told about it.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("TONEMILL_S3_ENDPOINT", self.endpoint.clone()),
            ("TONEMILL_S3_BUCKET", self.bucket.clone()),
            ("TONEMILL_S3_REGION", self.region.clone()),
            ("TONEMILL_S3_ACCESS_KEY_ID", self.access_key_id.clone()),
            ("TONEMILL_S3_SECRET_ACCESS_KEY", self.secret_access_key.clone()),
        ]
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where s3s-fs keeps everything.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    /// Where s3s-fs keeps the object `key`.
    #[must_use]
    pub fn object_path(&self, key: &str) -> PathBuf {
        self.folder().join(&self.bucket).join(key)
    }
}

fn garage_config(folder: &Path, port: u16, rpc_port: u16) -> String {
    let folder = folder.display();
    let rpc_secret = format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..));
    format!(
        r#"
metadata_dir = "{folder}/metadata"
data_dir = "{folder}/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc_port}"
rpc_public_addr = "127.0.0.1:{rpc_port}"
rpc_secret = "{rpc_secret}"

[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:{port}"
"#
    )
}

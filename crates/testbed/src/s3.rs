//! S3 servers, each with one bucket.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Process, find, secret};

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

    /// Starts Garage, a real distributed store, as a single node. The program is `$TONEMILL_GARAGE`, or
    /// where `make setup` puts it.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start_garage() -> Self {
        let program = find("TONEMILL_GARAGE", "garage");
        // It cannot choose ports itself, and somebody else may take one first.
        for _ in 0..10 {
            if let Some(server) = Self::try_garage(&program) {
                return server;
            }
        }
        panic!("Garage found no port in ten tries");
    }

    fn try_garage(program: &Path) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder for objects");
        let config = folder.path().join("garage.toml");
        let [address, rpc_address] = free_addresses();
        fs::write(&config, garage_config(folder.path(), address, rpc_address)).expect("a file");
        let bucket = "tonemill-test";
        let (access_key_id, secret_access_key) = ("testbed-key".to_owned(), secret());
        let mut process = Process::start(
            Command::new(program)
                .arg("--config")
                .arg(&config)
                .args(["server", "--single-node", "--default-bucket"])
                .env("GARAGE_DEFAULT_ACCESS_KEY", &access_key_id)
                .env("GARAGE_DEFAULT_SECRET_KEY", &secret_access_key)
                .env("GARAGE_DEFAULT_BUCKET", bucket)
                .env("RUST_LOG", "garage=info,garage_api_common=info"),
            folder.path(),
        )
        .expect("Garage starts");
        let is_up = format!("listening on http://{address}");
        let started = process.wait_until(|log| log.contains(&is_up).then_some(()));
        if started.is_none() {
            let log = process.log();
            assert!(log.contains("in use"), "Garage ended:\n{log}");
            return None;
        }
        Some(Self {
            endpoint: format!("http://{address}"),
            region: "garage".to_owned(),
            bucket: bucket.to_owned(),
            access_key_id,
            secret_access_key,
            process,
            folder,
        })
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

/// Two addresses of this machine that nobody uses yet.
fn free_addresses() -> [SocketAddr; 2] {
    // Both are held at once, so that they differ.
    let holders = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    holders.map(|holder| holder.local_addr().expect("it is bound"))
}

fn garage_config(folder: &Path, address: SocketAddr, rpc_address: SocketAddr) -> String {
    let folder = folder.display();
    let rpc_secret = format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..));
    format!(
        r#"
metadata_dir = "{folder}/metadata"
data_dir = "{folder}/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "{rpc_address}"
rpc_public_addr = "{rpc_address}"
rpc_secret = "{rpc_secret}"

[s3_api]
s3_region = "garage"
api_bind_addr = "{address}"
"#
    )
}

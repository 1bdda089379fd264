//! A user: a folder with files, a folder with log-ins, and the program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::PATIENCE;
use crate::service::PASSWORD;
use crate::support::process::{Finished, Running, program, start};

pub struct Home(TempDir);

impl Home {
    pub fn new() -> Self {
        let home = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir(home.files()).expect("a folder");
        home
    }

    /// A user who is logged in as the administrator.
    pub fn logged_in(url: &str) -> Self {
        let home = Self::new();
        home.log_in(url, PASSWORD).succeeded();
        home
    }

    pub fn log_in(&self, url: &str, password: &str) -> Finished {
        let mut command = self.command(&["login", url, "--name", "admin", "--password-stdin"]);
        let path = self.0.path().join("password");
        fs::write(&path, format!("{password}\n")).expect("a file");
        command.stdin(fs::File::open(path).expect("it was just written"));
        start(&mut command).finish(PATIENCE)
    }

    /// Where the user is.
    pub fn files(&self) -> PathBuf {
        self.0.path().join("files")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.files().join(name)
    }

    /// Puts a file there.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A file of the client's.
    pub fn kept(&self, name: &str) -> PathBuf {
        self.0.path().join("config/tonemill").join(name)
    }

    pub fn credentials(&self) -> Value {
        let bytes = fs::read(self.kept("credentials.json")).expect("a log-in");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// What is remembered of transfers of a kind.
    pub fn records(&self, kind: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.kept(kind)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        let variables = std::env::vars_os().map(|(name, _)| name);
        for name in variables.filter(|name| {
            let name = name.to_string_lossy().to_lowercase();
            name.starts_with("tonemill_") || name.ends_with("_proxy")
        }) {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(self.files());
        command.env("XDG_CONFIG_HOME", self.0.path().join("config"));
        command
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        start(&mut self.command(arguments))
    }

    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).finish(PATIENCE)
    }

    /// The jobs of the service, newest first.
    pub fn jobs(&self) -> Vec<Value> {
        self.run(&["jobs", "--json"]).succeeded().json_lines()
    }
}

/// Who may do what with a file.
pub fn mode(path: &Path) -> u32 {
    path.metadata().expect("a file").permissions().mode() & 0o777
}

/// The only line that was said of a failure.
#[track_caller]
pub fn complaint(finished: &Finished) -> &str {
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].strip_prefix("tonemill: ").expect("ours")
}

/// A WAV of so many bytes, of noise that is the same every time.
pub fn noise(bytes: usize) -> Vec<u8> {
    let length = |value: usize| u32::try_from(value).expect("a short file").to_le_bytes();
    let mut wav = Vec::with_capacity(bytes);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&length(bytes - 8));
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
    wav.extend_from_slice(&48_000_u32.to_le_bytes());
    wav.extend_from_slice(&192_000_u32.to_le_bytes());
    wav.extend_from_slice(b"\x04\0\x10\0data");
    wav.extend_from_slice(&length(bytes - 44));
    let mut random = fastrand::Rng::with_seed(1);
    wav.resize_with(bytes, || random.u8(..));
    wav
}

//! A real redis-server for a test: on a port of its own, with its data in a folder of its own, gone
//! when it is dropped. It can be killed, paused and started again on the same port and data.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, end_with_this_process};
use crate::server::{self, Server, free_port};
use crate::tls::Authority;

/// What a redis-server says when it answers.
pub(crate) const READY: &str = "Ready to accept connections";

/// A running redis-server.
#[derive(Debug)]
pub struct RedisServer {
    // In this order: first the process, then its folder.
    server: Server,
    data: TempDir,
    extra: Vec<String>,
}

impl RedisServer {
    /// Starts a server that writes every change to disk before it answers the next one.
    ///
    /// # Panics
    ///
    /// If there is no redis-server.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more options, such as `["--maxmemory", "10mb"]`.
    ///
    /// # Panics
    ///
    /// If there is no redis-server.
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        let extra: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let data = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start("redis-server", |port| start(port, data.path(), &extra));
        Self { server, data, extra }
    }

    /// Starts a server that speaks TLS as well, on the port that comes with it.
    ///
    /// # Panics
    ///
    /// If there is no redis-server.
    #[must_use]
    pub fn start_with_tls(authority: &Authority) -> (Self, u16) {
        let file = |path: PathBuf| path.to_str().expect("a plain name").to_owned();
        let [ca, certificate, key] =
            [authority.ca_file(), authority.certificate_file(), authority.key_file()].map(file);
        let port = free_port();
        let options = [
            ["--tls-port", &port.to_string(), "--tls-auth-clients", "no"],
            ["--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate],
        ];
        let options = [&options.concat()[..], &["--tls-key-file", &key]].concat();
        (Self::start_with(&options), port)
    }

    /// Starts a server for a static, which is never dropped.
    ///
    /// # Panics
    ///
    /// If there is no redis-server.
    #[must_use]
    pub fn start_with_parent() -> Self {
        let server = Self::start();
        end_with_this_process(server.pid(), server.data.path());
        server
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Its process.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.running().pid()
    }

    /// Memory that its data takes, in bytes, by its own count.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    #[must_use]
    pub fn used_memory(&self) -> u64 {
        let info = self.info("memory");
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        line.and_then(|bytes| bytes.trim().parse().ok()).expect("a number")
    }

    /// What it says of itself, of one section: lines of `name:value`.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    #[must_use]
    pub fn info(&self, section: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).expect("a running server");
        let ask = format!("INFO {section}\r\nQUIT\r\n");
        stream.write_all(ask.as_bytes()).expect("a running server");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("a running server");
        answer
    }

    /// Kills it with SIGKILL.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill(&mut self) {
        drop(self.server.take());
    }

    /// Starts it again where it was, with the data that it had written.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self) {
        self.server.restart(|port| start(port, self.data.path(), &self.extra));
    }

    /// Starts it again where it was, without its data.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart_empty(&mut self) {
        self.data = tempfile::tempdir().expect("a temporary folder");
        self.restart();
    }

    /// Copies its data as it is on the disk now, for [`restart_from`](Self::restart_from).
    ///
    /// # Panics
    ///
    /// If it cannot be copied.
    #[must_use]
    pub fn copy_data(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a temporary folder");
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.data.path().join(&folder)).expect("our folder") {
                let name = folder.join(entry.expect("our folder").file_name());
                let (from, to) = (self.data.path().join(&name), copy.path().join(&name));
                if from.is_dir() {
                    fs::create_dir(&to).expect("our folder");
                    folders.push(name);
                } else {
                    fs::copy(&from, &to).expect("our folder");
                }
            }
        }
        copy
    }

    /// Starts it again where it was, with data that it once had.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart_from(&mut self, data: TempDir) {
        self.data = data;
        self.restart();
    }

    /// Stops it from running without ending it.
    pub fn pause(&self) {
        self.server.running().pause();
    }

    /// Undoes [`pause`](Self::pause).
    pub fn resume(&self) {
        self.server.running().signal(Signal::CONT);
    }
}

fn start(port: u16, data: &Path, extra: &[String]) -> Option<Process> {
    let mut command = redis_server(port, data);
    command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]).args(extra);
    server::start(&mut command, data, READY)
}

/// A redis-server without options of its kind.
pub(crate) fn redis_server(port: u16, data: &Path) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]).arg("--dir").arg(data);
    command
}

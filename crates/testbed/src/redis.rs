//! A real redis-server for a test: on a port of its own, with its data in a folder of its own, gone
//! when it is dropped. It can be killed, paused and started again on the same port and data.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::end_with_this_process;
use crate::tls::Authority;

/// How long a server may take to answer after its start.
const START: Duration = Duration::from_secs(20);

/// A running redis-server.
#[derive(Debug)]
pub struct RedisServer {
    data: TempDir,
    port: u16,
    extra: Vec<String>,
    process: Option<Child>,
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
        let extra = options.iter().map(|&option| option.to_owned()).collect();
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self { data, port: 0, extra, process: None };
        // Somebody else may take a port between our look and the server's.
        for _ in 0..20 {
            server.port = free_port();
            if server.try_start() {
                return server;
            }
        }
        panic!("redis-server does not start; is it installed? Run `make setup`.");
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
        // Whoever takes the port first makes the server end, and another is tried.
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
        let process = server.process.as_ref().expect("it was just started").id();
        end_with_this_process(process, server.data.path());
        server
    }

    fn try_start(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "everysec", "--daemonize", "no"]);
        command.arg("--dir").arg(self.data.path()).args(&self.extra);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().expect("redis-server is installed: run `make setup`");
        let end = Instant::now() + START;
        while Instant::now() < end {
            if process.try_wait().expect("our child").is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                self.process = Some(process);
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = process.kill();
        let _ = process.wait();
        false
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running server").id()
    }

    /// Memory that its data takes, in bytes, by its own count.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    #[must_use]
    pub fn used_memory(&self) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a running server");
        stream.write_all(b"INFO memory\r\nQUIT\r\n").expect("a running server");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("a running server");
        let line = answer.lines().find_map(|line| line.strip_prefix("used_memory:"));
        line.and_then(|bytes| bytes.trim().parse().ok()).expect("a number")
    }

    /// Kills it with SIGKILL.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("a running server");
        process.kill().and_then(|()| process.wait()).expect("our child");
    }

    /// Starts it again where it was, with the data that it had written.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "it runs");
        assert!(self.try_start(), "redis-server does not start again on port {}", self.port);
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
        self.signal(Signal::STOP);
    }

    /// Undoes [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a running server");
        let pid = Pid::from_child(process);
        kill_process(pid, signal).expect("our child");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A port that nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

//! Running programs under watch: what they wrote, how they ended, how long they took and how much
//! memory. Nothing here waits without an end, and no pipe can fill up: output goes to files.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use wait4::Wait4;

/// A program that takes longer than this is killed, which no test takes for a success.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub took: Duration,
    /// Most memory that was resident at once; the kernel never says less than the test's own
    /// process had when it started this one.
    pub peak_bytes: u64,
}

/// A program that runs, with its output going to files.
pub struct Running {
    pub child: Child,
    stdout: File,
    stderr: File,
    started: Instant,
}

/// Runs `tonemill` with `arguments` to its end.
pub fn tonemill<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    start(program().args(arguments)).finish(PATIENCE)
}

/// Runs `tonemill convert INPUT -o OUTPUT --json` and `arguments`.
pub fn convert(input: &Path, output: &Path, arguments: &[&str]) -> Finished {
    let mut command = program();
    command.arg("convert").arg(input).arg("-o").arg(output).arg("--json").args(arguments);
    start(&mut command).finish(PATIENCE)
}

/// As [`convert`], which must succeed; the report.
pub fn converted(input: &Path, output: &Path, arguments: &[&str]) -> Value {
    convert(input, output, arguments).succeeded().json()
}

/// The program under test, with nothing on standard input.
pub fn program() -> Command {
    program_at(Path::new(env!("CARGO_BIN_EXE_tonemill")))
}

/// The same, of another version.
pub fn program_at(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
    command
}

/// Starts `command` with its output going to files.
pub fn start(command: &mut Command) -> Running {
    let stdout = tempfile::tempfile().expect("a temporary file");
    let stderr = tempfile::tempfile().expect("a temporary file");
    command.stdout(stdout.try_clone().expect("a descriptor"));
    command.stderr(stderr.try_clone().expect("a descriptor"));
    let started = Instant::now();
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Running { child, stdout, stderr, started }
}

impl Running {
    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process is ours");
    }

    /// What it has written on standard error so far.
    pub fn said(&self) -> String {
        let mut bytes = vec![0; self.stderr.metadata().expect("a file").len() as usize];
        // At a place: it shares the cursor of the file with us.
        self.stderr.read_exact_at(&mut bytes, 0).expect("a temporary file");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for its end, or ends it after `patience`.
    pub fn finish(self, patience: Duration) -> Finished {
        let Self { child, stdout, stderr, started } = self;
        // A descriptor of the process, unlike its number, can never come to mean another one.
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("a pidfd");
        let (done, ended) = mpsc::channel();
        let waiter = thread::spawn(move || done.send(child.wait4()));
        let usage = ended.recv_timeout(patience).unwrap_or_else(|_| {
            let _ = pidfd_send_signal(&handle, Signal::KILL);
            ended.recv().expect("the waiter sends once")
        });
        let took = started.elapsed();
        let _ = waiter.join();
        let usage = usage.expect("the process is ours");
        Finished {
            code: usage.status.code(),
            signal: usage.status.signal(),
            stdout: contents(stdout),
            stderr: String::from_utf8_lossy(&contents(stderr)).into_owned(),
            took,
            peak_bytes: usage.rusage.maxrss,
        }
    }
}

impl Finished {
    /// Itself, if the exit code is 0.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        self.ended_with(0)
    }

    /// Itself, if the exit code is `code`.
    #[track_caller]
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "signal {:?}, {}", self.signal, self.stderr);
        self
    }

    /// The only line on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        let mut lines = self.json_lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    /// The lines on standard output.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.stdout).expect("JSON is UTF-8");
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        text.lines().map(parse).collect()
    }
}

fn contents(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a temporary file");
    bytes
}

/// Names in a folder, sorted.
pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// Whether `program` can be started.
pub fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

//! A process of the program under measurement, and what the kernel says of it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{BenchError, file};

/// A process, killed when it is dropped. What it logs goes into a file.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    // A process whose output nobody can read fails when it writes.
    stdout: Option<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Result<Self, BenchError> {
        let stderr = File::create(&log).map_err(file("write", &log))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().map_err(file("run", Path::new(command.get_program())))?;
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self { child, log, stdout })
    }

    /// Waits until it says where it listens.
    pub(crate) fn address(&mut self) -> Result<SocketAddr, BenchError> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.stdout {
            stdout.read_line(&mut line).map_err(file("read", &self.log))?;
        }
        let address = line.trim().strip_prefix("tonemill: http://");
        address.and_then(|address| address.parse().ok()).ok_or_else(|| {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            BenchError::work(format!("it does not listen: {line}{log}"))
        })
    }

    /// Whether it still runs.
    pub(crate) fn check(&mut self) -> Result<(), BenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                Err(BenchError::work(format!("a process ended ({ended:?}): {log}")))
            }
        }
    }

    /// SIGTERM, and its end, which must be a success.
    pub(crate) fn end(mut self) -> Result<(), BenchError> {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // One that has ended already says so below.
            let _ = kill_process(pid, Signal::TERM);
        }
        let status = self.child.wait().map_err(file("end", &self.log))?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        Err(BenchError::work(format!("a process ended ({status}): {log}")))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of its threads and of the children that it has waited for.
    pub(crate) fn cpu_time(&self) -> Duration {
        cpu_time(self.pid())
    }

    /// Resident memory in bytes: now and at its peak.
    pub(crate) fn resident_bytes(&self) -> (u64, u64) {
        let status = proc(self.pid(), "status");
        (number_of(&status, "VmRSS:") << 10, number_of(&status, "VmHWM:") << 10)
    }

    /// Bytes that it has sent on their way to a disk, whatever the file.
    pub(crate) fn written_bytes(&self) -> u64 {
        number_of(&proc(self.pid(), "io"), "write_bytes:")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process, with its threads and the children that it has waited for.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = proc(pid, "stat");
    // The name, in brackets, may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn proc(pid: u32, name: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default()
}

/// The number in the line that starts with `name`; 0 if there is none.
fn number_of(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

//! The child as a process: started with nothing, always ended, always reaped.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::CHILD_ARGUMENT;

/// The environment that is passed on: where the dynamic linker finds FFmpeg if not in its usual
/// places.
const PASSED_ON: &[&str] = &[
    "LD_LIBRARY_PATH",
    #[cfg(feature = "faults")]
    crate::fault::VARIABLE,
];

/// A running child. Dropped, it is killed and reaped.
pub(super) struct Process {
    child: Mutex<Child>,
    started: Instant,
}

/// The parent's ends of the child's standard descriptors.
pub(super) struct Ends {
    /// The child asks for the source here. Does not block.
    pub(super) stdin: UnixStream,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// What is known of a process that has ended.
pub(super) struct End {
    pub(super) status: Option<ExitStatus>,
    pub(super) wall: Duration,
    pub(super) cpu: Option<Duration>,
}

impl Process {
    /// Starts this program again, as a child.
    pub(super) fn spawn() -> io::Result<(Self, Ends)> {
        let (stdin, theirs) = UnixStream::pair()?;
        stdin.set_nonblocking(true)?;
        let mut command = Command::new(program()?);
        command
            .arg0("tonemill")
            .arg(CHILD_ARGUMENT)
            .env_clear()
            // glibc reserves 64 MiB of address space for each arena.
            .env("MALLOC_ARENA_MAX", "2")
            .current_dir("/")
            // Ctrl-C in a terminal is for the parent, which may want to finish.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in PASSED_ON {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let started = Instant::now();
        let mut child = command.spawn()?;
        let ends = child.stdout.take().zip(child.stderr.take());
        // From here on it is killed if anything fails.
        let process = Self { child: Mutex::new(child), started };
        let (stdout, stderr) = ends.ok_or_else(|| io::Error::other("a pipe is missing"))?;
        Ok((process, Ends { stdin, stdout, stderr }))
    }

    /// Kills it, if it still runs.
    pub(super) fn kill(&self) {
        // Fails only for a child that has been reaped.
        let _ = self.child().kill();
    }

    /// Waits for its end as long as `may_go_on`, then kills it.
    pub(super) fn reap(&self, mut may_go_on: impl FnMut() -> bool) -> End {
        let pid = Pid::from_child(&self.child());
        let left_to_reap = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(pid), left_to_reap | WaitIdOptions::NOHANG) {
                Ok(None) if may_go_on() => sleep(Duration::from_millis(1)),
                Ok(None) => {
                    self.kill();
                    let _ = waitid(WaitId::Pid(pid), left_to_reap);
                    break;
                }
                Ok(Some(_)) | Err(_) => break,
            }
        }
        let cpu = cpu_time(pid);
        End { status: self.child().wait().ok(), wall: self.started.elapsed(), cpu }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// This program, even if it has been replaced or removed since it started.
fn program() -> io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Ok(running) } else { std::env::current_exe() }
}

/// CPU time of a process that has ended but was not reaped.
fn cpu_time(pid: Pid) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).map_while(|t| t.parse::<u64>().ok()).sum();
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(ticks * 1000 / ticks_per_second.max(1)))
}

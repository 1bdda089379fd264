//! Programs that run beside a test.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What a server may take to start or to obey a signal. It takes a fraction of a second, unless the
/// machine is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// A program that is killed when it is dropped. What it says goes into a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, which writes into `folder/log`.
    pub fn start(command: &mut Command, folder: &Path) -> io::Result<Self> {
        let log = folder.join("log");
        let file = File::create(&log)?;
        let child = command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file).spawn()?;
        Ok(Self { child, log })
    }

    /// Waits until `is_ready`, given the log, finds what it looks for. `None` if the program ended.
    pub fn wait_until<T>(&mut self, is_ready: impl Fn(&str) -> Option<T>) -> Option<T> {
        let start = Instant::now();
        loop {
            // Asked before the log is read: what an ended program wrote is all there.
            let has_ended = self.child.try_wait().expect("it is our child").is_some();
            let log = self.log();
            if let Some(found) = is_ready(&log) {
                return Some(found);
            }
            if has_ended {
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "a server did not start:\n{log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends it `signal`.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child");
    }

    /// Stops it from running without ending it.
    pub fn pause(&self) {
        pause(Pid::from_child(&self.child));
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stops a process. It has stopped when this returns: a signal is only a request, and a thread that
/// runs on another core does one more thing first.
pub fn pause(pid: Pid) {
    if kill_process(pid, Signal::STOP).is_ok() {
        wait_for(pid, &['T', 'Z', 'X']);
    }
}

/// Kills a process that may not be our child.
pub fn kill(pid: Pid) {
    if kill_process(pid, Signal::KILL).is_ok() {
        wait_for(pid, &['Z', 'X']);
    }
}

/// Waits until each thread is in one of `states`, or gone. Where there is no `/proc`, it does not.
fn wait_for(pid: Pid, states: &[char]) {
    let start = Instant::now();
    let has_obeyed = |task: &Path| {
        let facts = fs::read_to_string(task.join("stat")).unwrap_or_default();
        // After the name, which is in brackets and may hold anything.
        let state = facts.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_none_or(|state| states.contains(&state))
    };
    while let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) {
        if tasks.flatten().all(|task| has_obeyed(&task.path())) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "process {pid} does not obey a signal");
        thread::sleep(Duration::from_millis(1));
    }
}

/// What the program `command` says to `input`.
///
/// # Panics
///
/// If it fails.
pub fn answer(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // Whoever does not read to the end says why when it ends.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it is our child");
    let [answer, error] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{answer}{error}", output.status);
    answer.trim_end().to_owned()
}

/// For servers in statics, which are never dropped: a shell waits for the end of this process, ends
/// the process `pid` and removes its folder.
pub fn end_with_this_process(pid: u32, folder: &Path) {
    end_with_this_process_by(Signal::KILL, pid, folder);
}

/// The same for a server that must end by `signal`, to clean up; it has ten seconds.
pub fn end_with_this_process_by(signal: Signal, pid: u32, folder: &Path) {
    let watch = "(while kill -0 $0; do sleep 0.5; done
        kill -$1 $2; tries=0
        while kill -0 $2 && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
        kill -9 $2; rm -rf \"$3\") &";
    let mut command = Command::new("sh");
    command.args(["-c", watch, &std::process::id().to_string()]);
    command.args([&signal.as_raw().to_string(), &pid.to_string()]).arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().expect("a shell");
    assert!(status.success(), "the watch does not start: {status}");
}

/// Another for every server, so that whoever reaches the wrong one is refused.
pub fn secret() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Where the program `name` is: in the environment as `variable`, among the tools that
/// `make setup` builds, or in `PATH`.
pub fn find(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        return path.into();
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    [tools]
        .into_iter()
        .chain(env::split_paths(&path))
        // Where Debian puts servers; only root's PATH holds it.
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("no {name} (${variable}): run make setup"))
}

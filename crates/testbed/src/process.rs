//! Programs that run beside a test.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a server may take to start. It takes a fraction of a second, unless the machine is busy.
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

/// For servers in statics, which are never dropped: a shell waits for the end of this process, ends
/// the process `pid` and removes its folder.
pub fn end_with_this_process(pid: u32, folder: &Path) {
    let watch = "(while kill -0 $0; do sleep 0.5; done; kill -9 $1; rm -rf \"$2\") &";
    let mut command = Command::new("sh");
    command.args(["-c", watch, &std::process::id().to_string(), &pid.to_string()]).arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().expect("a shell");
    assert!(status.success(), "the watch does not start: {status}");
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
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("no {name} (${variable}): run make setup"))
}

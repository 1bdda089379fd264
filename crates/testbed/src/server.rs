//! What the servers have in common: a port that nobody else takes first, a log that says when they
//! are ready, and that they can be killed and started again where they were.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::process::Process;

/// Tries to start a server on a port that nobody takes first.
const TRIES: usize = 20;
/// Between two tries on the same port.
const PAUSE: Duration = Duration::from_millis(250);

/// A server on a port of its own, which need not run at the moment.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    process: Option<Process>,
    port: u16,
}

impl Server {
    /// Starts one. `start` is `None` where the port was taken.
    ///
    /// # Panics
    ///
    /// If no port was free.
    pub fn start(name: &'static str, mut start: impl FnMut(u16) -> Option<Process>) -> Self {
        let (process, port) = on_free_port(name, |port| Some((start(port)?, port)));
        Self { name, process: Some(process), port }
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    ///
    /// If it runs, or does not start.
    pub fn restart(&mut self, start: impl Fn(u16) -> Option<Process>) {
        assert!(self.process.is_none(), "{} runs", self.name);
        // Somebody's connection may have been given the port; it will end.
        for _ in 0..TRIES {
            self.process = start(self.port);
            if self.process.is_some() {
                return;
            }
            thread::sleep(PAUSE);
        }
        panic!("{} does not start again on port {}", self.name, self.port);
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn running(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Its process, which is killed when it is dropped: from now on it does not run.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn take(&mut self) -> Process {
        let process = self.process.take();
        process.unwrap_or_else(|| panic!("{} does not run", self.name))
    }
}

/// Starts `command` and waits until it says `ready`. `None` if a port that it wants is taken.
///
/// # Panics
///
/// If it ends for another reason.
pub fn start(command: &mut Command, folder: &Path, ready: &str) -> Option<Process> {
    let mut process = Process::start(command, folder)
        .unwrap_or_else(|error| panic!("{command:?}: {error}: run make setup"));
    if process.wait_until(|log| log.contains(ready).then_some(())).is_some() {
        return Some(process);
    }
    let log = process.log();
    assert!(log.contains("in use"), "{command:?} ended:\n{log}");
    None
}

/// What `start` makes on a port that nobody takes first; it is `None` where somebody did, between
/// our look and the server's.
///
/// # Panics
///
/// If no port was free.
pub fn on_free_port<T>(name: &str, start: impl FnMut(u16) -> Option<T>) -> T {
    let started = std::iter::repeat_with(free_port).take(TRIES).find_map(start);
    started.unwrap_or_else(|| panic!("{name} found no port in {TRIES} tries"))
}

/// A port that nobody listened on a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

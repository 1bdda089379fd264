//! A question on the terminal, whose answer nobody sees.
//!
//! The libraries for it cannot be interrupted: a signal that ends the process in the middle of
//! their read leaves the terminal without echo. Here the read looks around, and the echo comes back
//! first.

use std::fs::File;
use std::io::{Read as _, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::exit::{CancelToken, Outcome};
use crate::failure::Failure;

/// Longest answer, in bytes.
const MAX_BYTES: usize = 4096;
/// How often it looks around.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Asks on the terminal, wherever standard input and output go.
pub fn ask(question: &str, is_secret: bool, cancel: &CancelToken) -> Result<String, Failure> {
    let file = File::options().read(true).write(true).open("/dev/tty").map_err(|_| {
        let advice = "use --name and --password-stdin";
        Failure::usage("there is no terminal to ask on", advice)
    })?;
    let mut terminal = &file;
    let silent = is_secret.then(|| Silent::begin(&file)).transpose();
    let failed = |error: std::io::Error| {
        Failure::fault(format!("the terminal cannot be used: {error}"), "use --password-stdin")
    };
    let _silent = silent.map_err(|error| failed(error.into()))?;
    write!(terminal, "{question}: ").map_err(failed)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        if cancel.is_cancelled() {
            let _ = writeln!(terminal);
            return Err(Failure::new(Outcome::Cancelled, "interrupted", ""));
        }
        let mut ready = [PollFd::new(&file, PollFlags::IN)];
        if !matches!(poll(&mut ready, Some(&LOOK)), Ok(1..)) {
            continue;
        }
        let mut piece = [0; MAX_BYTES];
        let count = terminal.read(&mut piece).map_err(failed)?;
        answer.extend_from_slice(&piece[..count]);
        if count == 0 || answer.len() > MAX_BYTES {
            return Err(Failure::usage("that is no answer", "try again"));
        }
    }
    line(answer)
}

/// The first line of standard input.
pub fn from_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().take(MAX_BYTES as u64).read_to_end(&mut bytes).map_err(|error| {
        Failure::usage(
            format!("standard input cannot be read: {error}"),
            "check where it comes from",
        )
    })?;
    line(bytes)
}

fn line(bytes: Vec<u8>) -> Result<String, Failure> {
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage("that is no UTF-8", "check the terminal's encoding"))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::usage("nothing was said", "try again"));
    }
    Ok(line.to_owned())
}

/// No echo until it is dropped.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn begin(terminal: &'a File) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

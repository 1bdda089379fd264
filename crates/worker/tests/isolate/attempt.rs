//! An attempt in a process of its own, so that it can have faults; what came of it is told in JSON.

use std::io::Cursor;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tonemill_codec::{CancelToken, Limits, SeekSink};
use tonemill_job::JobOptions;
use tonemill_worker::isolate::{self, IsolateError, SandboxLimits};

use crate::media;

pub const ARGUMENT: &str = "attempt";

/// What came of an attempt.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    pub bytes: usize,
    pub error: Option<String>,
    pub kind: Option<String>,
    pub crashed: bool,
    pub killed: Option<String>,
    pub signal: Option<i32>,
    pub code: Option<i32>,
    pub stderr: String,
    pub cpu_ms: Option<u64>,
    pub elapsed_ms: u64,
}

/// Has `input` converted with `faults`, within `limits` and `sandbox`.
pub fn with_faults(input: &Path, faults: &str, limits: &Limits, sandbox: &SandboxLimits) -> Told {
    let output = command(input, faults, limits, sandbox).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The program that does it.
pub fn command(input: &Path, faults: &str, limits: &Limits, sandbox: &SandboxLimits) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("there is one"));
    command.arg(ARGUMENT).arg(input).args([json(limits), json(sandbox)]);
    command.env("TONEMILL_FAULTS", faults);
    command
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it can be written")
}

pub fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut next = || arguments.next().expect("input, limits, sandbox");
    let source = media::open(Path::new(&next()));
    let limits: Limits = serde_json::from_str(&next()).expect("limits");
    let sandbox: SandboxLimits = serde_json::from_str(&next()).expect("sandbox");
    let (options, cancel) = (JobOptions::default(), CancelToken::new());
    let mut output = Cursor::new(Vec::new());
    let started = Instant::now();
    let sink = SeekSink(&mut output);
    let outcome = isolate::transcode(source, sink, &options, &limits, &sandbox, 2, &cancel, |_| ());
    let told = tell(outcome.as_ref().err(), output.into_inner().len(), started.elapsed());
    println!("{}", json(&told));
    ExitCode::SUCCESS
}

fn tell(error: Option<&IsolateError>, bytes: usize, elapsed: Duration) -> Told {
    let death = error.and_then(IsolateError::death);
    let status = death.and_then(|death| death.status);
    Told {
        bytes,
        error: error.map(ToString::to_string),
        kind: error.and_then(IsolateError::kind).map(|kind| format!("{kind:?}")),
        crashed: matches!(error, Some(IsolateError::Crashed(_))),
        killed: match error {
            Some(IsolateError::Killed { why, .. }) => Some(why.to_string()),
            _ => None,
        },
        signal: status.and_then(|status| status.signal()),
        code: status.and_then(|status| status.code()),
        stderr: death.map(|death| death.stderr.clone()).unwrap_or_default(),
        cpu_ms: death.and_then(|death| death.cpu).map(|cpu| cpu.as_millis() as u64),
        elapsed_ms: elapsed.as_millis() as u64,
    }
}

pub const COUNT_ARGUMENT: &str = "attempts";

/// Makes many attempts, of which some fail, and looks for what they leave behind.
pub fn run_many(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let input = arguments.next().expect("input");
    let convert = |fails: bool| {
        let (options, cancel) = (JobOptions::default(), CancelToken::new());
        let limits = Limits { output_bytes: if fails { 9 } else { 1 << 30 }, ..Limits::default() };
        let sandbox = SandboxLimits::default();
        let sink = SeekSink(Cursor::new(Vec::new()));
        let source = media::open(Path::new(&input));
        isolate::transcode(source, sink, &options, &limits, &sandbox, 2, &cancel, |_| ()).is_err()
    };
    let count = || {
        let entries = |path: &str| std::fs::read_dir(path).expect("it is there").count();
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        (entries("/proc/self/fd"), entries("/proc/self/task"), children)
    };
    assert!(!convert(false));
    let before = count();
    for number in 0..50 {
        assert_eq!(convert(number % 5 == 0), number % 5 == 0);
    }
    assert_eq!(count(), before);
    assert_eq!(before.2, "", "children are left");
    ExitCode::SUCCESS
}

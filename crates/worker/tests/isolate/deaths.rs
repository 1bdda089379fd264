//! Children that die, hang or are not wanted any more: each is told apart, in time.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use tonemill_codec::{CancelToken, Limits, SeekSink};
use tonemill_job::JobOptions;
use tonemill_worker::isolate::{self, IsolateError, SandboxLimits};

use crate::attempt::{self, Told, with_faults};
use crate::media;

pub const TESTS: &[(&str, fn())] = &[
    ("a_signal_is_a_crash", a_signal_is_a_crash),
    ("an_exit_midway_is_a_crash", an_exit_midway_is_a_crash),
    ("memory_runs_out_in_time", memory_runs_out_in_time),
    ("an_endless_loop_is_ended", an_endless_loop_is_ended),
    ("a_time_limit_is_kept_from_outside", a_time_limit_is_kept_from_outside),
    ("cpu_time_is_limited", cpu_time_is_limited),
    ("a_panic_is_told", a_panic_is_told),
    ("an_error_in_the_child_is_the_codecs", an_error_in_the_child_is_the_codecs),
    ("faults_may_depend_on_the_input", faults_may_depend_on_the_input),
    ("cancelling_ends_the_child", cancelling_ends_the_child),
    ("a_child_dies_with_its_parent", a_child_dies_with_its_parent),
];

fn faulty(faults: &str) -> Told {
    with_faults(&media::clip(), faults, &Limits::default(), &SandboxLimits::default())
}

fn a_signal_is_a_crash() {
    for step in ["decode", "encode", "finish"] {
        for (action, signal) in [("segv", 11), ("abort", 6), ("kill", 9)] {
            let told = faulty(&format!("{step}={action}"));
            assert!(told.crashed && told.signal == Some(signal), "{step} {action}: {told:?}");
            assert_eq!(told.kind.as_deref(), Some("Crash"));
            assert!(told.elapsed_ms < 10_000, "{told:?}");
        }
    }
}

fn an_exit_midway_is_a_crash() {
    for (step, code) in [("decode", 0), ("encode", 0), ("finish", 0), ("encode", 3)] {
        let told = faulty(&format!("{step}=exit:{code}"));
        assert!(told.crashed && told.code == Some(code), "{step} {code}: {told:?}");
    }
}

fn memory_runs_out_in_time() {
    let told = faulty("encode=oom");
    assert!(told.crashed && told.signal == Some(6), "{told:?}");
    assert!(told.stderr.contains("memory allocation"), "{told:?}");
    assert!(told.elapsed_ms < 10_000, "{told:?}");
}

fn an_endless_loop_is_ended() {
    let stall = Duration::from_millis(700);
    let sandbox = SandboxLimits { stall, ..SandboxLimits::default() };
    for step in ["decode", "encode", "finish"] {
        let faults = format!("{step}=spin");
        let told = with_faults(&media::clip(), &faults, &Limits::default(), &sandbox);
        assert_eq!(told.killed.as_deref(), Some("it stalled"), "{step}: {told:?}");
        assert_eq!(told.kind.as_deref(), Some("Crash"));
        assert!((700..10_000).contains(&told.elapsed_ms), "{told:?}");
        assert!(told.cpu_ms.is_some_and(|ms| ms > 100), "{told:?}");
    }
}

fn a_time_limit_is_kept_from_outside() {
    let limits = Limits { wall_clock: Duration::from_millis(300), ..Limits::default() };
    let told = with_faults(&media::clip(), "encode=spin", &limits, &SandboxLimits::default());
    assert_eq!(told.killed.as_deref(), Some("it went on past the time limit"), "{told:?}");
    assert!((2_300..12_000).contains(&told.elapsed_ms), "{told:?}");
}

fn cpu_time_is_limited() {
    let sandbox = SandboxLimits { cpu: Duration::from_secs(1), ..SandboxLimits::default() };
    let told = with_faults(&media::clip(), "encode=spin", &Limits::default(), &sandbox);
    // SIGXCPU and SIGKILL are due in the same second.
    assert!(told.crashed && matches!(told.signal, Some(24 | 9)), "{told:?}");
    assert!(told.elapsed_ms < 10_000, "{told:?}");
}

fn a_panic_is_told() {
    let told = faulty("encode=panic");
    assert!(told.crashed && told.code == Some(101), "{told:?}");
    assert!(told.stderr.contains("fault at encode"), "{told:?}");
    // The codec lets no panic of a source through.
    let told = faulty("decode=panic");
    assert!(!told.crashed && told.kind.as_deref() == Some("Bug"), "{told:?}");
}

fn an_error_in_the_child_is_the_codecs() {
    let told = faulty("decode=error");
    assert_eq!(told.error.as_deref(), Some("the input cannot be read"));
    assert_eq!(told.kind.as_deref(), Some("Transient"), "{told:?}");
}

fn faults_may_depend_on_the_input() {
    let bytes = media::clip().metadata().expect("it is there").len();
    let told = faulty(&format!("decode=segv@bytes:{bytes}"));
    assert_eq!(told.signal, Some(11), "{told:?}");
    let told = faulty(&format!("decode=segv@bytes:{}", bytes + 1));
    assert!(told.error.is_none() && told.bytes > 10_000, "{told:?}");
}

/// Converts `input` and cancels meanwhile; how long it took from then.
fn cancelled(input: PathBuf, after: Duration) -> Duration {
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let attempt = thread::spawn(move || {
        let sink = SeekSink(io::Cursor::new(Vec::new()));
        let (options, limits) = (JobOptions::default(), Limits::default());
        let sandbox = SandboxLimits::default();
        let source = media::open(&input);
        isolate::transcode(source, sink, &options, &limits, &sandbox, 1, &token, |_| ())
    });
    thread::sleep(after);
    let asked = Instant::now();
    cancel.cancel();
    let outcome = attempt.join().expect("no panic");
    assert!(matches!(outcome, Err(IsolateError::Cancelled)), "{outcome:?}");
    asked.elapsed()
}

fn cancelling_ends_the_child() {
    for after in [0, 20, 300] {
        let took = cancelled(media::noise(), Duration::from_millis(after));
        assert!(took < Duration::from_secs(1), "{took:?} after {after} ms");
    }
}

fn a_child_dies_with_its_parent() {
    let mut parent = attempt::command(
        &media::clip(),
        "encode=spin",
        &Limits::default(),
        &SandboxLimits::default(),
    )
    .stdout(Stdio::null())
    .spawn()
    .expect("it starts");
    let children = format!("/proc/{0}/task/{0}/children", parent.id());
    let child = loop {
        let children = fs::read_to_string(&children).expect("it runs");
        if let Some(child) = children.split_whitespace().next() {
            break format!("/proc/{child}/stat");
        }
        thread::sleep(Duration::from_millis(5));
    };
    // Long enough to be spinning.
    thread::sleep(Duration::from_millis(500));
    assert!(fs::exists(&child).expect("/proc is there"));
    parent.kill().expect("it runs");
    parent.wait().expect("it ends");
    let started = Instant::now();
    // Whoever inherits it may take a while to reap it.
    while fs::read_to_string(&child).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(started.elapsed() < Duration::from_secs(1), "it lives on");
        thread::sleep(Duration::from_millis(5));
    }
}

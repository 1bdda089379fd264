//! Whatever ends a conversion in its middle, nothing is left behind: not a partial output, not a
//! temporary file, not a changed one.

mod support;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::fixtures;
use support::process::{Finished, Running, names_in, program, start};

/// How long after a signal the process may still run.
const GRACE: Duration = Duration::from_secs(2);
/// How long the conversion may take to get going.
const PATIENCE: Duration = Duration::from_mins(1);

/// Starts to convert an hour of audio to `output` and returns once some of the MP3 is written.
fn under_way(output: &Path, arguments: &[&str]) -> Running {
    let mut command = program();
    command.arg("convert").arg(fixtures::an_hour()).arg("-o").arg(output).args(arguments);
    let mut running = start(command.args(["--quality", "0", "--json"]));
    wait_until_written(&mut running, Path::new("/"));
    running
}

/// Waits until some of the hour is written and `first` exists, without guessing how long that takes.
fn wait_until_written(running: &mut Running, first: &Path) {
    let begun = Instant::now();
    while !(first.exists() && has_written(running.child.id())) {
        assert_eq!(running.child.try_wait().unwrap(), None, "it ended before it was interrupted");
        assert!(begun.elapsed() < PATIENCE, "nothing is written after {:?}", begun.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process has the hour of audio open, and beside it a file without a name that has
/// something in it: the output on its way. Its standard streams are such files too.
fn has_written(process: u32) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let is_standard = |path: &Path| ["0", "1", "2"].iter().any(|fd| path.ends_with(fd));
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let files: Vec<_> = files.filter(|path| !is_standard(path)).collect();
    let leads_to = |path: &Path| fs::read_link(path).unwrap_or_default();
    let reads = files.iter().any(|file| leads_to(file).ends_with("hour.flac"));
    let is_unnamed = |path: &Path| leads_to(path).to_string_lossy().ends_with(" (deleted)");
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    reads && files.iter().any(|file| is_unnamed(file) && length(file) > 0)
}

fn end_with(signal: Signal, running: Running) -> Finished {
    let asked = Instant::now();
    running.signal(signal);
    let finished = running.finish(PATIENCE);
    assert!(asked.elapsed() < GRACE, "it took {:?} to end", asked.elapsed());
    finished
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let folder = tempfile::tempdir().unwrap();
        let running = under_way(&folder.path().join("out.mp3"), &[]);
        let finished = end_with(signal, running).ended_with(130);
        assert_eq!(finished.json()["error"]["kind"], "cancelled");
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        assert!(finished.stderr.contains("cancelled"), "{}", finished.stderr);
        assert_eq!(names_in(folder.path()), [""; 0]);
    }
}

#[test]
fn a_kill_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let running = under_way(&folder.path().join("out.mp3"), &[]);
    assert_eq!(end_with(Signal::KILL, running).signal, Some(9));
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn what_was_to_be_replaced_is_still_there() {
    for signal in [Signal::INT, Signal::KILL] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.mp3");
        fs::write(&output, "theirs").unwrap();
        end_with(signal, under_way(&output, &["--force"]));
        assert_eq!(fs::read(&output).unwrap(), b"theirs");
        assert_eq!(names_in(folder.path()), ["out.mp3"]);
    }
}

#[test]
fn standard_output_stays_empty() {
    let mut command = program();
    command.arg("convert").arg(fixtures::an_hour()).args(["--quality", "0", "-o", "-"]);
    let mut running = start(&mut command);
    wait_until_written(&mut running, Path::new("/"));
    assert_eq!(end_with(Signal::INT, running).ended_with(130).stdout, b"");
}

/// Of several files those that are done stay; the others, begun or not, leave nothing.
#[test]
fn finished_files_of_a_run_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    command
        .args(["convert", "--threads", "1", "--quality", "0", "--json", "-d"])
        .arg(folder.path());
    command.arg(fixtures::path("s16.wav")).arg(fixtures::an_hour()).arg(fixtures::path("aac.m4a"));
    let mut running = start(&mut command);
    wait_until_written(&mut running, &folder.path().join("s16.mp3"));
    let finished = end_with(Signal::INT, running).ended_with(130);
    assert_eq!(names_in(folder.path()), ["s16.mp3"]);
    let lines = finished.json_lines();
    assert_eq!(lines.iter().filter(|line| line["error"]["kind"] == "cancelled").count(), 2);
}

//! Whatever ends a conversion in its middle, nothing is left behind: not a partial output, not a
//! temporary file, not a changed one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::fixtures;
use crate::support::process::{Finished, Running, names_in, program, start};
use rustix::process::Signal;

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

/// Waits until some of the hour is written and `first` exists, without guessing how long that
/// takes.
fn wait_until_written(running: &mut Running, first: &Path) {
    let begun = Instant::now();
    while !(first.exists() && has_written(running.child.id())) {
        assert_eq!(running.child.try_wait().unwrap(), None, "it ended before it was interrupted");
        assert!(begun.elapsed() < PATIENCE, "nothing is written after {:?}", begun.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process has the hour of audio open, and some of the output on its way.
fn has_written(process: u32) -> bool {
    let reads = descriptors(process).iter().any(|(_, name)| name.ends_with("hour.flac"));
    let length = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    reads && unnamed_files(process).iter().any(|file| length(file) > 0)
}

/// The files without a name that a process has open, its standard streams not counted.
fn unnamed_files(process: u32) -> Vec<PathBuf> {
    let is_standard = |path: &Path| ["0", "1", "2"].iter().any(|fd| path.ends_with(fd));
    let mut files = descriptors(process);
    files.retain(|(path, name)| name.ends_with(" (deleted)") && !is_standard(path));
    files.into_iter().map(|(path, _)| path).collect()
}

/// What a process has open: where to look at it, and its name.
fn descriptors(process: u32) -> Vec<(PathBuf, String)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let name = |path: &Path| fs::read_link(path).unwrap_or_default().to_string_lossy().into_owned();
    paths.map(|path| (path.clone(), name(&path))).collect()
}

/// Sends `signal`, which must end the process within [`GRACE`].
fn end_with(signal: Signal, running: Running) -> Finished {
    let asked = Instant::now();
    running.signal(signal);
    let finished = running.finish(4 * GRACE);
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

/// A terminal or a pipe may have nothing to say for a long time.
#[test]
fn an_interrupt_ends_the_wait_for_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["convert", "-", "-o"]).arg(folder.path().join("out.mp3"));
    let mut running = start(command.stdin(Stdio::piped()));
    let standard_input = running.child.stdin.take().unwrap();
    let begun = Instant::now();
    // It waits once the file to collect the input in is there, beside the output.
    while unnamed_files(running.child.id()).len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "it does not read standard input");
        thread::sleep(Duration::from_millis(2));
    }
    end_with(Signal::INT, running).ended_with(130);
    drop(standard_input);
    assert_eq!(names_in(folder.path()), [""; 0]);
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

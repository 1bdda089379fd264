//! Where outputs go: beside the input, to `-o`, into `-d`, to standard output; under their name
//! only when whole, and over an existing file only with `--force`.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::fixtures;
use crate::support::process::{PATIENCE, convert, converted, names_in, program, start};

/// The MP3 of `input` as it comes to a file.
fn as_file(input: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    converted(input, &output, &[]);
    fs::read(output).unwrap()
}

#[test]
fn standard_input_and_output_give_the_same_bytes() {
    for name in ["s16.flac", "aac.mp4", "opus.webm"] {
        let input = fixtures::path(name);
        let due = as_file(&input);
        let from_file = |command: &mut Command| {
            start(command.stdin(File::open(&input).unwrap())).finish(PATIENCE).succeeded().stdout
        };
        assert!(from_file(program().args(["convert", "-"])) == due, "{name}: - alone");
        assert!(from_file(program().args(["convert", "-", "-o", "-"])) == due, "{name}: -o -");
        let mut command = program();
        command.arg("convert").arg(&input).args(["-o", "-"]);
        assert!(start(&mut command).finish(PATIENCE).succeeded().stdout == due, "{name}: output");
    }
}

#[test]
fn pipes_work_as_files_do() {
    let input = fixtures::path("aac.mp4");
    let mut cat = Command::new("cat").arg(&input).stdout(Stdio::piped()).spawn().unwrap();
    let pipe = cat.stdout.take().unwrap();
    let output = program().args(["convert", "-"]).stdin(pipe).output().unwrap();
    cat.wait().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    assert!(output.stdout == as_file(&input));
}

#[test]
fn standard_input_goes_to_a_named_file() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (fixtures::path("s16.wav"), folder.path().join("named.mp3"));
    let mut command = program();
    command.args(["convert", "-", "--json", "-o"]).arg(&output);
    let finished = start(command.stdin(File::open(&input).unwrap())).finish(PATIENCE).succeeded();
    assert_eq!(finished.json()["output_path"], *output.to_str().unwrap());
    assert!(fs::read(&output).unwrap() == as_file(&input));
}

#[test]
fn bad_standard_input_leaves_standard_output_empty() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page");
    fs::write(&page, "<html>").unwrap();
    let mut command = program();
    command.args(["convert", "-"]).stdin(File::open(&page).unwrap());
    let finished = start(&mut command).finish(PATIENCE).ended_with(1);
    assert_eq!(finished.stdout, b"");
    assert!(finished.stderr.starts_with("tonemill: -: "), "{}", finished.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let mut command = program();
    command.arg("convert").arg(fixtures::path("s16.wav")).args(["-o", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(3) && !told.contains("panicked"), "{ended:?}");
}

#[test]
fn an_output_lies_beside_its_input_or_in_d() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("clip.final.wav");
    fs::copy(fixtures::path("s16.wav"), &input).unwrap();
    start(program().arg("convert").arg(&input)).finish(PATIENCE).succeeded();
    assert_eq!(names_in(folder.path()), ["clip.final.mp3", "clip.final.wav"]);
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    start(program().arg("convert").arg(&input).arg("-d").arg(&inner)).finish(PATIENCE).succeeded();
    assert_eq!(names_in(&inner), ["clip.final.mp3"]);
}

#[test]
fn an_existing_output_is_kept_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (fixtures::path("s16.wav"), folder.path().join("out.mp3"));
    fs::write(&output, "theirs").unwrap();
    let finished = convert(&input, &output, &[]).ended_with(2);
    assert!(finished.stderr.contains("exists and was kept: use --force"), "{}", finished.stderr);
    assert_eq!(fs::read(&output).unwrap(), b"theirs");
    converted(&input, &output, &["--force"]);
    assert!(fs::read(&output).unwrap() == as_file(&input));
    assert_eq!(names_in(folder.path()), ["out.mp3"]);
}

#[test]
fn a_failure_keeps_what_it_would_have_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (page, output) = (folder.path().join("page.mp4"), folder.path().join("out.mp3"));
    fs::write(&page, "<html>").unwrap();
    fs::write(&output, "theirs").unwrap();
    convert(&page, &output, &["--force"]).ended_with(1);
    assert_eq!(fs::read(&output).unwrap(), b"theirs");
    assert_eq!(names_in(folder.path()), ["out.mp3", "page.mp4"]);
}

#[test]
fn an_input_is_never_its_own_output() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("song.mp3");
    fs::copy(fixtures::path("lame.mp3"), &input).unwrap();
    let before = fs::read(&input).unwrap();
    let finished = start(program().arg("convert").arg(&input).arg("--force")).finish(PATIENCE);
    finished.ended_with(2);
    let link = folder.path().join("link.mp3");
    std::os::unix::fs::symlink(&input, &link).unwrap();
    convert(&input, &link, &["--force"]).ended_with(2);
    assert!(fs::read(&input).unwrap() == before);
}

#[test]
fn a_new_file_has_the_permissions_of_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let plain = folder.path().join("plain");
    fs::write(&plain, "").unwrap();
    let output = folder.path().join("out.mp3");
    converted(&fixtures::path("s16.wav"), &output, &[]);
    assert_eq!(mode(&output), mode(&plain));
    converted(&fixtures::path("s16.wav"), &output, &["--force"]);
    assert_eq!(mode(&output), mode(&plain));
}

/// Memory file systems and those of containers differ in what a file without a name can do.
#[test]
fn every_file_system_at_hand_works() {
    for place in ["/dev/shm", "/tmp", "/var/tmp", env!("CARGO_TARGET_TMPDIR")] {
        let Ok(folder) = tempfile::tempdir_in(place) else { continue };
        let output = folder.path().join("out.mp3");
        converted(&fixtures::path("s16.wav"), &output, &[]);
        converted(&fixtures::path("s16.wav"), &output, &["--force"]);
        assert_eq!(names_in(folder.path()), ["out.mp3"], "{place}");
    }
}

//! The exit code says whose turn it is: 0 nobody's, 1 the input's, 2 the caller's, 3 the machine's;
//! and each failure is one line that says what is wrong and what to do.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::fixtures;
use crate::support::process::{Finished, PATIENCE, convert, names_in, program, start, tonemill};
use crate::support::skip;
use crate::support::sound::decoded_samples;

fn one_line(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    assert!(finished.stderr.starts_with("tonemill: "), "{}", finished.stderr);
    for word in words {
        assert!(finished.stderr.contains(word), "no \"{word}\" in {}", finished.stderr);
    }
}

#[test]
fn a_conversion_ends_with_0_and_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    let input = fixtures::path("s16.wav");
    let finished =
        start(program().arg("convert").arg(input).arg("-o").arg(&output)).finish(PATIENCE);
    let finished = finished.succeeded();
    let told = String::from_utf8(finished.stdout).unwrap();
    assert!(told.contains("s16.wav -> ") && told.contains("CBR 192 kbit/s, 44100 Hz"), "{told}");
    assert_eq!((told.lines().count(), finished.stderr.as_str()), (1, ""));
}

#[test]
fn quiet_prints_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    let mut command = program();
    command.arg("convert").arg(fixtures::path("s16.wav")).arg("-q").arg("-o").arg(&output);
    let finished = start(&mut command).finish(PATIENCE).succeeded();
    assert_eq!((finished.stdout.as_slice(), finished.stderr.as_str()), (&b""[..], ""));
}

#[test]
fn bad_input_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.mp4");
    fs::write(&page, "<html>404</html>").unwrap();
    let output = folder.path().join("out.mp3");
    one_line(&convert(&page, &output, &[]).ended_with(1), &["page.mp4", "not an audio", "check"]);
    let missing = folder.path().join("missing.mp4");
    let finished = convert(&missing, &output, &[]).ended_with(1);
    one_line(&finished, &["missing.mp4", "cannot be opened", "check"]);
    assert_eq!(finished.json()["error"]["kind"], "bad_input");
    one_line(&convert(folder.path(), &output, &[]).ended_with(1), &["folder"]);
    assert_eq!(names_in(folder.path()), ["page.mp4"]);
}

#[test]
fn wrong_usage_ends_with_2() {
    let input = fixtures::path("s16.wav");
    let input = input.to_str().unwrap();
    for arguments in [
        &["convert"][..],
        &["convert", input, "--bitrate", "193"],
        &["convert", input, "--bitrate", "192", "--vbr", "2"],
        &["convert", input, "--abr", "100", "--vbr", "2"],
        &["convert", input, "--vbr", "10"],
        &["convert", input, "--abr", "7"],
        &["convert", input, "--quality", "ten"],
        &["convert", input, "--rate", "44000"],
        &["convert", input, "--channels", "3"],
        &["convert", input, "--start", "2", "--end", "1"],
        &["convert", input, "--start", "-1"],
        &["convert", input, "--track", "0", "--lang", "eng"],
        &["convert", input, "--threads", "0"],
        &["convert", input, "--decoder", "vlc"],
        &["convert", input, "-o", input],
        &["convert", input, input],
        &["convert", input, "-o", "a", "-d", "b"],
        &["convert", input, "-o", "-", "--json"],
        &["convert", "-", "-d", "x"],
        &["probe"],
        &["conver", input],
        &[],
    ] {
        let finished = tonemill(arguments).ended_with(2);
        assert!(!finished.stderr.is_empty() && finished.stdout.is_empty(), "{arguments:?}");
    }
    assert!(fs::metadata(input).unwrap().len() > 400_000);
}

#[test]
fn help_and_version_end_with_0() {
    for arguments in [&["--help"][..], &["--version"], &["convert", "--help"], &["help", "probe"]] {
        assert!(!tonemill(arguments).succeeded().stdout.is_empty(), "{arguments:?}");
    }
    let help = String::from_utf8(tonemill(["convert", "--help"]).stdout).unwrap();
    assert!(help.contains("Exit codes: 0 all converted; 1 some input was bad; 2"), "{help}");
}

#[test]
fn what_the_machine_refuses_ends_with_3() {
    let input = fixtures::path("s16.wav");
    let folder = tempfile::tempdir().unwrap();
    for output in [
        &folder.path().join("no/such/folder/out.mp3"),
        Path::new("/proc/out.mp3"),
        Path::new("/dev/full"),
    ] {
        let finished = convert(&input, output, &[]).ended_with(3);
        one_line(&finished, &["s16.wav", "cannot be written", "check the folder"]);
        assert_eq!(finished.json()["error"]["kind"], "io");
    }
    assert_eq!(names_in(folder.path()), [""; 0]);
}

/// Root may write anywhere, so this shows nothing to it.
#[test]
fn a_folder_without_permission_ends_with_3() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
    if File::create(folder.path().join("probe")).is_ok() {
        skip("permissions do not bind this user");
        return;
    }
    convert(&fixtures::path("s16.wav"), &folder.path().join("out.mp3"), &[]).ended_with(3);
}

#[test]
fn a_full_standard_output_ends_with_3() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = program();
    command.arg("convert").arg(fixtures::path("s16.wav")).args(["-o", "-"]).stdout(full);
    assert_eq!(command.output().unwrap().status.code(), Some(3));
}

#[test]
fn of_several_files_the_worst_counts_and_the_good_are_converted() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.mp4");
    fs::write(&bad, "no media").unwrap();
    let good = ["s16.wav", "aac.m4a", "lame.mp3", "mono.flac", "opus.opus"];
    let mut command = program();
    command.args(["convert", "--json", "--threads", "2", "-d"]).arg(folder.path());
    command.args(good[..2].iter().map(|name| fixtures::path(name))).arg(&bad);
    command.args(good[2..].iter().map(|name| fixtures::path(name)));
    let finished = start(&mut command).finish(PATIENCE).ended_with(1);
    one_line(&finished, &["bad.mp4"]);
    let lines = finished.json_lines();
    assert_eq!(lines.len(), 6);
    for name in good {
        let output = folder.path().join(name).with_extension("mp3");
        assert!(decoded_samples(&output) >= 44_101, "{name}");
        let told =
            lines.iter().find(|l| l["input_path"] == *fixtures::path(name).to_str().unwrap());
        assert_eq!(told.unwrap()["output_path"], *output.to_str().unwrap());
    }
    assert_eq!(names_in(folder.path()).len(), 6);
}

#[test]
fn a_folder_is_no_output_and_ends_with_2() {
    let (input, folder) = (fixtures::path("s16.wav"), tempfile::tempdir().unwrap());
    let finished = convert(&input, folder.path(), &[]).ended_with(2);
    one_line(&finished, &["s16.wav", "is a folder", "use -d"]);
}

#[test]
fn what_is_missing_is_named_before_what_would_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    fs::write(&output, "kept").unwrap();
    let missing = folder.path().join("missing.mp4");
    one_line(&convert(&missing, &output, &[]).ended_with(1), &["missing.mp4", "check its name"]);
    let address = "https://example.org/v.webm";
    let finished = tonemill(["convert", address]).ended_with(1);
    one_line(&finished, &[address, "download it first"]);
}

#[test]
fn a_folder_for_the_outputs_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new/folder");
    let mut command = program();
    command.args(["convert", "-d"]).arg(&new).arg(fixtures::path("s16.wav"));
    start(&mut command).finish(PATIENCE).ended_with(0);
    assert_eq!(names_in(&new), ["s16.mp3"]);
}

#[test]
fn two_spellings_of_one_output_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.wav", "a.m4a"] {
        fs::copy(fixtures::path("s16.wav"), folder.path().join(name)).unwrap();
    }
    let mut command = program();
    command.current_dir(folder.path()).args(["convert", "--force", "a.wav", "./a.m4a"]);
    let finished = start(&mut command).finish(PATIENCE).ended_with(2);
    assert!(finished.stderr.contains("same output"), "{}", finished.stderr);
}

#[test]
fn outputs_of_one_name_are_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let copies = ["a.wav", "a.m4a"].map(|name| folder.path().join(name));
    for copy in &copies {
        fs::copy(fixtures::path("s16.wav"), copy).unwrap();
    }
    let finished = start(program().arg("convert").args(&copies)).finish(PATIENCE).ended_with(2);
    assert!(finished.stderr.contains("same output"), "{}", finished.stderr);
    assert_eq!(names_in(folder.path()), ["a.m4a", "a.wav"]);
}

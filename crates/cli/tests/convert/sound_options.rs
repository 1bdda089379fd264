//! The options that shape the sound: bitrates, channels, rates, start and end.

use std::path::Path;

use crate::support::fixtures;
use crate::support::process::{PATIENCE, convert, converted, names_in, program, start};
use crate::support::sound::{decoded, decoded_samples, ffprobe, lag, likeness, power};
use serde_json::Value;

fn out_of(name: &str, arguments: &[&str]) -> (tempfile::TempDir, std::path::PathBuf, Value) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    let report = converted(&fixtures::path(name), &output, arguments);
    (folder, output, report)
}

/// Kilobits per second of the whole file.
fn kbps(report: &Value) -> f64 {
    let out = &report["output"];
    let hz = out["sample_rate_hz"].as_f64().unwrap();
    let frame = if hz >= 32_000.0 { 1152.0 } else { 576.0 };
    out["bytes"].as_f64().unwrap() * 0.008 * hz / (out["frames"].as_f64().unwrap() * frame)
}

#[test]
fn a_constant_bitrate_is_kept() {
    for (asked, hz) in [(320, 44_100), (128, 44_100), (32, 44_100), (16, 22_050), (8, 22_050)] {
        let (_folder, _, report) = out_of("s16.flac", &["--bitrate", &asked.to_string()]);
        assert_eq!(report["output"]["mode"]["cbr"], asked);
        assert_eq!(report["output"]["sample_rate_hz"], hz);
        // The tag frame comes on top, which counts at low rates.
        let over = kbps(&report) / f64::from(asked);
        assert!((1.0..1.1).contains(&over), "{over} of {asked}");
    }
}

#[test]
fn the_default_is_192_and_quality_3() {
    let (_folder, output, report) = out_of("s16.flac", &[]);
    assert_eq!(report["output"]["mode"]["cbr"], 192);
    assert_eq!(report["output"]["quality"], 3);
    assert_eq!(ffprobe(&output)["streams"][0]["bit_rate"], "192000");
}

#[test]
fn variable_bitrates_follow_their_level_and_mean() {
    let sizes = ["0", "2", "5", "9"].map(|level| {
        let (_folder, _, report) = out_of("s16.flac", &["--vbr", level]);
        assert_eq!(report["output"]["mode"]["vbr"].to_string(), level);
        report["output"]["bytes"].as_u64().unwrap()
    });
    assert!(sizes.is_sorted_by(|a, b| a > b), "{sizes:?}");
    let sizes = ["256", "128", "64"].map(|mean| {
        let (_folder, _, report) = out_of("s16.flac", &["--abr", mean]);
        assert_eq!(report["output"]["mode"]["abr"].to_string(), mean);
        report["output"]["bytes"].as_u64().unwrap()
    });
    assert!(sizes.is_sorted_by(|a, b| a > b), "{sizes:?}");
}

#[test]
fn bitrates_that_a_rate_does_not_have_are_lowered_with_a_warning() {
    for (name, asked, fitted) in [
        ("u8.wav", "192", 64),
        ("16k.wav", "192", 160),
        ("24k.wav", "320", 160),
        ("12k.flac", "80", 64),
    ] {
        let (_folder, _, report) = out_of(name, &["--bitrate", asked]);
        assert_eq!(report["output"]["mode"]["cbr"], fitted, "{name}");
        let warning = report["warnings"][0].as_str().expect("a warning");
        assert!(warning.contains(asked) && warning.contains(&fitted.to_string()), "{warning}");
    }
    let (_folder, _, report) = out_of("mono.flac", &["--bitrate", "160"]);
    assert_eq!(report["warnings"], Value::Array(vec![]));
}

#[test]
fn a_warning_is_a_line_on_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    command.arg("convert").arg(fixtures::path("u8.wav")).arg("-d").arg(folder.path());
    let finished = start(&mut command).finish(PATIENCE).succeeded();
    assert!(
        finished.stderr.contains("warning: 192 kbit/s do not exist at 8000 Hz"),
        "{}",
        finished.stderr
    );
    assert_eq!(finished.stderr.lines().count(), 1);
}

#[test]
fn channels_are_automatic_mono_or_stereo() {
    for (name, option, due) in [
        ("s16.flac", "auto", 2),
        ("mono.flac", "auto", 1),
        ("surround.flac", "auto", 2),
        ("s16.flac", "mono", 1),
        ("surround.flac", "mono", 1),
        ("mono.flac", "stereo", 2),
    ] {
        let (_folder, output, report) = out_of(name, &["--channels", option]);
        assert_eq!(report["output"]["channels"], due, "{name} {option}");
        assert_eq!(ffprobe(&output)["streams"][0]["channels"], due, "{name} {option}");
    }
}

#[test]
fn mono_becomes_stereo_at_the_same_level_on_both_sides() {
    let (_folder, output, _) = out_of("mono.flac", &["--channels", "stereo"]);
    let both = decoded(&output, &[]);
    let left: Vec<f32> = both.iter().step_by(2).copied().collect();
    let right: Vec<f32> = both.iter().skip(1).step_by(2).copied().collect();
    assert!(likeness(&left, &right) > 0.9999);
    let level = power(&left) / power(&decoded(&fixtures::path("mono.flac"), &[]));
    // LAME itself turns the amplitude down by up to 5 %.
    assert!((0.9..1.01).contains(&level), "{level}");
}

#[test]
fn a_mixdown_is_as_loud_as_ffmpegs() {
    for name in ["s16.flac", "surround.flac", "aac_surround.m4a"] {
        let channels = if name == "s16.flac" { "mono" } else { "stereo" };
        let (_folder, output, _) = out_of(name, &["--channels", channels, "--bitrate", "320"]);
        // The matrix that FFmpeg takes for integers, which cannot go over full scale.
        let mix = format!("aresample=rematrix_maxval=1,aformat=channel_layouts={channels}");
        let due = decoded(&fixtures::path(name), &["-af", &mix]);
        let found = decoded(&output, &[]);
        assert!(likeness(&due, &found) > 0.99, "{name}: {}", likeness(&due, &found));
        let level = power(&found) / power(&due);
        assert!((0.9..1.03).contains(&level), "{name}: {level}");
    }
}

#[test]
fn a_rate_can_be_chosen() {
    for rate in ["8000", "22050", "32000", "48000"] {
        let (_folder, output, report) = out_of("s16.flac", &["--rate", rate, "--vbr", "4"]);
        assert_eq!(report["output"]["sample_rate_hz"].to_string(), rate);
        assert_eq!(ffprobe(&output)["streams"][0]["sample_rate"], rate);
        let mono = ["-ac", "1", "-ar", rate];
        let alike =
            likeness(&decoded(&fixtures::path("s16.flac"), &mono), &decoded(&output, &mono));
        assert!(alike > 0.98, "{rate}: {alike}");
    }
}

/// Cuts `name` and compares with the same samples of its source.
fn check_cut(name: &str, start: Option<&str>, end: Option<&str>, first: usize, samples: usize) {
    let mut arguments = vec!["--bitrate", "256"];
    arguments.extend(start.iter().flat_map(|start| ["--start", start]));
    arguments.extend(end.iter().flat_map(|end| ["--end", end]));
    let (_folder, output, report) = out_of(name, &arguments);
    assert_eq!(decoded_samples(&output), samples as u64, "{name} {arguments:?}");
    assert_eq!(report["output"]["samples"], samples, "{name} {arguments:?}");
    assert_eq!(report["truncated"], false, "{name} {arguments:?}");
    let source = decoded(&fixtures::named(name).sound.wav(), &["-ac", "1"]);
    let found = decoded(&output, &["-ac", "1"]);
    let due = &source[first..first + samples];
    assert!(likeness(due, &found) > 0.98, "{name} {arguments:?}: {}", likeness(due, &found));
    let length = samples.min(12_000);
    assert_eq!(lag(&due[..length], &found[..length], 40), 0, "{name} {arguments:?}");
}

#[test]
fn start_and_end_are_kept_to_the_sample() {
    check_cut("s16.flac", Some("0.5"), None, 22_050, 100_003 - 22_050);
    check_cut("s16.flac", None, Some("1.25"), 0, 55_125);
    check_cut("s16.flac", Some("0:00.5"), Some("00:00:01.75"), 22_050, 55_125);
    check_cut("s24.wav", Some("1.00001"), Some("2"), 48_000, 48_000);
    check_cut("s24.wav", Some("1"), Some("99"), 48_000, 123_457 - 48_000);
    check_cut("aac.mp4", Some("0.7"), Some("1.9"), 33_600, 57_600);
    check_cut("lame.mp3", Some("0.3"), Some("1.3"), 13_230, 44_100);
    check_cut("opus.webm", Some("0.25"), Some("2"), 12_000, 84_000);
    check_cut("vorbis.ogg", Some("0.25"), Some("2"), 11_025, 77_175);
}

#[test]
fn a_range_behind_the_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    let finished = convert(&fixtures::path("s16.wav"), &output, &["--start", "60"]).ended_with(1);
    assert!(finished.stderr.contains("nothing lies between start and end"), "{}", finished.stderr);
    assert!(finished.stderr.contains("2.27 s long"), "{}", finished.stderr);
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn limits_can_be_lowered() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    let refuse = |input: &Path, arguments: &[&str]| {
        let finished = convert(input, &output, arguments).ended_with(1);
        assert_eq!(finished.json()["error"]["kind"], "limit_exceeded");
        assert_eq!(names_in(folder.path()), [""; 0]);
    };
    refuse(&fixtures::path("s16.wav"), &["--max-duration", "2"]);
    refuse(&fixtures::an_hour(), &["--max-duration", "59:59"]);
    refuse(&fixtures::an_hour(), &["--timeout", "0.05"]);
    converted(&fixtures::path("s16.wav"), &output, &["--max-duration", "3"]);
}

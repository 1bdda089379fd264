//! `--json` prints a line per file that holds the whole report, and its numbers are those of the
//! file.

use std::fs;

use crate::support::fixtures::{self, Sound};
use crate::support::process::{convert, converted, names_in};
use crate::support::sound::decoded_samples;
use crate::support::verdict::Verdict;
use serde_json::Value;

/// Every number of a report, by its path.
const NUMBERS: [&str; 18] = [
    "source/bytes",
    "source/bytes_read",
    "source/sample_rate_hz",
    "source/channels",
    "source/samples_decoded",
    "source/decoded_seconds",
    "source/declared_seconds",
    "source/damaged_packets",
    "output/sample_rate_hz",
    "output/channels",
    "output/samples",
    "output/duration_seconds",
    "output/frames",
    "output/bytes",
    "timing/wall_seconds",
    "timing/decode_cpu_seconds",
    "timing/encode_cpu_seconds",
    "timing/write_cpu_seconds",
];

#[test]
fn every_field_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    let report = converted(&fixtures::path("aac.mp4"), &output, &[]);
    let mut verdict = Verdict::default();
    for path in NUMBERS {
        let value = report.pointer(&format!("/{path}"));
        verdict.expect(value.is_some_and(Value::is_number), path, || format!("it is {value:?}"));
    }
    verdict.pronounce();
    assert_eq!(report["input_path"], *fixtures::path("aac.mp4").to_str().unwrap());
    assert_eq!(report["output_path"], *output.to_str().unwrap());
    assert_eq!(report["warnings"], Value::Array(vec![]));
    assert_eq!(report["truncated"], false);
    assert_eq!(report["error"], Value::Null);
}

#[test]
fn its_numbers_are_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    let input = fixtures::path("s24_96k.flac");
    let report = converted(&input, &output, &["--start", "0.5"]);
    assert_eq!(report["source"]["bytes"], fs::metadata(&input).unwrap().len());
    assert_eq!(report["source"]["samples_decoded"], 200_005);
    assert_eq!(report["source"]["sample_rate_hz"], 96_000);
    assert_eq!(report["output"]["bytes"], fs::metadata(&output).unwrap().len());
    assert_eq!(report["output"]["samples"], decoded_samples(&output));
    let seconds = report["output"]["duration_seconds"].as_f64().unwrap();
    assert!((seconds - (200_005.0 / 96_000.0 - 0.5)).abs() < 1e-4, "{seconds}");
    let wall = report["timing"]["wall_seconds"].as_f64().unwrap();
    assert!(wall > 0.0 && wall < 60.0, "{wall}");
}

/// Video is most of a file, and none of the work.
#[test]
fn video_is_not_read_where_the_container_allows_it() {
    let picture = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=640x360:rate=25:duration=10,noise=alls=60",
        "-map",
        "0:a",
        "-map",
        "1:v",
        "-c:v",
        "mpeg4",
        "-q:v",
        "1",
        "-c:a",
        "aac",
    ];
    let sound = Sound { rate_hz: 44_100, layout: "stereo", samples: 441_000 };
    let input = sound.encoded("video.mp4", &picture);
    let folder = tempfile::tempdir().unwrap();
    let report = converted(&input, &folder.path().join("out.mp3"), &["--quality", "9"]);
    let [bytes, read] = ["bytes", "bytes_read"].map(|f| report["source"][f].as_f64().unwrap());
    assert!(bytes > 10e6 && read < bytes, "{read} of {bytes} bytes were read");
}

#[test]
fn damage_is_told_and_strict_refuses_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut verdict = Verdict::default();
    let sound = Sound { rate_hz: 48_000, layout: "stereo", samples: 480_000 };
    for name in [
        "ten.wav",
        "ten.flac",
        "front.m4a",
        "ten.mkv",
        "ten.ogg",
        "ten.opus",
        "ten.webm",
        "ten.mp3",
        "ten.flv",
        "fragments.mp4",
    ] {
        let fragments = "+frag_keyframe+empty_moov";
        let options: &[&str] = match name {
            "front.m4a" => &["-movflags", "+faststart"],
            "fragments.mp4" => &["-movflags", fragments, "-frag_duration", "100000"],
            "ten.flv" => &["-ar", "44100", "-c:a", "aac"],
            _ => &["-b:a", "256k"],
        };
        let whole = fs::read(sound.encoded(name, options)).unwrap();
        let input = folder.path().join(name);
        fs::write(&input, &whole[..whole.len() * 6 / 10]).unwrap();
        let output = folder.path().join("out.mp3");
        let finished = convert(&input, &output, &["--force"]);
        verdict.expect(finished.code == Some(0), name, || finished.stderr.clone());
        if finished.code == Some(0) {
            let report = finished.json();
            verdict.equal(name, "truncated", report["truncated"].as_bool(), Some(true));
            verdict.expect(report["warnings"][0].is_string(), name, || "no warning".to_owned());
            let samples = report["output"]["samples"].as_u64();
            verdict.equal(name, "samples", samples, Some(decoded_samples(&output)));
            let about = samples.is_some_and(|samples| (200_000..340_000).contains(&samples));
            verdict.expect(about, name, || format!("{samples:?} samples"));
        }
        let strict = folder.path().join("strict.mp3");
        let finished = convert(&input, &strict, &["--strict"]);
        verdict.equal(name, "strict", finished.code, Some(1));
        let says = finished.stderr.contains("truncated or damaged");
        verdict.expect(says, name, || finished.stderr.clone());
        verdict.expect(!strict.exists(), name, || "strict left an output".to_owned());
    }
    assert!(names_in(folder.path()).contains(&"out.mp3".to_owned()));
    verdict.pronounce();
}

#[test]
fn what_is_whole_is_called_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut verdict = Verdict::default();
    let sound = Sound { rate_hz: 48_000, layout: "stereo", samples: 480_000 };
    for (name, options) in [
        // Sound that starts three seconds after the container does.
        ("late.mkv", &["-c:a", "aac", "-output_ts_offset", "3"][..]),
        ("late.webm", &["-c:a", "libopus", "-output_ts_offset", "3"]),
        ("late.flv", &["-ar", "44100", "-c:a", "aac", "-output_ts_offset", "3"]),
        // No length is stated: FFmpeg guesses one from the first frames.
        ("whole.aac", &["-c:a", "aac"]),
        ("whole.mp3", &["-q:a", "4", "-write_xing", "0"]),
        ("whole.ts", &["-c:a", "aac"]),
    ] {
        let finished =
            convert(&sound.encoded(name, options), &folder.path().join("out.mp3"), &["--force"]);
        verdict.expect(finished.code == Some(0), name, || finished.stderr.clone());
        let report = finished.json();
        verdict.equal(name, "truncated", report["truncated"].as_bool(), Some(false));
    }
    verdict.pronounce();
}

#[test]
fn an_offset_far_behind_the_end_costs_a_chunk() {
    let sound = Sound { rate_hz: 48_000, layout: "mono", samples: 480_000 };
    let video = ["-f", "lavfi", "-i", "testsrc=s=64x64:r=10", "-shortest", "-c:v", "mpeg4"];
    let options = [&video[..], &["-map", "0:a", "-map", "1:v", "-c:a", "aac"]].concat();
    let mut file = fs::read(sound.encoded("chunks.mp4", &options)).unwrap();
    let at = file.windows(4).position(|w| w == b"stco").unwrap();
    let count = u32::from_be_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
    assert!(count > 50, "{count}");
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("far.mp4"), folder.path().join("out.mp3"));
    // One that FFmpeg is shown, where the chunks that follow it are lost as well, and one of the
    // rest.
    for (chunk, at_least_seconds) in [(3, 8.0), (count - 20, 9.5)] {
        let place = at + 12 + 4 * chunk..at + 16 + 4 * chunk;
        let offset = file[place.clone()].to_vec();
        file[place.clone()].fill(0xff);
        fs::write(&input, &file).unwrap();
        file[place].copy_from_slice(&offset);
        let report = convert(&input, &output, &["--force"]).succeeded().json();
        assert_eq!(report["truncated"], true, "{report}");
        let seconds = report["source"]["decoded_seconds"].as_f64().unwrap();
        assert!(seconds > at_least_seconds, "{report}");
    }
}

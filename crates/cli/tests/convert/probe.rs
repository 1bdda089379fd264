//! `tonemill probe` tells what is in a file, to people and to programs, and decodes nothing.

use std::fs::{self, File};

use crate::support::fixtures::{self, CHAPTERS, TAGS};
use crate::support::process::{Finished, PATIENCE, program, start};
use serde_json::Value;

fn probe(path: &std::path::Path, arguments: &[&str]) -> Finished {
    start(program().arg("probe").arg(path).args(arguments)).finish(PATIENCE)
}

#[test]
fn json_tells_everything() {
    for decoder in ["ffmpeg", "symphonia"] {
        let input = fixtures::tagged();
        let facts = probe(&input, &["--json", "--decoder", decoder]).succeeded().json();
        assert_eq!(facts["bytes"], fs::metadata(&input).unwrap().len());
        assert!((facts["duration_seconds"].as_f64().unwrap() - 3.0).abs() < 0.05, "{facts}");
        let track = &facts["tracks"][0];
        assert_eq!((&track["sample_rate_hz"], &track["channels"]), (&44_100.into(), &2.into()));
        assert_eq!((&track["codec"], &track["decodable"]), (&"aac".into(), &true.into()));
        assert_eq!(facts["tracks"].as_array().unwrap().len(), 1);
        assert_eq!(facts["cover"]["mime"], "image/jpeg", "{decoder}");
        assert_eq!(facts["cover"]["bytes"], fs::metadata(fixtures::cover()).unwrap().len());
        for (name, text) in TAGS {
            assert_eq!(facts["tags"][name], text, "{decoder}: {name}");
        }
    }
}

#[test]
fn chapters_are_told() {
    let facts = probe(&fixtures::tagged(), &["--json"]).succeeded().json();
    let chapters = facts["chapters"].as_array().unwrap();
    let titles: Vec<&str> = chapters.iter().filter_map(|c| c["title"].as_str()).collect();
    assert_eq!(titles, CHAPTERS);
    let starts: Vec<Option<f64>> = chapters.iter().map(|c| c["start_seconds"].as_f64()).collect();
    assert_eq!(starts, [Some(0.0), Some(1.0), Some(2.0)]);
}

#[test]
fn text_tells_it_to_people() {
    let finished = probe(&fixtures::two_languages(), &[]).succeeded();
    let text = String::from_utf8(finished.stdout).unwrap();
    for words in [
        "two_languages.mkv: matroska",
        "audio track 0: flac, 48000 Hz, stereo",
        "eng",
        "audio track 1: flac, 44100 Hz, mono",
        "deu, default",
        "0 video and 0 other streams",
    ] {
        assert!(text.contains(words), "no \"{words}\" in {text}");
    }
    let text = String::from_utf8(probe(&fixtures::tagged(), &[]).succeeded().stdout).unwrap();
    for words in ["title: Füße & 你好 \u{1f3b5}", "chapter 0:01: 第二", "cover: image/jpeg, "]
    {
        assert!(text.contains(words), "no \"{words}\" in {text}");
    }
}

#[test]
fn standard_input_can_be_probed() {
    let input = fixtures::path("aac.mp4");
    let mut command = program();
    command.args(["probe", "-", "--json"]).stdin(File::open(&input).unwrap());
    let facts = start(&mut command).finish(PATIENCE).succeeded().json();
    assert_eq!(facts, probe(&input, &["--json"]).json());
}

#[test]
fn a_file_without_sound_is_told_not_refused() {
    let video = fixtures::made("mute.mp4", &["-f", "lavfi", "-i", "testsrc=d=1", "-c:v", "mpeg4"]);
    let facts = probe(&video, &["--json"]).succeeded().json();
    assert_eq!((&facts["tracks"], &facts["video_streams"]), (&Value::Array(vec![]), &1.into()));
    let text = String::from_utf8(probe(&video, &[]).succeeded().stdout).unwrap();
    assert!(text.contains("no audio track"), "{text}");
}

#[test]
fn what_is_no_media_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.mp4");
    fs::write(&page, "<html>404</html>").unwrap();
    for path in [&page, &folder.path().join("missing"), folder.path()] {
        let finished = probe(path, &["--json"]).ended_with(1);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        assert_eq!(finished.json()["error"]["kind"], "bad_input");
    }
}

#[test]
fn a_truncated_file_is_told_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(fixtures::path("s16.wav")).unwrap();
    let cut = folder.path().join("cut.wav");
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let facts = probe(&cut, &["--json"]).succeeded().json();
    assert!(facts["warnings"][0].as_str().unwrap().contains("ends before"), "{facts}");
}

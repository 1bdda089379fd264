//! Symphonia and FFmpeg agree, on every file that both decode, on rate, channels, length and sound.

use std::path::Path;

use crate::support::fixtures;
use crate::support::media;
use crate::support::process::{convert, converted, names_in};
use crate::support::sound::{decoded, lag, likeness, power};
use crate::support::verdict::Verdict;
use serde_json::Value;

/// Fixtures that Symphonia must be able to decode.
const COMMON: [&str; 23] = [
    "s16.wav",
    "s24.wav",
    "f32.wav",
    "u8.wav",
    "s16.aiff",
    "s16.flac",
    "s24_96k.flac",
    "mono.flac",
    "88k2.flac",
    "surround.wav",
    "surround.flac",
    "alac.m4a",
    "flac.mkv",
    "aac.m4a",
    "aac_16k.m4a",
    "aac.mp4",
    "aac_moov_front.mp4",
    "aac.mov",
    "aac.aac",
    "lame.mp3",
    "lame_v4.mp3",
    "lame_mpeg2.mp3",
    "vorbis.ogg",
];

/// Rate, channels, samples, and whether it is truncated.
fn shape(report: &Value) -> [Value; 6] {
    let (source, output) = (&report["source"], &report["output"]);
    [
        source["sample_rate_hz"].clone(),
        source["channels"].clone(),
        output["sample_rate_hz"].clone(),
        output["channels"].clone(),
        output["samples"].clone(),
        report["truncated"].clone(),
    ]
}

/// Compares what both make of `input`, if Symphonia decodes it.
fn compare(name: &str, input: &Path, verdict: &mut Verdict) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours.mp3", "theirs.mp3"].map(|file| folder.path().join(file));
    let options = ["--quality", "7", "--decoder", "symphonia"];
    let (first, second) = (convert(input, &ours, &options[..2]), convert(input, &theirs, &options));
    if first.code != Some(0) || second.code != Some(0) {
        return false;
    }
    verdict.equal(name, "shape with symphonia", shape(&second.json()), shape(&first.json()));
    let [a, b] = [&ours, &theirs].map(|path| decoded(path, &["-ac", "1", "-t", "10"]));
    if power(&a) > 1e-8 {
        let reach = a.len().min(b.len()).min(12_000);
        let behind = lag(&a[..reach], &b[..reach], 30);
        verdict.equal(name, "samples that symphonia lags behind", behind, 0);
        let alike = likeness(&a, &b);
        verdict.expect(alike > 0.99, name, || format!("the likeness is {alike:.4}"));
    }
    true
}

#[test]
fn both_make_the_same_of_every_common_format() {
    let mut verdict = Verdict::default();
    for name in COMMON {
        let decoded = compare(name, &fixtures::path(name), &mut verdict);
        verdict.expect(decoded, name, || "symphonia cannot decode it".to_owned());
    }
    verdict.pronounce();
}

/// Real files that are not compared.
const APART: [&str; 4] = [
    // Long, and no other than the shorter ones.
    "mp3_real_music_213s_cover.mp3",
    // FFmpeg recognises libfaac and skips its priming, which no container declares.
    "m4a_chinese_title_13s.m4a",
    "mp4_h264_aac_moov_front.mp4",
    // An ID3 tag that is ten bytes short hides the Xing header from FFmpeg.
    "mp3_id3_cover_chapters.mp3",
];

#[test]
fn both_make_the_same_of_real_files() {
    let Some(real) = media::shared("real") else { return };
    let mut verdict = Verdict::default();
    let mut common = 0;
    for name in names_in(&real) {
        if name != "MANIFEST.tsv" && !APART.contains(&name.as_str()) {
            common += usize::from(compare(&name, &real.join(&name), &mut verdict));
        }
    }
    verdict.expect(common > 12, "all", || format!("only {common} were decoded by both"));
    verdict.pronounce();
}

#[test]
fn symphonia_refuses_plainly_what_it_cannot_decode() {
    let folder = tempfile::tempdir().unwrap();
    let mut verdict = Verdict::default();
    for name in ["opus.opus", "opus.webm", "ac3.mkv", "wma.wmv", "aac.flv", "mp2.ts", "mp2.mpg"] {
        let output = folder.path().join("out.mp3");
        let finished = convert(&fixtures::path(name), &output, &["--decoder", "symphonia"]);
        verdict.equal(name, "the exit code", finished.code, Some(1));
        verdict.equal(name, "lines of error", finished.stderr.lines().count(), 1);
        verdict.equal(name, "what is left", names_in(folder.path()), vec![]);
    }
    verdict.pronounce();
}

#[test]
fn the_report_names_container_and_codec() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    for decoder in ["ffmpeg", "symphonia"] {
        let options = ["--force", "--decoder", decoder];
        let report = converted(&fixtures::path("aac.m4a"), &output, &options);
        assert!(report["source"]["container"].as_str().unwrap().contains("mp4"), "{report}");
        assert_eq!(report["source"]["track"]["codec"], "aac");
    }
}

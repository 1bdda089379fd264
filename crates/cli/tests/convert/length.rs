//! The MP3 is exactly as long as the audio it was made from, and starts where that starts.
//!
//! Lengths are those that FFmpeg decodes when it honours the LAME tag; what is due is the number of
//! samples that the fixture was made of.

use crate::support::fixtures::{self, Fixture, Length, Sound};
use crate::support::process::converted;
use crate::support::sound::{decoded, decoded_samples, lag, likeness};
use crate::support::verdict::Verdict;

/// The rate that `--rate auto` gives.
fn auto_rate(source_hz: u32) -> u32 {
    match source_hz {
        37_800 => 44_100,
        48_001.. => 48_000,
        kept => kept,
    }
}

fn resampled(samples: u64, from_hz: u32, to_hz: u32) -> u64 {
    let (from, to) = (u64::from(from_hz), u64::from(to_hz));
    (samples * to + from / 2) / from
}

/// Converts, checks the length and gives the rate in Hz.
fn check(fixture: &Fixture, arguments: &[&str], verdict: &mut Verdict) -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    let report = converted(&fixture.path(), &output, arguments);
    let name = &format!("{} {}", fixture.name, arguments.join(" "));
    let Sound { rate_hz, samples, .. } = fixture.sound;
    let to_hz = report["output"]["sample_rate_hz"].as_u64().unwrap() as u32;
    let due = resampled(samples, rate_hz, to_hz);
    let found = decoded_samples(&output);
    match fixture.length {
        Length::Exact => verdict.equal(name, "the decoded length", found, due),
        Length::Frame(frame) => {
            let frame = resampled(frame, rate_hz, to_hz);
            verdict.expect(found.abs_diff(due) <= frame, name, || {
                format!("the decoded length is {found}, more than a frame from {due}")
            });
        }
    }
    verdict.equal(
        name,
        "the length in the report",
        report["output"]["samples"].as_u64(),
        Some(found),
    );
    verdict.equal(name, "truncated", report["truncated"].as_bool(), Some(false));
    to_hz
}

#[test]
fn every_format_keeps_its_length_and_where_mp3_has_it_its_rate() {
    let mut verdict = Verdict::default();
    for fixture in fixtures::ALL {
        let hz = check(fixture, &[], &mut verdict);
        verdict.equal(fixture.name, "the rate", hz, auto_rate(fixture.sound.rate_hz));
    }
    verdict.pronounce();
}

#[test]
fn every_rate_of_mp3_can_be_made_of_every_other() {
    let mut verdict = Verdict::default();
    for hz in ["8000", "11025", "12000", "16000", "22050", "24000", "32000", "44100", "48000"] {
        for name in ["s16.wav", "16k.wav", "s24_96k.flac"] {
            check(
                &fixtures::named(name),
                &["--rate", hz, "--vbr", "5", "--quality", "7"],
                &mut verdict,
            );
        }
    }
    verdict.pronounce();
}

#[test]
fn every_mode_keeps_the_length() {
    let mut verdict = Verdict::default();
    for mode in [["--bitrate", "320"], ["--bitrate", "32"], ["--abr", "96"], ["--vbr", "0"]] {
        for channels in ["mono", "stereo"] {
            let arguments = [mode[0], mode[1], "--channels", channels, "--quality", "7"];
            check(&fixtures::named("s16.flac"), &arguments, &mut verdict);
            check(&fixtures::named("mono.flac"), &arguments, &mut verdict);
        }
    }
    verdict.pronounce();
}

/// Around the lengths of a frame, of LAME's delay and of a segment's first samples.
#[test]
fn the_shortest_sounds_keep_their_length() {
    let mut verdict = Verdict::default();
    for rate_hz in [44_100, 16_000] {
        // Of fewer than 47 samples in short frames, start and end are to be skipped in one packet;
        // FFmpeg then forgets the start, whoever made the file.
        let fewest = if rate_hz < 32_000 { 47 } else { 1 };
        for samples in [fewest, 48, 575, 576, 577, 1104, 1105, 1151, 1152, 1153, 1728, 2304] {
            let sound = Sound { rate_hz, layout: "mono", samples };
            let folder = tempfile::tempdir().unwrap();
            let output = folder.path().join("out.mp3");
            converted(&sound.encoded("short.wav", &["-c:a", "pcm_s16le"]), &output, &[]);
            let name = format!("{samples} samples at {rate_hz} Hz");
            verdict.equal(&name, "the decoded length", decoded_samples(&output), samples);
        }
    }
    verdict.pronounce();
}

/// What comes out is what went in, at the place where it was, and not merely as much of it.
#[test]
fn the_sound_is_the_same_and_in_its_place() {
    let mut verdict = Verdict::default();
    for name in [
        "s16.wav",
        "s24_96k.flac",
        "alac.m4a",
        "aac.m4a",
        "aac.mp4",
        "lame.mp3",
        "opus.webm",
        "vorbis.ogg",
    ] {
        let fixture = fixtures::named(name);
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.mp3");
        converted(&fixture.path(), &output, &["--bitrate", "256"]);
        let rate = auto_rate(fixture.sound.rate_hz).to_string();
        let mono = ["-ac", "1", "-ar", &rate];
        let (source, mp3) = (decoded(&fixture.sound.wav(), &mono), decoded(&output, &mono));
        verdict.equal(name, "the lag", lag(&source[..12_000], &mp3[..12_000], 50), 0);
        let alike = likeness(&source, &mp3);
        verdict.expect(alike > 0.995, name, || format!("the likeness to the source is {alike:.4}"));
    }
    verdict.pronounce();
}

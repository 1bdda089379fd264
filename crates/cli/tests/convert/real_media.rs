//! Files that nobody on this project made: each is converted or refused as it deserves.
//!
//! Nothing counts as converted that is not also of the right length and like what FFmpeg hears.

use std::path::Path;

use crate::support::media;
use crate::support::process::{convert, converted, names_in};
use crate::support::sound::{
    chapters, decoded, decoded_samples, ffprobe, has_cover, likeness, power, tag,
};
use crate::support::verdict::Verdict;
use serde_json::Value;

/// What is to happen to a file.
#[derive(Clone, Copy)]
enum Expect {
    /// It becomes an MP3 of this length.
    Converts(Samples),
    /// As far as it goes, marked as truncated.
    Truncated(Samples),
    /// It is bad input, and the message says this.
    Refused(&'static str),
}

/// A length, before resampling.
#[derive(Clone, Copy)]
enum Samples {
    /// All that FFmpeg decodes.
    AllDecoded,
    /// What the container says to the sample, where FFmpeg decodes the last frame whole.
    Known(u64),
}

use Expect::{Converts, Refused, Truncated};
use Samples::{AllDecoded, Known};

const FILES: [(&str, Expect); 40] = [
    ("3gp_amr_wb.3gp", Converts(AllDecoded)),
    ("aiff_s16_mono_2s.aif", Converts(Known(88_200))),
    ("avi_mpeg4_mp3.avi", Converts(AllDecoded)),
    ("flac_192kHz_24bit.flac", Converts(Known(1_336_184))),
    ("flac_id3v2_prefix_chinese_tags.flac", Converts(Known(131_568))),
    ("flv_h264_aac.flv", Converts(AllDecoded)),
    ("heaac_mp4_named_mp3.mp3", Converts(AllDecoded)),
    ("m4a_aac_chapters_cover.m4a", Converts(AllDecoded)),
    // 562 packets of 1,024 samples and one of 279; the first is libfaac's delay, which it declares.
    ("m4a_chinese_title_13s.m4a", Converts(Known(562 * 1024 + 279 - 1024))),
    ("m4a_truncated_100kB_of_7MB.m4a", Truncated(AllDecoded)),
    ("m4b_moov_only_mdat_missing.m4b", Refused("ends before its audio begins")),
    ("mka_opus_5.1.mka", Converts(AllDecoded)),
    ("mkv_dts_hd_ma_8ch.mkv", Converts(AllDecoded)),
    ("mkv_h264_ac3_srt.mkv", Converts(AllDecoded)),
    ("mp3_100kB_garbage_prefix.mp3", Refused("not an audio or video file")),
    ("mp3_1s_with_1.5MB_cover.mp3", Converts(AllDecoded)),
    ("mp3_id3_cover_chapters.mp3", Converts(AllDecoded)),
    ("mp3_real_music_213s_cover.mp3", Converts(AllDecoded)),
    ("mp4_ac4_no_decoder.mp4", Refused("ac-4")),
    ("mp4_alac_20bit.mp4", Converts(AllDecoded)),
    ("mp4_cenc_encrypted.mp4", Refused("encrypted")),
    // 94,624 samples in packets, of which the edit list skips 26,342.
    ("mp4_edit_list_audio_only_trim.mp4", Converts(Known(94_624 - 26_342))),
    // Its edit list says 10.005 s, in milliseconds: within one of the media's end.
    ("mp4_edit_list_positive_shift.mp4", Converts(Known(480_256))),
    ("mp4_fragmented_bogus_duration.mp4", Converts(AllDecoded)),
    // The sum of the durations of its packets, the first of which is odd.
    ("mp4_h264_aac_moov_end_5s.mp4", Converts(Known(240_905))),
    // 44 packets of 1,024 samples and one of 68; the first is libfaac's delay, which it declares.
    ("mp4_h264_aac_moov_front.mp4", Converts(Known(44_100))),
    ("mp4_no_audio_track.mp4", Refused("no audio track")),
    ("mp4_two_audio_two_video_subs.mp4", Converts(AllDecoded)),
    ("mpegps_mpeg2_mp2.mpg", Converts(AllDecoded)),
    ("ogv_theora_vorbis_1s.ogv", Converts(AllDecoded)),
    ("opus_chapters_cover.opus", Converts(Known(480_000))),
    ("ts_mpeg2_mp2.ts", Converts(AllDecoded)),
    ("wav_f32_5.1_extensible.wav", Converts(Known(24_576))),
    ("wav_header_only_no_samples.wav", Refused("not one sample")),
    ("wav_s24_stereo_10s.wav", Converts(Known(441_000))),
    ("wav_u8_32kHz_stereo.wav", Converts(Known(320_303))),
    ("webm_no_duration_opus.webm", Converts(AllDecoded)),
    ("webm_vp8_vorbis_bbb_30s.webm", Converts(AllDecoded)),
    ("webm_zero_bytes.webm", Refused("empty")),
    ("wmv_wmv2_wma2_mono.wmv", Converts(AllDecoded)),
];

#[test]
fn every_file_behaves_as_expected() {
    let Some(real) = media::shared("real") else { return };
    let mut verdict = Verdict::default();
    for (name, expect) in FILES {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.mp3");
        let (input, finished) = (real.join(name), convert(&real.join(name), &output, &[]));
        let samples = match expect {
            Converts(samples) | Truncated(samples) => samples,
            Refused(words) => {
                verdict.equal(name, "the exit code", finished.code, Some(1));
                verdict.expect(finished.stderr.contains(words), name, || finished.stderr.clone());
                verdict.equal(name, "what is left", names_in(folder.path()), vec![]);
                continue;
            }
        };
        verdict.equal(name, "the exit code", finished.code, Some(0));
        if finished.code == Some(0) {
            let report = finished.json();
            let truncated = matches!(expect, Truncated(_));
            verdict.equal(name, "truncated", report["truncated"].as_bool(), Some(truncated));
            check_length(name, &input, &output, samples, &report, &mut verdict);
            check_sound(name, &input, &output, &mut verdict);
        }
    }
    verdict.pronounce();
}

#[test]
fn the_table_holds_every_file() {
    let Some(real) = media::shared("real") else { return };
    let found: Vec<String> =
        names_in(&real).into_iter().filter(|name| name != "MANIFEST.tsv").collect();
    assert_eq!(found, FILES.map(|(name, _)| name.to_owned()));
}

fn check_length(
    name: &str,
    input: &Path,
    output: &Path,
    samples: Samples,
    report: &Value,
    verdict: &mut Verdict,
) {
    let decoded = decoded_samples(input);
    let samples = match samples {
        AllDecoded => decoded,
        Known(samples) => samples,
    };
    // The table itself: at most a frame of AAC is cut from what FFmpeg decodes.
    let plausible = samples <= decoded && decoded - samples < 1024;
    verdict.expect(plausible, name, || format!("FFmpeg decodes {decoded}, not about {samples}"));
    let hz = |side: &str| report[side]["sample_rate_hz"].as_u64().unwrap_or(1);
    let due = (samples * hz("output") + hz("source") / 2) / hz("source");
    verdict.equal(name, "the decoded length", decoded_samples(output), due);
    let said = report["output"]["samples"].as_u64();
    verdict.equal(name, "the length in the report", said, Some(due));
}

/// Compares the first half minute with what FFmpeg hears in the source.
fn check_sound(name: &str, input: &Path, output: &Path, verdict: &mut Verdict) {
    let probe = ffprobe(output);
    let stream = |field: &str| probe["streams"][0][field].clone();
    let hz = stream("sample_rate").as_str().unwrap_or("44100").to_owned();
    let channels = stream("channels").to_string();
    let options = ["-map", "0:a:0", "-t", "30", "-ar", &hz, "-ac", &channels];
    let (source, mp3) = (decoded(input, &options), decoded(output, &options));
    // Below -80 dB there is dither, of which a codec keeps what it likes.
    if power(&source) < 1e-8 {
        verdict.expect(power(&mp3) < 1e-7, name, || "silence became sound".to_owned());
        return;
    }
    let alike = likeness(&source, &mp3);
    verdict.expect(alike > 0.97, name, || format!("the likeness to the source is {alike:.4}"));
}

#[test]
fn chinese_tags_survive() {
    let Some(real) = media::shared("real") else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in ["flac_id3v2_prefix_chinese_tags.flac", "m4a_chinese_title_13s.m4a"] {
        let output = folder.path().join(name).with_extension("mp3");
        converted(&real.join(name), &output, &[]);
        let (before, after) = (ffprobe(&real.join(name)), ffprobe(&output));
        let title = tag(&before, "title").expect("the source has a title");
        assert!(title.chars().any(|c| ('\u{4e00}'..'\u{a000}').contains(&c)), "{title}");
        for field in ["title", "artist", "album"] {
            let lower = |probe| tag(probe, field).map(str::to_owned);
            let upper = |probe| tag(probe, &field.to_uppercase()).map(str::to_owned);
            assert_eq!(lower(&after), lower(&before).or(upper(&before)), "{name}: {field}");
        }
    }
}

#[test]
fn chapters_and_covers_survive() {
    let Some(real) = media::shared("real") else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, count) in [
        ("m4a_aac_chapters_cover.m4a", 4),
        ("opus_chapters_cover.opus", 4),
        ("mp3_id3_cover_chapters.mp3", 2),
    ] {
        let output = folder.path().join(name).with_extension("out.mp3");
        converted(&real.join(name), &output, &[]);
        let probe = ffprobe(&output);
        let (due, found) = (chapters(&ffprobe(&real.join(name))), chapters(&probe));
        assert_eq!((due.len(), found.len()), (count, count), "{name}");
        for (due, found) in due.iter().zip(&found) {
            assert_eq!(due.2, found.2, "{name}");
            // The last one ends with the sound, which the container rounds.
            let off = (due.0 - found.0).abs().max((due.1 - found.1).abs());
            assert!(off < 0.12, "{name}: {due:?} became {found:?}");
        }
        assert!(has_cover(&probe), "{name}");
    }
    for name in ["mp3_1s_with_1.5MB_cover.mp3", "mp3_real_music_213s_cover.mp3"] {
        let output = folder.path().join(name);
        converted(&real.join(name), &output, &["--quality", "9", "--end", "1"]);
        assert!(has_cover(&ffprobe(&output)), "{name}");
    }
}

#[test]
fn a_lying_duration_is_not_believed() {
    let Some(real) = media::shared("real") else { return };
    let folder = tempfile::tempdir().unwrap();
    let input = real.join("mp4_fragmented_bogus_duration.mp4");
    let report = converted(&input, &folder.path().join("out.mp3"), &["--strict"]);
    assert_eq!(report["truncated"], false);
    assert_eq!(report["warnings"], Value::Array(vec![]));
}

#[test]
fn strict_refuses_what_is_truncated() {
    let Some(real) = media::shared("real") else { return };
    let folder = tempfile::tempdir().unwrap();
    let input = real.join("m4a_truncated_100kB_of_7MB.m4a");
    let finished = convert(&input, &folder.path().join("out.mp3"), &["--strict"]).ended_with(1);
    assert!(finished.stderr.contains("1.50 s could be decoded of 36"), "{}", finished.stderr);
    assert_eq!(names_in(folder.path()), [""; 0]);
}

//! Files made to hurt: each ends soon, in little memory, with a plain refusal or an honest result,
//! with either decoder.

use std::path::Path;
use std::time::Duration;

use crate::support::process::{Finished, names_in, program, start};
use crate::support::sound::decoded_samples;
use crate::support::verdict::Verdict;
use crate::support::{fixtures, media};

/// When a conversion must have ended.
const DEADLINE: Duration = Duration::from_secs(20);
/// What it may need at most.
const MEMORY_BYTES: u64 = 512 << 20;

/// What is to become of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// It is refused.
    Refused,
    /// Its audio is whole and becomes an MP3 of so many samples.
    Converts(u64),
    /// It is refused, or what is left is converted and marked as truncated.
    Damaged,
}

use Expect::{Converts, Damaged, Refused};

const FILES: [(&str, Expect); 51] = [
    ("own_bitflip_mp4_mdat.mp4", Damaged),
    ("own_bitflip_ts.ts", Damaged),
    ("own_dash_mpd_xxe.mp4", Refused),
    ("own_ffconcat_etc_passwd.mp4", Refused),
    ("own_ffconcat_loop_1000.mp3", Refused),
    ("own_flac_silence_24h.flac", Refused),
    ("own_gzip_named_mp4.mp4", Refused),
    ("own_hls_file_etc_passwd.mp4", Refused),
    ("own_hls_http_loopback.mp4", Refused),
    ("own_hls_neighbour_file.mp4", Refused),
    ("own_hls_self_recursive.m3u8", Refused),
    ("own_hls_subfile.mp4", Refused),
    ("own_html_error_page.mp4", Refused),
    ("own_mkv_attachment_path_traversal.mkv", Converts(45_056)),
    ("own_mp3_cover_png_20000x20000.mp3", Converts(10_415)),
    ("own_mp3_nasty_tags.mp3", Converts(10_415)),
    ("own_mp4_box_size_2e63.mp4", Refused),
    ("own_mp4_external_dref.mp4", Refused),
    ("own_mp4_stsz_268M_samples.mp4", Refused),
    ("own_one_byte.mp4", Refused),
    ("own_png_image_named_mp4.mp4", Refused),
    ("own_random_64k.mp4", Refused),
    ("own_rtsp_asx.mp4", Refused),
    ("own_srt_text.mp4", Refused),
    ("own_trunc_avi_50pct.avi", Damaged),
    ("own_trunc_mp4_moov_lost.mp4", Refused),
    ("own_trunc_wav_30pct.wav", Damaged),
    ("own_trunc_webm_50pct.webm", Damaged),
    ("own_vobsub_idx.mp4", Refused),
    ("own_wav_rate_0.wav", Refused),
    ("own_wav_rate_1.wav", Refused),
    ("real_audiofile_100_bits.wav", Refused),
    ("real_avi_gab2_hls_xbin_read_passwd.avi", Refused),
    ("real_bento4_hang.mp4", Refused),
    ("real_ffmpeg_fpe_65528_channels.wav", Refused),
    ("real_ffmpeg_hang_2.mp4", Refused),
    ("real_ffmpeg_slow_17.bin", Refused),
    ("real_gpac_crash_stsd.mp4", Refused),
    ("real_gpac_multiple_mdhd.mp4", Refused),
    ("real_hls_ssrf_named_avi.avi", Refused),
    ("real_libwebm_bad_lacing.mkv", Damaged),
    ("real_lofty_fuzz.mp3", Refused),
    ("real_lofty_fuzz_105ch.wav", Refused),
    ("real_lofty_fuzz_2.m4a", Refused),
    ("real_mozilla_0_timescale.mp4", Refused),
    ("real_mozilla_bad_utf8_tags.wav", Converts(10_648)),
    ("real_mozilla_bug495129.ogv", Converts(108_544)),
    // Two links of a chain, mono and stereo, of 44,100 and 44,608 samples by their last granule
    // positions; FFmpeg's decoder puts the overlap of two short blocks between them.
    ("real_mozilla_variable_channel.ogg", Converts(44_100 + 44_608 + 128)),
    ("real_mp4parse_1185230_bad_timescale.mp4", Refused),
    ("real_mp4v2_poc1.mp4", Refused),
    ("real_mutagen_ooming_header.flac", Refused),
];

fn check_all(decoder: &str, expect_right: impl Fn(&str, Expect, &Finished, &Path, &mut Verdict)) {
    let Some(hostile) = media::shared("hostile") else { return };
    let mut verdict = Verdict::default();
    for (name, expect) in FILES {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.mp3");
        let mut command = program();
        command.arg("convert").arg(hostile.join(name)).args(["--json", "--decoder", decoder, "-o"]);
        let finished = start(command.arg(&output)).finish(DEADLINE);
        check_end(name, &finished, &mut verdict);
        if finished.code == Some(0) {
            verdict.equal(name, "what is left", names_in(folder.path()), vec!["out.mp3".into()]);
        } else {
            verdict.equal(name, "what is left", names_in(folder.path()), vec![]);
        }
        expect_right(name, expect, &finished, &output, &mut verdict);
    }
    verdict.pronounce();
}

/// Whatever the file: it ends in time and memory, with a line that says why.
fn check_end(name: &str, finished: &Finished, verdict: &mut Verdict) {
    let bad = || format!("it ended with {:?}, signal {:?}", finished.code, finished.signal);
    verdict.expect(matches!(finished.code, Some(0 | 1)), name, bad);
    verdict.expect(finished.took < DEADLINE, name, || format!("it took {:?}", finished.took));
    let peak = finished.peak_bytes;
    verdict.expect(peak < MEMORY_BYTES, name, || format!("it used {peak} bytes of memory"));
    if finished.code == Some(1) {
        let lines = finished.stderr.lines().count();
        verdict.expect(lines == 1, name, || format!("{lines} lines: {}", finished.stderr));
    }
}

#[test]
fn ffmpeg_survives_every_file() {
    check_all("ffmpeg", |name, expect, finished, output, verdict| {
        let converted = finished.code == Some(0);
        let truncated = converted && finished.json()["truncated"] == true;
        match expect {
            Refused => verdict.equal(name, "converted", converted, false),
            Damaged => verdict.equal(name, "marked as truncated", truncated, converted),
            Converts(samples) => {
                verdict.equal(name, "converted", converted, true);
                verdict.equal(name, "marked as truncated", truncated, false);
                verdict.equal(name, "the decoded length", decoded_samples(output), samples);
            }
        }
    });
}

/// Symphonia knows fewer formats, so it may refuse anything.
#[test]
fn symphonia_survives_every_file() {
    check_all("symphonia", |name, expect, finished, _, verdict| {
        if finished.code == Some(0) {
            verdict.expect(expect != Refused, name, || "it was converted".to_owned());
            let truncated = finished.json()["truncated"] == true;
            verdict.equal(name, "marked as truncated", truncated, expect == Damaged);
        }
    });
}

#[test]
fn probing_survives_every_file() {
    let Some(hostile) = media::shared("hostile") else { return };
    let mut verdict = Verdict::default();
    for (name, _) in FILES {
        for decoder in ["ffmpeg", "symphonia"] {
            let mut command = program();
            command.arg("probe").arg(hostile.join(name)).args(["--json", "--decoder", decoder]);
            let finished = start(&mut command).finish(DEADLINE);
            check_end(&format!("{name} with {decoder}"), &finished, &mut verdict);
        }
    }
    verdict.pronounce();
}

#[test]
fn the_table_holds_every_file() {
    let Some(hostile) = media::shared("hostile") else { return };
    for name in names_in(&hostile) {
        let known = FILES.iter().any(|(file, _)| *file == name);
        assert!(known || name == "MANIFEST.tsv" || name.starts_with("canary_"), "{name}");
    }
}

/// One bad file does no harm to the good ones of the same run.
#[test]
fn other_files_of_the_run_are_unharmed() {
    let Some(hostile) = media::shared("hostile") else { return };
    let folder = tempfile::tempdir().unwrap();
    let good = fixtures::path("s16.flac");
    let mut command = program();
    command.arg("convert").arg(&good).arg("-d").arg(folder.path()).args(["--threads", "2"]);
    let bad = FILES.iter().filter(|(name, expect)| *expect == Refused && name.starts_with("own_"));
    command.args(bad.map(|(name, _)| hostile.join(name)));
    let finished = start(&mut command).finish(DEADLINE).ended_with(1);
    assert!(finished.peak_bytes < MEMORY_BYTES, "{}", finished.peak_bytes);
    assert_eq!(names_in(folder.path()), ["s16.mp3"]);
    assert_eq!(decoded_samples(&folder.path().join("s16.mp3")), 100_003);
}

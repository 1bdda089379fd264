//! MP4 tracks whose packets are read by their sample table are decoded as FFmpeg decodes them with
//! its own index, packet by packet: the same samples, except where an encoder's last frame is cut.

mod support;

use std::io::{Cursor, Write};
use std::path::Path;
use std::process::Command;

use support::{Planes, decode_file, music, wav};
use tempfile::NamedTempFile;
use tonemill_codec::{CancelToken, DecoderKind, Limits, TrackChoice};

/// What ffmpeg makes of `input`, from `start_seconds` on, with `arguments`.
fn mp4(start_seconds: &str, input: &Path, arguments: &str) -> NamedTempFile {
    let output = NamedTempFile::with_suffix(".mp4").unwrap();
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-ss", start_seconds, "-i"])
        .arg(input)
        .args(arguments.split_whitespace())
        .arg(output.path())
        .status()
        .expect("ffmpeg is installed by scripts/setup.sh");
    assert!(status.success(), "{arguments}");
    output
}

fn tonemill(mp4: &Path) -> Planes {
    let bytes = std::fs::read(mp4).unwrap();
    let mut planes: Planes = Vec::new();
    let missing = tonemill_codec::decode(
        Cursor::new(bytes),
        DecoderKind::Ffmpeg,
        &TrackChoice::Auto,
        &Limits::default(),
        &CancelToken::new(),
        |block| {
            planes.resize(block.planes.len(), Vec::new());
            for (plane, samples) in planes.iter_mut().zip(&block.planes) {
                plane.extend_from_slice(samples);
            }
        },
    )
    .unwrap();
    assert!(!missing);
    planes
}

/// Compares with FFmpeg's own decode, which gives an encoder's last frame whole: `frame` is its
/// length in samples.
fn assert_decoded_as_by_ffmpeg(file: &Path, frame: usize, encoding: &str) {
    let (ours, theirs) = (tonemill(file), decode_file(file, 2));
    assert_eq!(ours.len(), 2);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let (a, b) = (ours.len(), theirs.len());
        assert!(a > 8 * 48_000 && a <= b && b - a < frame, "{encoding}: {a} of {b} samples");
        let different = ours.iter().zip(theirs).position(|(a, b)| (a - b).abs() > 1e-6);
        assert_eq!(different, None, "{encoding}");
    }
}

#[test]
fn an_edit_without_a_length_costs_nothing() {
    let mut source = NamedTempFile::with_suffix(".wav").unwrap();
    source.write_all(&wav(&music(10.0, 48_000, 2), 48_000)).unwrap();
    let file = mp4("0", source.path(), "-c:a alac");
    let mut bytes = std::fs::read(file.path()).unwrap();
    let at = bytes.windows(4).position(|w| w == b"elst").unwrap();
    bytes[at + 12..at + 16].fill(0);
    std::fs::write(file.path(), bytes).unwrap();
    assert_eq!(tonemill(file.path())[0].len(), 480_000);
}

#[test]
fn packets_by_the_table_are_those_of_the_index() {
    let mut source = NamedTempFile::with_suffix(".wav").unwrap();
    source.write_all(&wav(&music(20.0, 48_000, 2), 48_000)).unwrap();
    let alone = "-c:a";
    // Chunks of a packet or two, between pictures.
    let video = "-f lavfi -i testsrc=s=64x64:r=25 -map 0:a -map 1:v -c:v mpeg4 -shortest -c:a";
    for (kind, codec, frame) in [
        (alone, "aac", 1024),
        (video, "aac", 1024),
        (video, "aac -movflags +faststart", 1024),
        (video, "alac", 1),
        (video, "flac -strict -2", 1),
        (video, "libopus", 960),
        (video, "libmp3lame", 1152),
    ] {
        let encoding = format!("{kind} {codec}");
        let file = mp4("0", source.path(), &encoding);
        assert_decoded_as_by_ffmpeg(file.path(), frame, &encoding);
        // An edit that starts far from the first packet and ends before the last.
        let cut = mp4("7.3", file.path(), "-map 0 -t 9.1 -c copy -strict -2");
        assert_decoded_as_by_ffmpeg(cut.path(), frame, &format!("{encoding}, cut"));
    }
}

//! The bytes of an MP3 depend on its source and settings, never on how many threads made it; and
//! what segments are joined to is a valid stream.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fixtures::{self, Sound};
use crate::support::process::{PATIENCE, converted, is_installed, program, start};
use crate::support::skip;
use crate::support::sound::{decoded_samples, ffprobe};

const MODES: [[&str; 2]; 3] = [["--bitrate", "192"], ["--abr", "160"], ["--vbr", "2"]];

/// Five segments at 44.1 kHz, the last of them short.
fn stereo() -> (Sound, PathBuf) {
    let sound = Sound { rate_hz: 44_100, layout: "stereo", samples: 63 * 44_100 + 123 };
    (sound, sound.encoded("minute.flac", &["-sample_fmt", "s16"]))
}

/// Five segments at 16 kHz, whose frames are half as long.
fn mono() -> (Sound, PathBuf) {
    let sound = Sound { rate_hz: 16_000, layout: "mono", samples: 80 * 16_000 + 77 };
    (sound, sound.encoded("minute.flac", &[]))
}

/// The MP3 made with 1 thread, once it is seen to be that of 2 and 8.
fn same_on_all_threads(input: &Path, mode: &[&str], folder: &Path) -> PathBuf {
    let [one, two, eight] = ["1", "2", "8"].map(|threads| {
        let output = folder.join(format!("{threads}.mp3"));
        let mut arguments = vec!["--quality", "7", "--title", "T", "--threads", threads, "--force"];
        arguments.extend(mode);
        let report = converted(input, &output, &arguments);
        (report["output"]["audio_blake3"].clone(), output)
    });
    assert!(one.0.is_string() && one.0 == two.0 && one.0 == eight.0, "{mode:?}: the hash differs");
    let bytes = fs::read(&one.1).unwrap();
    assert!(bytes == fs::read(&two.1).unwrap(), "{mode:?}: 2 threads differ from 1");
    assert!(bytes == fs::read(&eight.1).unwrap(), "{mode:?}: 8 threads differ from 1");
    one.1
}

/// Has mp3val walk through the frames, the tag and its numbers. It finds fault with files that have
/// no title, artist and so on; these have.
fn assert_valid(mp3: &Path) {
    if !is_installed("mp3val") {
        skip("there is no mp3val (`make setup` installs it)");
        return;
    }
    let output = Command::new("mp3val").arg(mp3).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(!told.contains("WARNING") && !told.contains("ERROR"), "{told}");
    assert!(told.contains("INFO") && told.contains("MPEG frames"), "{told}");
}

fn check(sound: Sound, input: &Path) {
    let folder = tempfile::tempdir().unwrap();
    for mode in MODES {
        let mp3 = same_on_all_threads(input, &mode, folder.path());
        assert_eq!(decoded_samples(&mp3), sound.samples, "{mode:?}");
        assert_valid(&mp3);
    }
}

#[test]
fn stereo_is_the_same_on_any_number_of_threads() {
    let (sound, input) = stereo();
    check(sound, &input);
}

#[test]
fn mono_in_short_frames_is_the_same_on_any_number_of_threads() {
    let (sound, input) = mono();
    check(sound, &input);
}

#[test]
fn short_files_and_tagged_ones_are_valid_too() {
    let folder = tempfile::tempdir().unwrap();
    for input in [fixtures::path("s16.wav"), fixtures::tagged()] {
        for mode in MODES {
            let output = folder.path().join("out.mp3");
            converted(&input, &output, &[mode[0], mode[1], "--title", "T", "--force"]);
            assert_valid(&output);
        }
    }
}

/// Files of one run do not get into each other's way.
#[test]
fn files_that_share_the_pool_come_out_as_if_alone() {
    let (folder, alone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let inputs = [stereo().1, fixtures::path("aac.mp4"), fixtures::path("mono.flac")];
    let mut command = program();
    command.args(["convert", "-q", "--quality", "7", "--threads", "3", "-d"]).arg(folder.path());
    start(command.args(&inputs)).finish(PATIENCE).succeeded();
    for input in &inputs {
        let name = Path::new(input.file_stem().unwrap()).with_extension("mp3");
        converted(input, &alone.path().join(&name), &["--quality", "7", "--threads", "1"]);
        let [a, b] = [&folder, &alone].map(|f| fs::read(f.path().join(&name)).unwrap());
        assert!(a == b, "{name:?}");
    }
}

/// The frames are the same whatever stands in front of them.
#[test]
fn the_hash_is_that_of_the_sound() {
    let folder = tempfile::tempdir().unwrap();
    let hash = |arguments: &[&str]| {
        let output = folder.path().join("out.mp3");
        let report = converted(&fixtures::tagged(), &output, arguments);
        assert!(ffprobe(&output)["format"]["format_name"] == "mp3");
        report["output"]["audio_blake3"].as_str().unwrap().to_owned()
    };
    let with_tags = hash(&["--force"]);
    assert_eq!(with_tags.len(), 64);
    assert_eq!(with_tags, hash(&["--force", "--no-tags", "--no-cover", "--title", "other"]));
    assert_ne!(with_tags, hash(&["--force", "--bitrate", "128"]));
}

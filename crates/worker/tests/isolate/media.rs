//! Media that the ffmpeg program makes, kept in the build folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A second of a sine in an MP4 with a picture.
pub fn clip() -> PathBuf {
    made(
        "clip.mp4",
        &[
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:duration=1:sample_rate=48000",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=160x120:rate=25:duration=1",
            "-c:v",
            "mpeg4",
            "-c:a",
            "aac",
            "-metadata",
            "title=A clip",
        ],
    )
}

/// Two minutes of noise, which take a while.
pub fn noise() -> PathBuf {
    made("noise.flac", &["-f", "lavfi", "-i", "anoisesrc=d=120:a=0.3:r=44100:seed=1", "-ac", "2"])
}

/// A picture without a sound.
pub fn silent() -> PathBuf {
    made(
        "silent.mp4",
        &["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=1", "-c:v", "mpeg4"],
    )
}

/// Every kind of container and codec that matters, each a few seconds long.
pub fn various() -> Vec<PathBuf> {
    let sweep =
        "aevalsrc=0.3*sin(2*PI*(200*t+300*t*t))|0.3*sin(2*PI*(300*t+200*t*t)):s=44100:d=3.1";
    let of =
        |name: &str, encode: &[&str]| made(name, &[&["-f", "lavfi", "-i", sweep], encode].concat());
    vec![
        of("pcm.wav", &["-c:a", "pcm_s16le"]),
        of("flac.flac", &[]),
        of("aac.m4a", &["-c:a", "aac"]),
        of("mp3.mp3", &["-c:a", "libmp3lame"]),
        of("vorbis.ogg", &["-c:a", "libvorbis"]),
        of("opus.webm", &["-ar", "48000", "-c:a", "libopus"]),
        of("ac3.mkv", &["-c:a", "ac3"]),
        of("aac.ts", &["-c:a", "aac"]),
    ]
}

/// Opens it.
pub fn open(path: &Path) -> File {
    File::open(path).expect("it was just made")
}

fn made(name: &str, arguments: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("isolate");
    let path = folder.join(name);
    if !path.exists() {
        fs::create_dir_all(&folder).expect("the build folder takes folders");
        let temporary = folder.join(format!("{}-{name}", std::process::id()));
        let status = Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-y"])
            .args(arguments)
            .arg(&temporary)
            .status()
            .expect("ffmpeg runs");
        assert!(status.success(), "ffmpeg cannot make {name}");
        fs::rename(&temporary, &path).expect("the build folder takes files");
    }
    path
}

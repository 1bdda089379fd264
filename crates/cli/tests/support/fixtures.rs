//! Media of known content, made by the ffmpeg program: each starts from floats in a WAV whose
//! number of samples is decided here, so that what an encoder or FFmpeg's own decoder makes of it
//! is never the measure.
//!
//! They lie in a folder that all test programs share, under a hash of how they were made. Each is
//! made under another name and then linked to its own, so that nobody sees half a file and it does
//! not matter who makes it first.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::sound::ffmpeg;

/// A sound: what, how fast, for how long.
#[derive(Debug, Clone, Copy)]
pub struct Sound {
    pub rate_hz: u32,
    /// FFmpeg's name of the layout.
    pub layout: &'static str,
    pub samples: u64,
}

/// How well the length of a file can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// The container or the codec says it to the sample.
    Exact,
    /// It is known up to a frame of the codec, of so many samples.
    Frame(u64),
}

/// A file made from a [`Sound`].
#[derive(Debug, Clone, Copy)]
pub struct Fixture {
    /// Its file name.
    pub name: &'static str,
    pub sound: Sound,
    pub length: Length,
    /// What ffmpeg is told between the WAV and the output.
    encode: &'static [&'static str],
}

use Length::{Exact, Frame};

const fn sound(rate_hz: u32, layout: &'static str, samples: u64) -> Sound {
    Sound { rate_hz, layout, samples }
}

const fn made_of(
    name: &'static str,
    sound: Sound,
    length: Length,
    encode: &'static [&'static str],
) -> Fixture {
    Fixture { name, sound, length, encode }
}

const STEREO: Sound = sound(44_100, "stereo", 100_003);
const STEREO_48: Sound = sound(48_000, "stereo", 123_457);
const MONO: Sound = sound(22_050, "mono", 44_101);
const SURROUND: Sound = sound(48_000, "5.1", 96_001);

/// A moving picture beside the sound, as the second input.
macro_rules! video {
    ($($option:literal),*) => {
        &["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=2.4",
          "-map", "0:a", "-map", "1:v", $($option),*]
    };
}

/// Every kind of file, with a length that is no multiple of any frame.
pub const ALL: &[Fixture] = &[
    made_of("s16.wav", STEREO, Exact, &["-c:a", "pcm_s16le"]),
    made_of("s24.wav", STEREO_48, Exact, &["-c:a", "pcm_s24le"]),
    made_of("f32.wav", sound(32_000, "mono", 70_001), Exact, &["-c:a", "pcm_f32le"]),
    made_of("u8.wav", sound(8_000, "mono", 20_011), Exact, &["-c:a", "pcm_u8"]),
    made_of("s16.aiff", STEREO, Exact, &["-c:a", "pcm_s16be"]),
    made_of("s16.flac", STEREO, Exact, &["-sample_fmt", "s16"]),
    made_of("s24_96k.flac", sound(96_000, "stereo", 200_005), Exact, &["-sample_fmt", "s32"]),
    made_of("88k2.flac", sound(88_200, "mono", 200_005), Exact, &[]),
    made_of("mono.flac", MONO, Exact, &[]),
    made_of("12k.flac", sound(12_000, "mono", 30_001), Exact, &[]),
    made_of("16k.wav", sound(16_000, "mono", 40_007), Exact, &["-c:a", "pcm_s16le"]),
    made_of("24k.wav", sound(24_000, "stereo", 60_007), Exact, &["-c:a", "pcm_s16le"]),
    made_of("37k8.wav", sound(37_800, "stereo", 80_007), Exact, &["-c:a", "pcm_s16le"]),
    made_of("surround.wav", SURROUND, Exact, &["-c:a", "pcm_s24le"]),
    made_of("surround.flac", SURROUND, Exact, &[]),
    made_of("alac.m4a", STEREO, Exact, &["-c:a", "alac"]),
    made_of("flac.mkv", STEREO, Exact, &["-c:a", "flac"]),
    made_of("s16.avi", STEREO, Exact, video!("-c:v", "mpeg4", "-c:a", "pcm_s16le")),
    made_of("aac.m4a", STEREO, Exact, &["-c:a", "aac"]),
    made_of("aac_16k.m4a", sound(16_000, "mono", 40_007), Exact, &["-c:a", "aac"]),
    made_of("aac_surround.m4a", SURROUND, Exact, &["-c:a", "aac"]),
    made_of("aac.mp4", STEREO_48, Exact, video!("-c:v", "mpeg4", "-c:a", "aac")),
    made_of(
        "aac_moov_front.mp4",
        STEREO_48,
        Exact,
        video!("-c:v", "mpeg4", "-c:a", "aac", "-movflags", "+faststart"),
    ),
    made_of(
        "aac_fragmented.mp4",
        STEREO_48,
        Frame(1024),
        video!("-c:v", "mpeg4", "-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov"),
    ),
    made_of("aac.mov", STEREO_48, Exact, video!("-c:v", "mpeg4", "-c:a", "aac")),
    // What has no place for the encoder's delay plays that too: a frame before, a part of one
    // after.
    made_of("aac.mkv", STEREO, Frame(2048), video!("-c:v", "mpeg4", "-c:a", "aac")),
    made_of("aac.flv", STEREO, Frame(2048), video!("-c:v", "flv1", "-c:a", "aac")),
    made_of("aac.ts", STEREO_48, Frame(2048), video!("-c:v", "mpeg2video", "-c:a", "aac")),
    made_of("aac.aac", STEREO, Frame(2048), &["-c:a", "aac"]),
    made_of("lame.mp3", STEREO, Exact, &["-c:a", "libmp3lame", "-b:a", "160k"]),
    made_of("lame_v4.mp3", STEREO_48, Exact, &["-c:a", "libmp3lame", "-q:a", "4"]),
    made_of("lame_mpeg2.mp3", MONO, Exact, &["-c:a", "libmp3lame"]),
    made_of("mp3.mp4", STEREO_48, Frame(1152), video!("-c:v", "mpeg4", "-c:a", "libmp3lame")),
    made_of("opus.opus", STEREO_48, Exact, &["-c:a", "libopus"]),
    made_of("opus.webm", STEREO_48, Exact, video!("-c:v", "libvpx", "-c:a", "libopus")),
    made_of("vorbis.ogg", STEREO, Exact, &["-c:a", "libvorbis"]),
    made_of("vorbis.webm", STEREO, Frame(2048), video!("-c:v", "libvpx", "-c:a", "libvorbis")),
    made_of("ac3.mkv", SURROUND, Frame(1536), &["-c:a", "ac3"]),
    made_of("mp2.ts", STEREO_48, Frame(1152), video!("-c:v", "mpeg2video", "-c:a", "mp2")),
    made_of("mp2.mpg", STEREO, Frame(1152), video!("-c:v", "mpeg2video", "-c:a", "mp2")),
    made_of("wma.wmv", STEREO, Frame(4096), video!("-c:v", "wmv2", "-c:a", "wmav2")),
];

/// One of [`ALL`] by its name.
pub fn named(name: &str) -> Fixture {
    *ALL.iter().find(|f| f.name == name).unwrap_or_else(|| panic!("there is no fixture {name}"))
}

/// The file of one of [`ALL`].
pub fn path(name: &str) -> PathBuf {
    named(name).path()
}

impl Fixture {
    /// The file.
    pub fn path(&self) -> PathBuf {
        self.sound.encoded(self.name, self.encode)
    }
}

impl Sound {
    /// Sweeps that differ from channel to channel, in syllables: they are like nothing but
    /// themselves, shifted or not. Floats in a WAV.
    pub fn wav(&self) -> PathBuf {
        let channels = match self.layout {
            "mono" => 1,
            "stereo" => 2,
            _ => 6,
        };
        let nyquist = f64::from(self.rate_hz) / 2.0;
        let seconds = self.samples as f64 / f64::from(self.rate_hz);
        let sweep = |channel: u32| {
            let from = 150.0 + 70.0 * f64::from(channel);
            let to = (nyquist * 0.5).min(5000.0) - 90.0 * f64::from(channel);
            let rise = (to - from) / (2.0 * seconds);
            format!("0.35*sin(2*PI*({from}*t+{rise}*t*t))*(0.55+0.45*sin(2*PI*{}*t))", 3 + channel)
        };
        let channels: Vec<String> = (0..channels).map(sweep).collect();
        let source = format!(
            "aevalsrc={}:s={}:c={}:d={},atrim=end_sample={}",
            channels.join("|").replace(',', "\\,"),
            self.rate_hz,
            self.layout,
            seconds + 1.0,
            self.samples
        );
        made("sound.wav", &["-f", "lavfi", "-i", &source, "-c:a", "pcm_f32le"])
    }

    /// The sound in a file called `name`, as ffmpeg makes it with `encode`.
    pub fn encoded(&self, name: &str, encode: &[&str]) -> PathBuf {
        let wav = self.wav();
        let mut arguments = vec!["-i", wav.to_str().expect("build folders have plain names")];
        arguments.extend(encode);
        made(name, &arguments)
    }
}

/// What [`tagged`] says about itself: name and text, as ffprobe reads them from an MP3.
pub const TAGS: [(&str, &str); 7] = [
    ("title", "Füße & \u{4f60}\u{597d} \u{1f3b5}"),
    ("artist", "Кто-то"),
    ("album", "A \"quoted\" album; with = signs"),
    ("track", "3/12"),
    ("date", "2019"),
    ("genre", "Jazz"),
    ("comment", "two words"),
];

/// Titles of its chapters, which change at 1 and 2 seconds; the sound ends at 3.
pub const CHAPTERS: [&str; 3] = ["Anfang", "\u{7b2c}\u{4e8c}", "End"];

/// 3 s with [`TAGS`], [`CHAPTERS`] and a cover.
pub fn tagged() -> PathBuf {
    let tag = |(name, text): (&str, &str)| format!("{name}={}\n", text.replace('=', "\\="));
    let chapter = |(index, title): (usize, &&str)| {
        let (start, end) = (index * 1000, index * 1000 + 1000);
        format!("[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n")
    };
    let lines = TAGS.into_iter().map(tag).chain(CHAPTERS.iter().enumerate().map(chapter));
    // A semicolon in a tag would start a comment.
    let metadata =
        format!(";FFMETADATA1\n{}", lines.collect::<String>()).replace("; with", "\\; with");
    let tags = written("tags.txt", metadata.as_bytes());
    let cover = cover();
    let [tags, cover] = [&tags, &cover].map(|path| path.to_str().expect("plain names"));
    let arguments = [
        "-i",
        tags,
        "-i",
        cover,
        "-map",
        "0:a",
        "-map",
        "2:v",
        "-c:v",
        "copy",
        "-c:a",
        "aac",
        "-disposition:v",
        "attached_pic",
        "-map_metadata",
        "1",
        "-map_chapters",
        "1",
    ];
    sound(44_100, "stereo", 132_300).encoded("tagged.m4a", &arguments)
}

/// A small JPEG.
pub fn cover() -> PathBuf {
    let source = ["-f", "lavfi", "-i", "testsrc=size=64x64:duration=1", "-frames:v", "1"];
    made("cover.jpg", &source)
}

/// Two tracks, English stereo at 48 kHz and German mono at 44.1 kHz; the second is the default.
pub fn two_languages() -> PathBuf {
    let german = sound(44_100, "mono", 132_301).wav();
    let german = german.to_str().expect("plain names");
    let arguments = [
        "-i",
        german,
        "-map",
        "0:a",
        "-map",
        "1:a",
        "-c:a",
        "flac",
        "-metadata:s:a:0",
        "language=eng",
        "-metadata:s:a:1",
        "language=deu",
        "-disposition:a:0",
        "0",
        "-disposition:a:1",
        "default",
    ];
    STEREO_48.encoded("two_languages.mkv", &arguments)
}

/// An hour of silence: small to keep, long to convert.
pub fn an_hour() -> PathBuf {
    made("hour.flac", &["-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo:d=3600"])
}

/// Has ffmpeg make the file `name`; its output comes after `arguments`.
pub fn made(name: &str, arguments: &[&str]) -> PathBuf {
    once(name, &arguments, |path| {
        let status = ffmpeg().arg("-y").args(arguments).arg(path).status().expect("ffmpeg runs");
        assert!(status.success(), "ffmpeg cannot make {name} with {arguments:?}");
    })
}

/// A file of these bytes.
fn written(name: &str, bytes: &[u8]) -> PathBuf {
    once(name, &bytes, |path| std::fs::write(path, bytes).expect("the build folder takes files"))
}

fn once(name: &str, recipe: &impl Hash, make: impl FnOnce(&Path)) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("fixtures")
        .join(format!("{:016x}", hasher.finish()));
    let path = folder.join(name);
    if path.exists() {
        return path;
    }
    std::fs::create_dir_all(&folder).expect("the build folder takes folders");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The ending tells ffmpeg what to make.
    let temporary = folder.join(format!("{}-{count}-{name}", std::process::id()));
    make(&temporary);
    // A rename would pull the file from under whoever uses the first one already.
    let _ = std::fs::hard_link(&temporary, &path);
    std::fs::remove_file(&temporary).expect("it was just made");
    assert!(path.exists(), "{} cannot be linked", path.display());
    path
}

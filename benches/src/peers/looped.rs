//! Inputs of ten minutes and of ten hours of the same kind, for memory.
//!
//! The ten hours are the ten minutes sixty times over. MP4 is looped by copying packets: at 48 kHz
//! ten minutes are a whole number of AAC frames and of pictures, so the copies join without a gap.
//! Opus and FLAC are encoded again: copies would carry Opus' pre-skip and padding into the middle,
//! where decoders differ, and keep FLAC's frame numbers and its header's length of ten minutes.

use super::media;
use super::place::{Place, made};
use crate::error::BenchError;

const MINUTES: u32 = 10;
const REPEATS: u32 = 60;
/// Where in the music the ten minutes begin: after what the other videos hold.
const START_SECONDS: u32 = 3900;

/// One input.
#[derive(Debug)]
pub struct Looped {
    /// As the report calls it.
    pub name: String,
    /// What it is.
    pub about: String,
    /// In the media folder.
    pub path: String,
}

/// A container with its codec.
struct Kind {
    extension: &'static str,
    about: &'static str,
    /// How the ten minutes are made from FLAC; none for FLAC itself.
    encode: &'static [&'static str],
}

const PICTURE: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
const KINDS: [Kind; 3] = [
    Kind { extension: "mp4", about: "AAC 192 kbit/s and H.264 in MP4", encode: &["aac", "192k"] },
    Kind {
        extension: "mkv",
        about: "Opus 128 kbit/s and H.264 in Matroska",
        encode: &["libopus", "128k"],
    },
    Kind { extension: "flac", about: "FLAC, 16 bits", encode: &[] },
];

/// The two inputs of every kind, the short one first; made where they are missing.
pub fn inputs(place: &Place) -> Result<Vec<Looped>, BenchError> {
    made(&place.media.join("memory"))?;
    let mut inputs = Vec::new();
    media::music(place, &path("ten-minutes", "flac"), START_SECONDS, MINUTES * 60)?;
    for kind in &KINDS {
        ten_minutes(place, kind)?;
        ten_hours(place, kind)?;
        for length in ["ten-minutes", "ten-hours"] {
            inputs.push(Looped {
                name: format!("memory-{}-{length}", kind.extension),
                about: format!("{}, {}", length.replace('-', " "), kind.about),
                path: path(length, kind.extension),
            });
        }
    }
    Ok(inputs)
}

fn path(length: &str, extension: &str) -> String {
    format!("memory/{length}.{extension}")
}

fn ten_minutes(place: &Place, kind: &Kind) -> Result<(), BenchError> {
    let [codec, bitrate] = kind.encode else { return Ok(()) };
    media::make(place, &path("ten-minutes", kind.extension), |out| {
        let length = (MINUTES * 60).to_string();
        let inputs = ["-i", "media/memory/ten-minutes.flac", "-f", "lavfi", "-i"];
        media::ffmpeg(&inputs)
            .with(
                ["testsrc2=s=320x180:r=10", "-map", "1:v", "-map", "0:a", "-t"].map(str::to_owned),
            )
            .with([length])
            .with(PICTURE.iter().map(|&option| option.to_owned()))
            .with(["-c:a", codec, "-b:a", bitrate].map(str::to_owned))
            .with([out])
    })
}

fn ten_hours(place: &Place, kind: &Kind) -> Result<(), BenchError> {
    let (video, audio) = (path("ten-minutes", kind.extension), path("ten-minutes", "flac"));
    let (video, audio) = (format!("media/{video}"), format!("media/{audio}"));
    let (more, length) = ((REPEATS - 1).to_string(), (REPEATS * MINUTES * 60).to_string());
    let flac = ["-stream_loop", &more, "-i", &audio];
    let file = ["-stream_loop", &more, "-i", &video];
    let arguments = match kind.encode {
        ["aac", _] => [&file[..], &["-c", "copy"]].concat(),
        [codec, bitrate] => {
            let pictures = ["-map", "0:v", "-map", "1:a", "-t", &length, "-c:v", "copy"];
            let opus = ["-c:a", codec, "-b:a", bitrate, "-compression_level", "0"];
            [&file[..], &flac, &pictures, &opus].concat()
        }
        _ => [&flac[..], &["-t", &length, "-c:a", "flac", "-compression_level", "0"]].concat(),
    };
    media::make(place, &path("ten-hours", kind.extension), |out| {
        media::ffmpeg(&arguments).with([out])
    })
}

//! What a conversion did, for people and for programs.

use serde::{Deserialize, Serialize};

use crate::mp3::settings::Mp3Format;
use crate::probe::AudioTrack;

/// The account of one conversion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What came in.
    pub source: SourceReport,
    /// What came out.
    pub output: OutputReport,
    /// Whether the input ended early or was damaged inside, so that audio is missing.
    pub truncated: bool,
    /// Everything worth knowing that is not an error.
    pub warnings: Vec<String>,
    /// Where the time went.
    pub timing: Timing,
}

/// The source's side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The decoder library's name of the container.
    pub container: String,
    /// Length of the input, in bytes.
    pub bytes: u64,
    /// Bytes that were read; video is skipped where the container allows it.
    pub bytes_read: u64,
    /// The track that was converted.
    pub track: AudioTrack,
    /// Rate of the decoded audio, in Hz.
    pub sample_rate_hz: u32,
    /// Channels of the decoded audio.
    pub channels: u32,
    /// Samples per channel that were decoded, before trimming and resampling.
    pub samples_decoded: u64,
    /// The same in seconds.
    pub decoded_seconds: f64,
    /// What the container declares, in seconds.
    pub declared_seconds: Option<f64>,
    /// Packets that could not be decoded.
    pub damaged_packets: u64,
}

/// The MP3's side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputReport {
    /// How it is encoded.
    #[serde(flatten)]
    pub format: Mp3Format,
    /// Samples per channel that a player which honours the tag plays.
    pub samples: u64,
    /// The same in seconds.
    pub duration_seconds: f64,
    /// MP3 frames, the tag frame not counted.
    pub frames: u64,
    /// Length of the file, in bytes.
    pub bytes: u64,
    /// BLAKE3 of the audio frames (all that follows the tag frame), in hexadecimal: equal for equal
    /// audio and settings, whatever the tags and the number of threads.
    pub audio_blake3: String,
}

/// Seconds, and CPU seconds by stage, summed over threads.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// On the wall clock, from open to finish.
    pub wall_seconds: f64,
    /// CPU to open, demux and decode.
    pub decode_cpu_seconds: f64,
    /// CPU to convert and cut.
    pub convert_cpu_seconds: f64,
    /// CPU in LAME.
    pub encode_cpu_seconds: f64,
    /// CPU to join, hash and write.
    pub write_cpu_seconds: f64,
    /// When the input was opened, demuxed and decoded.
    #[serde(default)]
    pub decode: Period,
    /// When LAME was at work, on any thread.
    #[serde(default)]
    pub encode: Period,
}

/// From the beginning of a stage to its end, in seconds after that of the conversion: stages
/// overlap.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Period {
    /// Its beginning.
    pub start_seconds: f64,
    /// Its end.
    pub end_seconds: f64,
}

//! What ffprobe, mediainfo and a full decode say of a file.

use std::io;
use std::path::Path;
use std::process::Stdio;

use serde::Serialize;
use serde_json::Value;

use super::command::CommandLine;
use crate::error::{BenchError, file};

/// The first audio stream of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Audio {
    /// Name of the codec.
    pub codec: String,
    /// Bits per second; 0 where the container does not say.
    pub bits_per_second: u64,
    /// Samples per second.
    pub sample_rate: u64,
    /// Channels.
    pub channels: u64,
}

/// Asks ffprobe; `path` is seen from `folder`.
pub fn audio(path: &str, folder: &Path) -> Result<Audio, BenchError> {
    let entries = "stream=codec_name,bit_rate,sample_rate,channels";
    let arguments = ["-v", "error", "-select_streams", "a:0", "-show_entries", entries];
    let answer =
        json(&CommandLine::new("ffprobe", &arguments).with(own(["-of", "json", path])), folder)?;
    let stream = &answer["streams"][0];
    let number = |key: &str| match &stream[key] {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    };
    let unreadable = || BenchError::Unreadable {
        what: format!("ffprobe on {path}"),
        detail: "no audio stream with a codec, a rate and channels".to_owned(),
    };
    Ok(Audio {
        codec: stream["codec_name"].as_str().ok_or_else(unreadable)?.to_owned(),
        bits_per_second: number("bit_rate").unwrap_or(0),
        sample_rate: number("sample_rate").filter(|&rate| rate > 0).ok_or_else(unreadable)?,
        channels: number("channels").filter(|&count| count > 0).ok_or_else(unreadable)?,
    })
}

/// What mediainfo reads from the header that the encoder wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EncoderHeader {
    /// "CBR" or "VBR"; empty where the file does not say.
    pub mode: String,
    /// The library that made it; mediainfo takes padding after the name for a part of it.
    pub library: String,
    /// Its settings, in the words of LAME's options.
    pub settings: String,
}

/// Asks mediainfo.
pub fn encoder_header(path: &str, folder: &Path) -> Result<EncoderHeader, BenchError> {
    let answer = json(&CommandLine::new("mediainfo", &["--Output=JSON", path]), folder)?;
    let tracks = answer["media"]["track"].as_array().cloned().unwrap_or_default();
    let audio = tracks.into_iter().find(|track| track["@type"] == "Audio").unwrap_or_default();
    let text = |key: &str| audio[key].as_str().unwrap_or_default().to_owned();
    Ok(EncoderHeader {
        mode: text("BitRate_Mode"),
        library: text("Encoded_Library"),
        settings: text("Encoded_Library_Settings"),
    })
}

/// How long the container says that its first audio stream is, or else the whole file.
pub fn declared_seconds(path: &str, folder: &Path) -> Result<Option<f64>, BenchError> {
    let entries = "stream=duration:format=duration";
    let arguments = ["-v", "error", "-select_streams", "a:0", "-show_entries", entries];
    let command = CommandLine::new("ffprobe", &arguments).with(own(["-of", "json", path]));
    let answer = json(&command, folder)?;
    let seconds = |of: &Value| of["duration"].as_str()?.parse().ok();
    Ok(seconds(&answer["streams"][0]).or_else(|| seconds(&answer["format"])))
}

/// Samples (of one channel) that ffmpeg decodes from the first audio stream.
///
/// It honours the delay and padding in LAME's tag, edit lists, and the pre-skip of Opus.
pub fn decoded_samples(path: &str, audio: &Audio, folder: &Path) -> Result<u64, BenchError> {
    let command = CommandLine::new("ffmpeg", &["-nostdin", "-v", "error", "-i", path]).with(own([
        "-map",
        "0:a:0",
        "-c:a",
        "pcm_f32le",
        "-f",
        "f32le",
        "-",
    ]));
    let mut child = command
        .command(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| command.missing(source))?;
    let counted = child.stdout.take().map_or(Ok(0), count);
    let status = child.wait().map_err(|source| command.missing(source))?;
    let bytes = counted.map_err(file("decode", Path::new(path)))?;
    if !status.success() {
        return Err(command.failed(status, "the decode for the proof of equal work"));
    }
    Ok(bytes / (4 * audio.channels))
}

/// In small pieces; see [`super::measure`] for why.
fn count(mut stream: impl io::Read) -> io::Result<u64> {
    let mut piece = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}

fn json(command: &CommandLine, folder: &Path) -> Result<Value, BenchError> {
    let text = command.text(folder)?;
    serde_json::from_str(&text).map_err(|error| BenchError::Unreadable {
        what: command.to_string(),
        detail: error.to_string(),
    })
}

fn own<const N: usize>(arguments: [&str; N]) -> [String; N] {
    arguments.map(str::to_owned)
}

//! What other programs say about a file: its samples, tags, chapters and pictures.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// FFmpeg that says nothing unless something is wrong, and never reads from the terminal.
pub fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin"]).stdin(Stdio::null());
    command
}

/// Samples per channel of the first audio track, as FFmpeg decodes it.
pub fn decoded_samples(path: &Path) -> u64 {
    let mut bytes = 0;
    decode(path, &["-map", "0:a:0", "-ac", "1"], |chunk| bytes += chunk.len() as u64);
    bytes / 4
}

/// The samples, all channels interleaved, as FFmpeg decodes them with `options`.
pub fn decoded(path: &Path, options: &[&str]) -> Vec<f32> {
    let mut bytes = Vec::new();
    decode(path, options, |chunk| bytes.extend_from_slice(chunk));
    let (samples, _) = bytes.as_chunks();
    samples.iter().map(|sample| f32::from_le_bytes(*sample)).collect()
}

fn decode(path: &Path, options: &[&str], mut each: impl FnMut(&[u8])) {
    let mut command = ffmpeg();
    command.args(["-v", "quiet", "-i"]).arg(path).args(options).args(["-f", "f32le", "-"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("ffmpeg runs");
    let mut pipe = child.stdout.take().expect("it is piped");
    let mut buffer = vec![0; 1 << 16];
    loop {
        match pipe.read(&mut buffer).expect("a pipe") {
            0 => break,
            count => each(&buffer[..count]),
        }
    }
    // Damaged sources make it fail after it has decoded what it can.
    let _ = child.wait();
}

/// How alike two signals are: 1 for the same up to a factor, 0 for unrelated ones and where either
/// is silent.
pub fn likeness(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let len = a.len().min(b.len());
    let energy = dot(&a[..len], &a[..len]) * dot(&b[..len], &b[..len]);
    if energy > 0.0 { dot(a, b) / energy.sqrt() } else { 0.0 }
}

/// Loudness as the mean square.
pub fn power(samples: &[f32]) -> f64 {
    let sum: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    sum / samples.len().max(1) as f64
}

/// By how many samples `b` lags behind `a` (both mono), within `reach`.
pub fn lag(a: &[f32], b: &[f32], reach: usize) -> i64 {
    let reach = reach as i64;
    let at = |lag: i64| {
        let (from_a, from_b) = ((-lag).max(0) as usize, lag.max(0) as usize);
        likeness(a.get(from_a..).unwrap_or_default(), b.get(from_b..).unwrap_or_default())
    };
    (-reach..=reach).max_by(|x, y| at(*x).total_cmp(&at(*y))).unwrap_or(0)
}

/// What ffprobe says: format, streams and chapters.
pub fn ffprobe(path: &Path) -> Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_format", "-show_streams", "-show_chapters"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("ffprobe runs");
    serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON")
}

/// A tag of the file in ffprobe's words.
pub fn tag<'a>(probe: &'a Value, name: &str) -> Option<&'a str> {
    probe["format"]["tags"][name].as_str()
}

/// Start and end in seconds, and title, of each chapter.
pub fn chapters(probe: &Value) -> Vec<(f64, f64, String)> {
    let seconds = |value: &Value| value.as_str().and_then(|s| s.parse().ok()).unwrap_or(f64::NAN);
    let chapter = |c: &Value| {
        let title = c["tags"]["title"].as_str().unwrap_or_default();
        (seconds(&c["start_time"]), seconds(&c["end_time"]), title.to_owned())
    };
    probe["chapters"].as_array().into_iter().flatten().map(chapter).collect()
}

/// Whether a picture is attached.
pub fn has_cover(probe: &Value) -> bool {
    let streams = probe["streams"].as_array().into_iter().flatten();
    streams.into_iter().any(|stream| stream["disposition"]["attached_pic"] == 1)
}

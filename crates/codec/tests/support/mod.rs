//! What the library's tests share: a WAV in memory, an MP3 in memory, and FFmpeg as the judge.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::f32::consts::TAU;
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tonemill_codec::{CancelToken, Options, Report, SeekSink, transcode};

/// Planar samples.
pub type Planes = Vec<Vec<f32>>;

pub fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// A WAV of 32-bit floats.
pub fn wav(planes: &Planes, rate: u32) -> Vec<u8> {
    let channels = planes.len() as u16;
    let data_bytes = planes[0].len() as u32 * u32::from(channels) * 4;
    let mut wav = Vec::with_capacity(data_bytes as usize + 44);
    wav.extend(b"RIFF");
    wav.extend((36 + data_bytes).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    wav.extend(3_u16.to_le_bytes()); // IEEE float
    wav.extend(channels.to_le_bytes());
    wav.extend(rate.to_le_bytes());
    wav.extend((rate * u32::from(channels) * 4).to_le_bytes());
    wav.extend((channels * 4).to_le_bytes());
    wav.extend(32_u16.to_le_bytes());
    wav.extend(b"data");
    wav.extend(data_bytes.to_le_bytes());
    for i in 0..planes[0].len() {
        for plane in planes {
            wav.extend(plane[i].to_le_bytes());
        }
    }
    wav
}

/// Sound with all that makes encoding hard: tones that move, noise that comes and goes, attacks.
/// Deterministic, and different on both sides.
pub fn music(seconds: f32, rate: u32, channels: usize) -> Planes {
    let mut noise = 0x1234_5678_u32;
    let mut random = move || {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        noise as f32 / u32::MAX as f32 - 0.5
    };
    let samples = (seconds * rate as f32) as usize;
    let mut planes = vec![Vec::with_capacity(samples); channels];
    for i in 0..samples {
        let t = i as f32 / rate as f32;
        let beat = (t * 2.0).fract();
        let attack = (-beat * 18.0).exp();
        let glide = 220.0 + 110.0 * (t * 0.37).sin();
        let tone = (TAU * glide * t).sin() * 0.2 + (TAU * 1871.0 * t).sin() * 0.07;
        let swell = 0.12 * (0.5 + 0.5 * (t * 0.9).sin());
        for (c, plane) in planes.iter_mut().enumerate() {
            let side = if c == 0 { 1.0 } else { (t * 0.51).cos() };
            plane.push(tone * side + random() * (attack * 0.6 + swell));
        }
    }
    planes
}

/// Converts in memory.
pub fn convert(input: Vec<u8>, options: &Options, pool: &ThreadPool) -> (Vec<u8>, Report) {
    let mut output = Cursor::new(Vec::new());
    let report = transcode(
        Cursor::new(input),
        SeekSink(&mut output),
        options,
        pool,
        &CancelToken::new(),
        |_| {},
    )
    .unwrap();
    (output.into_inner(), report)
}

/// Decodes with the ffmpeg CLI, which honours the LAME tag.
pub fn decode(mp3: &[u8], channels: usize) -> Planes {
    // A file, not a pipe: FFmpeg only sees the end of an MP3 that it can seek in.
    let mut file = tempfile::NamedTempFile::with_suffix(".mp3").unwrap();
    file.write_all(mp3).unwrap();
    decode_file(file.path(), channels)
}

/// Decodes a file with the ffmpeg CLI.
pub fn decode_file(file: &Path, channels: usize) -> Planes {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "quiet", "-i"])
        .arg(file)
        .args(["-f", "f32le", "-c:a", "pcm_f32le", "-"])
        .stdout(Stdio::piped())
        .output()
        .expect("ffmpeg is installed by scripts/setup.sh");
    assert!(output.status.success());
    let mut planes = vec![Vec::new(); channels];
    for frame in output.stdout.chunks_exact(4 * channels) {
        for (plane, bytes) in planes.iter_mut().zip(frame.chunks_exact(4)) {
            plane.push(f32::from_le_bytes(bytes.try_into().unwrap()));
        }
    }
    planes
}

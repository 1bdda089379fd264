//! The codec: decoders, the encoder's speed.

use std::io::Cursor;

use rayon::ThreadPoolBuilder;
use tonemill_codec::{CancelToken, Options, SeekSink, ffmpeg, transcode};

use super::Finding;
use crate::failure::Failure;

/// How long what is encoded to see how fast LAME is, in seconds.
const TRIAL_SECONDS: usize = 5;
const TRIAL_RATE_HZ: usize = 44_100;
/// On a core of today LAME is faster than so many times real time, unless it was built without
/// optimisation.
const SLOW: f64 = 15.0;

pub(super) fn look() -> Result<[Finding; 2], Failure> {
    Ok([decoders(), encoder()?])
}

fn decoders() -> Finding {
    let (version, missing) = (ffmpeg::version(), ffmpeg::missing_decoders());
    if missing.is_empty() {
        return Finding::ok("ffmpeg", format!("libavcodec {version} has all decoders"));
    }
    let says = format!("libavcodec {version} lacks {}", missing.join(", "));
    Finding::warning("ffmpeg", says, "uploads in these formats fail: link a fuller FFmpeg")
}

/// Encodes a little: how LAME was built shows in nothing but its speed.
fn encoder() -> Result<Finding, Failure> {
    let pool = ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|error| Failure::cannot("start threads", error))?;
    let (source, sink) = (Cursor::new(noise()), SeekSink(Cursor::new(Vec::new())));
    let options = Options::default();
    let cancel = CancelToken::new();
    let report = match transcode(source, sink, &options, &pool, &cancel, |_| {}) {
        Ok(report) => report,
        Err(error) => {
            let says = format!("it does not encode: {error}");
            return Ok(Finding::bad("lame", says, "build Tonemill again, and run its tests"));
        }
    };
    Ok(of_speed(TRIAL_SECONDS as f64 / report.timing.encode_cpu_seconds.max(1e-6)))
}

/// How many times as fast as it plays a core encodes.
fn of_speed(times: f64) -> Finding {
    let says = format!("a core encodes {times:.0} times as fast as it plays");
    if times < SLOW {
        Finding::warning("lame", says, "the machine is busy, or LAME was built without -O3")
    } else {
        Finding::ok("lame", says)
    }
}

/// Mono noise, as a WAV of 16 bits.
fn noise() -> Vec<u8> {
    let bytes = (TRIAL_SECONDS * TRIAL_RATE_HZ * 2) as u32;
    let rate = TRIAL_RATE_HZ as u32;
    let mut wav = Vec::with_capacity(44 + bytes as usize);
    wav.extend(b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    wav.extend([1_u16, 1].map(u16::to_le_bytes).concat());
    wav.extend([rate, rate * 2].map(u32::to_le_bytes).concat());
    wav.extend([2_u16, 16].map(u16::to_le_bytes).concat());
    wav.extend(b"data");
    wav.extend(bytes.to_le_bytes());
    let mut random = fastrand::Rng::with_seed(1);
    wav.extend((0..bytes / 2).flat_map(|_| random.i16(-8192..8192).to_le_bytes()));
    wav
}

#[cfg(test)]
mod tests {
    use super::super::tests::verdicts_of;
    use super::*;

    #[test]
    fn speed_is_judged_at_its_bound() {
        assert_eq!(verdicts_of(&[of_speed(14.9), of_speed(15.0)]), ["warning", "ok"]);
    }
}

//! Segmented encoding is as good as serial LAME: same length, same size, the same distance from the
//! source, and no more of it at the seams than elsewhere.
//!
//! The quick tier runs on made sound; with `TONEMILL_LONG=1` it runs on ten minutes of real music
//! and speech (a WAV named by `TONEMILL_MUSIC`) over every mode, rate and channel count, and prints
//! the table that docs/tuning.md quotes.

mod support;

use std::process::Command;

use support::{Planes, convert, decode, music, pool, wav};
use tonemill_codec::{
    Bitrate, BitrateMode, MeanBitrate, Mp3Settings, Options, Segmentation, VbrLevel,
};

/// Longer than anything encoded here: one segment, which is plain serial LAME.
const SERIAL: Segmentation = Segmentation { frames: 1 << 24, warm_up_frames: 0 };

/// Segmented against serial.
#[derive(Debug)]
struct Comparison {
    serial_snr_db: f64,
    segmented_snr_db: f64,
    /// Error in the frames around seams, segmented over serial, in dB.
    seam_excess_db: f64,
    /// Size, segmented over serial.
    size_ratio: f64,
}

fn compare(source: &Planes, rate: u32, mode: BitrateMode, cut: Segmentation) -> Comparison {
    let input = wav(source, rate);
    let channels = source.len();
    let pool = pool(2);
    let encode = |segmentation| {
        let mp3 = Mp3Settings { mode, ..Mp3Settings::default() };
        let options = Options { mp3, segmentation, ..Options::default() };
        let (mp3, _) = convert(input.clone(), &options, &pool);
        let decoded = decode(&mp3, channels);
        assert_eq!(decoded[0].len(), source[0].len(), "{mode} at {rate} Hz loses length");
        (mp3.len(), decoded)
    };
    let (serial_bytes, serial) = encode(SERIAL);
    let (segmented_bytes, segmented) = encode(cut);
    let frame = if rate >= 32_000 { 1152 } else { 576 };
    let seam = |i: usize| {
        let at = i % (cut.frames * frame);
        i >= cut.frames * frame && at < 3 * frame
    };
    let everywhere = |_| true;
    let signal = energy(source, everywhere);
    let error = |decoded: &Planes| difference(source, decoded);
    let (serial_error, segmented_error) = (error(&serial), error(&segmented));
    let snr = |error: &Planes| 10.0 * (signal / energy(error, everywhere)).log10();
    Comparison {
        serial_snr_db: snr(&serial_error),
        segmented_snr_db: snr(&segmented_error),
        seam_excess_db: 10.0
            * (energy(&segmented_error, seam) / energy(&serial_error, seam)).log10(),
        size_ratio: segmented_bytes as f64 / serial_bytes as f64,
    }
}

fn difference(a: &Planes, b: &Planes) -> Planes {
    let minus = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
    a.iter().zip(b).map(minus).collect()
}

fn energy(planes: &Planes, wanted: impl Fn(usize) -> bool) -> f64 {
    let of = |plane: &Vec<f32>| -> f64 {
        let samples = plane.iter().enumerate().filter(|(i, _)| wanted(*i));
        samples.map(|(_, s)| f64::from(*s) * f64::from(*s)).sum()
    };
    planes.iter().map(of).sum()
}

fn modes() -> Vec<BitrateMode> {
    let cbr = |kbps| BitrateMode::Cbr(Bitrate::new(kbps).unwrap());
    let vbr = |level| BitrateMode::Vbr(VbrLevel::new(level).unwrap());
    let abr = BitrateMode::Abr(MeanBitrate::new(192).unwrap());
    vec![cbr(128), cbr(192), cbr(320), abr, vbr(0), vbr(2), vbr(5)]
}

fn check(name: &str, comparison: &Comparison) {
    let loss = comparison.serial_snr_db - comparison.segmented_snr_db;
    assert!(loss.abs() <= 0.05, "{name}: {comparison:?}");
    assert!(comparison.seam_excess_db <= 1.0, "{name}: {comparison:?}");
    assert!((comparison.size_ratio - 1.0).abs() <= 0.005, "{name}: {comparison:?}");
}

#[test]
fn segments_of_made_sound_are_as_good_as_serial() {
    for (mode, rate, channels) in [
        (modes()[1], 44_100, 2),
        (modes()[3], 48_000, 1),
        (modes()[5], 24_000, 2),
        (modes()[6], 44_100, 2),
    ] {
        let source = music(45.0, rate, channels);
        let comparison = compare(&source, rate, mode, Segmentation::default());
        check(&format!("{mode}, {rate} Hz, {channels} channels"), &comparison);
    }
}

#[test]
fn segments_of_real_sound_are_as_good_as_serial() {
    let music = std::env::var_os("TONEMILL_MUSIC");
    let Some(music) = music.filter(|_| std::env::var_os("TONEMILL_LONG").is_some()) else {
        println!("skipped: set TONEMILL_LONG=1 and TONEMILL_MUSIC=file.wav (make test-long does)");
        return;
    };
    println!("mode, rate, channels: SNR serial, segmented; seams; size");
    for rate in [44_100, 48_000, 32_000, 24_000, 16_000] {
        for channels in [2, 1] {
            let raw = Command::new("ffmpeg")
                .args(["-nostdin", "-v", "quiet", "-i"])
                .arg(&music)
                .args(["-ac", &channels.to_string(), "-ar", &rate.to_string()])
                .args(["-f", "f32le", "-c:a", "pcm_f32le", "-"])
                .output()
                .expect("ffmpeg is installed by scripts/setup.sh")
                .stdout;
            let mut source = vec![Vec::new(); channels];
            for (i, bytes) in raw.chunks_exact(4).enumerate() {
                source[i % channels].push(f32::from_le_bytes(bytes.try_into().unwrap()));
            }
            assert!(source[0].len() >= 600 * rate as usize, "ten minutes at least");
            for mode in modes() {
                let c = compare(&source, rate, mode, Segmentation::default());
                println!(
                    "| {mode} | {rate} | {channels} | {:.3} | {:.3} | {:+.2} | {:.4} |",
                    c.serial_snr_db, c.segmented_snr_db, c.seam_excess_db, c.size_ratio
                );
                check(&format!("{mode}, {rate} Hz, {channels} channels"), &c);
            }
        }
    }
}

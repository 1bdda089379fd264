//! The program and the machine: decoders, the encoder's speed, disks, descriptors.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use rayon::ThreadPoolBuilder;
use rustix::process::{Resource, getrlimit};
use tonemill_codec::{CancelToken, Options, SeekSink, ffmpeg, transcode};

use super::Finding;
use crate::disks::{Disks, Room};
use crate::failure::Failure;
use crate::text::shown;

/// How long what is encoded to see how fast LAME is, in seconds.
const TRIAL_SECONDS: usize = 5;
const TRIAL_RATE_HZ: usize = 44_100;
/// On a core of today LAME is faster than so many times real time, unless it was built without
/// optimisation.
const SLOW: f64 = 15.0;
/// Connections, files and sockets of a busy process.
const DESCRIPTORS: u64 = 4096;
/// A disk of which less is free is short of room, or as good as full, in percent. The same as of
/// `DiskShort` and `DiskFull` in `deploy/prometheus/alerts.yaml`.
const SHORT: f64 = 15.0;
const FULL: f64 = 5.0;

pub(super) fn look(disks: &Disks) -> Result<Vec<Finding>, Failure> {
    let mut findings = vec![decoders(), encoder()?];
    let mut folders: Vec<&PathBuf> = disks.data.iter().chain(&disks.store).collect();
    folders.dedup();
    // Of a folder that is not there tells whoever wants something from it.
    let rooms = folders.into_iter().filter_map(|folder| Some((folder, Room::of(folder)?)));
    findings.extend(rooms.map(|(folder, room)| of_room(folder, room)));
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    findings.push(of_descriptors(most));
    Ok(findings)
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

fn of_room(folder: &Path, room: Room) -> Finding {
    let Room { free_bytes, size_bytes } = room;
    let percent = 100.0 * free_bytes / size_bytes.max(1.0);
    let gigabytes = free_bytes / 1e9;
    let says = format!("{gigabytes:.1} GB of {} are free ({percent:.0} %)", shown(folder));
    if percent < FULL {
        Finding::bad("disk", says, "make room: nothing is accepted when it is full")
    } else if percent < SHORT {
        Finding::warning("disk", says, "make room soon")
    } else {
        Finding::ok("disk", says)
    }
}

fn of_descriptors(most: u64) -> Finding {
    let says = format!("a process may have {most} descriptors");
    if most < DESCRIPTORS {
        Finding::warning("limits", says, "raise `ulimit -n` to 4,096 or more")
    } else {
        Finding::ok("limits", says)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::verdicts_of;
    use super::*;

    #[test]
    fn room_speed_and_descriptors_are_judged_at_their_bounds() {
        let room = |free_bytes| of_room(Path::new("/data"), Room { free_bytes, size_bytes: 100.0 });
        for (free_bytes, due) in
            [(0.0, "bad"), (4.9, "bad"), (5.0, "warning"), (14.9, "warning"), (15.0, "ok")]
        {
            assert_eq!(verdicts_of(&[room(free_bytes)]), [due], "{free_bytes}");
        }
        let nothing = Room { free_bytes: 0.0, size_bytes: 0.0 };
        assert_eq!(verdicts_of(&[of_room(Path::new("/data"), nothing)]), ["bad"]);
        assert_eq!(verdicts_of(&[of_speed(14.9), of_speed(15.0)]), ["warning", "ok"]);
        let descriptors = [4095, 4096, u64::MAX].map(of_descriptors);
        assert_eq!(verdicts_of(&descriptors), ["warning", "ok", "ok"]);
    }

    /// Whoever is not called by the alerts is not warned by us, and the other way round.
    #[test]
    fn disks_are_short_where_the_alerts_say_so() {
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/prometheus/alerts.yaml");
        let rules = std::fs::read_to_string(rules).expect("the rules");
        for (alert, percent) in [("DiskShort", SHORT), ("DiskFull", FULL)] {
            let rest = rules.split(&format!("- alert: {alert}\n")).nth(1).expect("a rule");
            let rule = rest.split("- alert:").next().expect("a rule");
            let share = format!("< {}", percent / 100.0);
            assert!(rule.contains(&share), "{share}: {rule}");
        }
    }
}

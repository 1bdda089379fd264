//! Small files that want to become large, and what they cost those beside them.

use std::sync::Arc;
use std::time::Duration;

use tonemill_job::JobId;
use tonemill_job::message::{FailureKind, now_ms};

use crate::arena::{Arena, PATIENCE};
use crate::clips::{self, Clip};
use crate::recorder::End;
use crate::support::fixtures;
use crate::{is_full, report, size};

/// What a worker with four jobs may have resident.
const RSS_CAP_MIB: u64 = 512;

/// Fault test 21.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_and_disturb_nobody() {
    let refused = refused();
    let clips = 6 * every() * size(5, 1);
    let without = run(clips, &[]).await;
    let bombs = [&refused[..], &[cover()]].concat();
    let with = run(clips, &bombs).await;
    let change = 100.0 * (with.p95_ms as f64 / without.p95_ms as f64 - 1.0);
    report(
        21,
        &format!(
            "{clips} clips beside {} bombs, refused within {} ms; p95 {} ms against {} ms without \
             ({change:+.0} %), peak RSS {} MiB against {} MiB",
            clips / every(),
            with.longest_bomb_ms,
            with.p95_ms,
            without.p95_ms,
            with.peak_mib,
            without.peak_mib,
        ),
    );
    assert!(with.peak_mib < RSS_CAP_MIB, "{} MiB", with.peak_mib);
    if is_full() {
        assert!(with.longest_bomb_ms < 5_000, "{} ms", with.longest_bomb_ms);
        assert!(change <= 20.0, "p95 rose by {change} %");
    }
}

/// One bomb to so many clips.
fn every() -> usize {
    size(10, 4)
}

struct Run {
    /// Of the clips, from being queued to their end.
    p95_ms: u64,
    longest_bomb_ms: u64,
    peak_mib: u64,
}

/// Queues a clip every now and then, less often than one worker could take, and bombs among them.
async fn run(clips: usize, bombs: &[Arc<Clip>]) -> Run {
    let mut arena = Arena::new().await;
    let mut worker = arena.worker(&[]);
    arena.submit(2, clips::all()).await;
    assert_eq!(arena.wait().await, 2, "{}", arena.log());
    let (mut bombs, mut good) = (bombs.iter().cycle(), clips::all().iter().cycle());
    let (mut queued, mut harmful) = (Vec::new(), Vec::new());
    let mut clock = tokio::time::interval(Duration::from_millis(100));
    for n in 0..clips {
        let bomb = (n % every() == 0).then(|| bombs.next()).flatten();
        for clip in bomb.into_iter().chain(good.next()) {
            let ids = arena.submit(1, std::slice::from_ref(clip)).await;
            queued.push((ids[0], now_ms(), bomb.is_some_and(|bomb| Arc::ptr_eq(bomb, clip))));
            if clip.reference.is_empty() {
                harmful.push(ids[0]);
            }
        }
        clock.tick().await;
    }
    assert_eq!(arena.recorder.wait_for_ends(arena.jobs.len(), PATIENCE).await, arena.jobs.len());
    arena.check_with(1, &harmful).await.assert_sound(&arena);
    assert_refused_for_good(&arena, &harmful);
    let peak_mib = worker.memory().1 >> 20;
    worker.drain_worker().await;
    let book = arena.recorder.book();
    let took =
        |(job, at_ms, _): &(JobId, u64, bool)| book.jobs[job].ended_ms.saturating_sub(*at_ms);
    let mut times: Vec<u64> = queued.iter().filter(|queued| !queued.2).map(took).collect();
    times.sort_unstable();
    let bomb_times = queued.iter().filter(|queued| queued.2).map(took);
    Run {
        p95_ms: times[times.len() * 95 / 100],
        longest_bomb_ms: bomb_times.max().unwrap_or_default(),
        peak_mib,
    }
}

/// Once, with a reason, and for what they are.
fn assert_refused_for_good(arena: &Arena, harmful: &[JobId]) {
    let book = arena.recorder.book();
    for job in harmful {
        let (record, name) = (&book.jobs[job], arena.jobs[job].name);
        let End::Failed(failure) = &record.ends[0] else { panic!("{name}: {record:?}") };
        let wrong = [FailureKind::BadInput, FailureKind::LimitExceeded];
        assert!(wrong.contains(&failure.kind), "{name}: {failure:?}");
        assert_eq!(record.attempts, 1, "{name}");
    }
}

/// Nothing comes of these.
fn refused() -> Vec<Arc<Clip>> {
    let silence = ["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono:n=65535", "-t", "86400"];
    let flac = ["-c:a", "flac", "-compression_level", "0", "-frame_size", "65535"];
    let silence = fixtures::made("silence.flac", &[&silence[..], &flac[..]].concat());
    let silence = std::fs::read(silence).expect("a fixture");

    let mp4 = &clips::all()[0].bytes;
    // Each track's number of samples, sizes included: 268 million.
    let mut samples = mp4.clone();
    for at in find(mp4, b"stsz") {
        samples[at + 12..at + 16].copy_from_slice(&0x0fff_ffff_u32.to_be_bytes());
    }
    // A box longer than any file.
    let mut endless = mp4.clone();
    let at = find(mp4, b"mdat")[0];
    endless[at - 4..at].copy_from_slice(&1_u32.to_be_bytes());
    endless[at + 4..at + 12].copy_from_slice(&(1_u64 << 63).to_be_bytes());
    let mut wav = std::fs::read(fixtures::path("s16.wav")).expect("a fixture");
    let at = find(&wav, b"fmt ")[0];
    wav[at + 10..at + 12].copy_from_slice(&u16::MAX.to_le_bytes());

    vec![
        Clip::junk("a day of silence", silence),
        Clip::junk("a thousand tracks", with_tracks(mp4, 1000)),
        Clip::junk("268 million samples", samples),
        Clip::junk("an endless box", endless),
        Clip::junk("65535 channels", wav),
    ]
}

/// A sound MP3 whose cover would take 256 MB to show.
fn cover() -> Arc<Clip> {
    let sound = fixtures::path("lame.mp3");
    let sound = sound.to_str().expect("build folders have plain names");
    let path = fixtures::made(
        "cover.mp3",
        &[
            ["-i", sound, "-f", "lavfi", "-i", "color=black:size=16000x16000:rate=1:duration=1"],
            ["-map", "0", "-map", "1", "-c:a", "copy"],
            ["-c:v", "png", "-pix_fmt", "gray", "-disposition:v", "attached_pic"],
        ]
        .concat(),
    );
    clips::usual("a huge cover", std::fs::read(path).expect("a fixture"))
}

/// An MP4, whose index is at its end, with its last track so many times.
fn with_tracks(mp4: &[u8], tracks: usize) -> Vec<u8> {
    let length =
        |at: usize| u32::from_be_bytes(mp4[at - 4..at].try_into().expect("four bytes")) as usize;
    let moov = find(mp4, b"moov")[0];
    let track = *find(mp4, b"trak").last().expect("a track");
    let box_of_track = &mp4[track - 4..track - 4 + length(track)];
    let end = track - 4 + length(track);
    let mut bytes = mp4[..end].to_vec();
    for _ in 1..tracks {
        bytes.extend_from_slice(box_of_track);
    }
    bytes.extend_from_slice(&mp4[end..]);
    let moov_bytes = length(moov) + (tracks - 1) * box_of_track.len();
    bytes[moov - 4..moov].copy_from_slice(&u32::try_from(moov_bytes).expect("small").to_be_bytes());
    bytes
}

/// Where these four letters are.
fn find(bytes: &[u8], name: &[u8; 4]) -> Vec<usize> {
    let at = bytes.windows(4).enumerate().filter(|(_, window)| window == name);
    at.map(|(at, _)| at).collect()
}

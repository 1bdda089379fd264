//! `cargo bench`: what each part of a conversion costs, and what the choices are worth.
//!
//! Groups: `decode` by codec and library, `encode` by setting, `segments` by length and warm-up (on
//! one thread, so that all differences are CPU), `transcode` whole on one and two threads. All on
//! the same minute of sound: the music of `TONEMILL_MUSIC` (any file FFmpeg reads), else made
//! noise and tones. Throughput is in samples per channel. docs/tuning.md argues from the results.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tonemill_codec::{
    Bitrate, BitrateMode, CancelToken, DecoderKind, Limits, MeanBitrate, Mp3Settings, Options,
    Quality, SeekSink, Segmentation, TrackChoice, VbrLevel, decode, transcode,
};

const SECONDS: u64 = 60;
const RATE_HZ: u64 = 44_100;

/// Encodes the minute with the ffmpeg CLI, once.
fn media(name: &str, codec: &[&str]) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("codec-bench");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let path = folder.join(name);
    if !path.exists() {
        ffmpeg(codec, &path);
    }
    fs::read(path).expect("ffmpeg wrote it")
}

fn ffmpeg(codec: &[&str], path: &PathBuf) {
    let made =
        "aevalsrc=0.3*sin(2*PI*t*(300+100*sin(t)))+0.2*(random(0)-0.5)|0.3*sin(500*PI*t):s=44100";
    let music = std::env::var("TONEMILL_MUSIC");
    let input = match &music {
        Ok(file) => vec!["-ss", "60", "-i", file],
        Err(_) => vec!["-f", "lavfi", "-i", made],
    };
    let done = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "quiet", "-y"])
        .args(input)
        .args(["-t", &SECONDS.to_string(), "-vn", "-ac", "2", "-ar", &RATE_HZ.to_string()])
        .args(codec)
        .arg(path)
        .status()
        .expect("ffmpeg is installed by scripts/setup.sh");
    assert!(done.success(), "{}", path.display());
}

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started")
}

/// Converts in memory; the samples written, as proof of equal work.
fn convert(input: &[u8], options: &Options, pool: &ThreadPool) -> u64 {
    let input = Cursor::new(input.to_vec());
    let mut output = Cursor::new(Vec::new());
    let sink = SeekSink(&mut output);
    transcode(input, sink, options, pool, &CancelToken::new(), |_| {})
        .expect("the input is good")
        .output
        .samples
}

fn decoders(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(SECONDS * RATE_HZ)).sample_size(10);
    for (name, codec) in [
        ("pcm.wav", &["-c:a", "pcm_s16le"][..]),
        ("flac.flac", &["-c:a", "flac"]),
        ("alac.m4a", &["-c:a", "alac"]),
        ("aac.m4a", &["-c:a", "aac", "-b:a", "192k"]),
        ("mp3.mp3", &["-c:a", "libmp3lame", "-b:a", "192k"]),
        ("vorbis.ogg", &["-c:a", "libvorbis"]),
        ("opus.ogg", &["-ar", "48000", "-c:a", "libopus", "-b:a", "160k"]),
        ("ac3.mkv", &["-c:a", "ac3"]),
    ] {
        let input = media(name, codec);
        for kind in [DecoderKind::Ffmpeg, DecoderKind::Symphonia] {
            let run = || {
                let source = Cursor::new(input.clone());
                let (track, limits) = (TrackChoice::Auto, Limits::default());
                let mut samples = 0;
                let take = |block: &tonemill_codec::pcm::PcmBlock| samples += block.len();
                decode(source, kind, &track, &limits, &CancelToken::new(), take).map(|_| samples)
            };
            if run().is_ok() {
                let id = BenchmarkId::new(format!("{kind:?}"), name);
                group.bench_function(id, |bencher| bencher.iter(run));
            }
        }
    }
    group.finish();
}

fn settings(criterion: &mut Criterion) {
    let cbr = |kbps| BitrateMode::Cbr(Bitrate::new(kbps).expect("it exists"));
    let abr = |kbps| BitrateMode::Abr(MeanBitrate::new(kbps).expect("it exists"));
    let vbr = |level| BitrateMode::Vbr(VbrLevel::new(level).expect("it exists"));
    let input = media("pcm.wav", &["-c:a", "pcm_s16le"]);
    let pool = pool(1);
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(SECONDS * RATE_HZ)).sample_size(10);
    for (mode, quality) in [
        (cbr(192), 0),
        (cbr(192), 2),
        (cbr(192), 3),
        (cbr(192), 5),
        (cbr(192), 7),
        (cbr(192), 9),
        (cbr(128), 3),
        (cbr(320), 3),
        (abr(192), 3),
        (vbr(0), 3),
        (vbr(2), 3),
        (vbr(5), 3),
    ] {
        let quality = Quality::new(quality).expect("it exists");
        let mp3 = Mp3Settings { mode, quality, ..Mp3Settings::default() };
        let options = Options { mp3, ..Options::default() };
        let id = BenchmarkId::new(mode.to_string(), format!("q{quality}"));
        group.bench_function(id, |bencher| bencher.iter(|| convert(&input, &options, &pool)));
    }
    group.finish();
}

fn segments(criterion: &mut Criterion) {
    let input = media("pcm.wav", &["-c:a", "pcm_s16le"]);
    let pool = pool(1);
    let mut group = criterion.benchmark_group("segments");
    group.throughput(Throughput::Elements(SECONDS * RATE_HZ)).sample_size(10);
    let serial = (1 << 20, 0);
    for (frames, warm_up_frames) in
        [serial, (128, 4), (256, 4), (512, 1), (512, 4), (512, 10), (512, 20), (1024, 4)]
    {
        let segmentation = Segmentation { frames, warm_up_frames };
        let options = Options { segmentation, ..Options::default() };
        let id = BenchmarkId::new(format!("{frames} frames"), format!("{warm_up_frames} warm-up"));
        group.bench_function(id, |bencher| bencher.iter(|| convert(&input, &options, &pool)));
    }
    group.finish();
}

fn whole(criterion: &mut Criterion) {
    let picture = ["-c:a", "aac", "-b:a", "192k"];
    let input = media("aac.m4a", &picture);
    let mut group = criterion.benchmark_group("transcode");
    group.throughput(Throughput::Elements(SECONDS * RATE_HZ)).sample_size(10);
    for threads in [1, 2] {
        for decoder in [DecoderKind::Ffmpeg, DecoderKind::Symphonia] {
            let pool = pool(threads);
            let options = Options { decoder, ..Options::default() };
            let id = BenchmarkId::new(format!("{decoder:?}"), format!("{threads} threads"));
            group.bench_function(id, |bencher| bencher.iter(|| convert(&input, &options, &pool)));
        }
    }
    group.finish();
}

criterion_group!(benches, decoders, settings, segments, whole);
criterion_main!(benches);

//! Short inputs of several kinds, and what an undisturbed conversion makes of them.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tonemill_codec::{
    Bitrate, BitrateMode, CancelToken, Mp3Settings, Options, Quality, SeekSink, transcode,
};

use tonemill_job::JobOptions;

use crate::support::chaos::is_full;
use crate::support::fixtures;

/// An input and its MP3.
pub struct Clip {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub options: JobOptions,
    pub reference: Vec<u8>,
}

impl Clip {
    /// A file that is no clip: nothing comes of it.
    pub fn junk(name: &'static str, bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { name, bytes, options: JobOptions::default(), reference: Vec::new() })
    }
}

/// Two or three seconds of sound in the containers that people upload.
pub fn all() -> &'static [Arc<Clip>] {
    static CLIPS: OnceLock<Vec<Arc<Clip>>> = OnceLock::new();
    CLIPS.get_or_init(|| {
        ["aac.mp4", "aac_moov_front.mp4", "aac.mkv", "aac.ts", "lame.mp3"].map(clip).to_vec()
    })
}

/// Short clips and, at full size, some that take a second or two, so that a run lasts for many
/// kills.
pub fn mixed() -> Vec<Arc<Clip>> {
    let mut clips = all().to_vec();
    if is_full() {
        clips.extend([long(120), long(180)]);
    }
    clips
}

fn clip(name: &'static str) -> Arc<Clip> {
    usual(name, std::fs::read(fixtures::path(name)).expect("a fixture"))
}

/// A clip of its own: minutes of sound, which take a second or more to convert.
pub fn long(seconds: u32) -> Arc<Clip> {
    static CLIPS: Mutex<BTreeMap<u32, Arc<Clip>>> = Mutex::new(BTreeMap::new());
    let mut clips = CLIPS.lock().unwrap_or_else(PoisonError::into_inner);
    let clip = clips.entry(seconds).or_insert_with(|| usual("long.m4a", sweep(seconds)));
    Arc::clone(clip)
}

/// Minutes of sound that take little time and many bytes: three parts of an upload for ten of them.
pub fn wide(seconds: u32) -> Arc<Clip> {
    let bytes = sweep(seconds);
    let (kbps, effort) = (320, 9);
    let mode = BitrateMode::Cbr(Bitrate::new(kbps).expect("a bitrate"));
    let quality = Quality::new(effort).expect("a quality");
    let mp3 = Mp3Settings { mode, quality, ..Mp3Settings::default() };
    let reference = converted(&bytes, &Options { mp3, ..Options::default() });
    let options = JobOptions {
        bitrate_kbps: Some(kbps.into()),
        quality: Some(effort),
        ..JobOptions::default()
    };
    Arc::new(Clip { name: "wide.m4a", bytes, options, reference })
}

/// A clip with the usual options.
pub fn usual(name: &'static str, bytes: Vec<u8>) -> Arc<Clip> {
    let reference = converted(&bytes, &Options::default());
    Arc::new(Clip { name, bytes, options: JobOptions::default(), reference })
}

fn sweep(seconds: u32) -> Vec<u8> {
    let name = format!("long{seconds}.m4a");
    let source =
        format!("aevalsrc=0.3*sin(2*PI*(200+t)*t)|0.3*sin(2*PI*(300+t)*t):s=44100:d={seconds}");
    let path = fixtures::made(&name, &["-f", "lavfi", "-i", &source, "-c:a", "aac"]);
    std::fs::read(path).expect("a fixture")
}

fn converted(bytes: &[u8], options: &Options) -> Vec<u8> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
    let mut output = Cursor::new(Vec::new());
    transcode(
        Cursor::new(bytes.to_vec()),
        SeekSink(&mut output),
        options,
        &pool,
        &CancelToken::new(),
        |_| {},
    )
    .expect("a sound fixture");
    output.into_inner()
}

//! Short inputs of several kinds, and what an undisturbed conversion makes of them.

use std::io::Cursor;
use std::sync::{Arc, OnceLock};

use tonemill_codec::{CancelToken, Options, SeekSink, transcode};

use crate::support::fixtures;

/// An input and its MP3.
pub struct Clip {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub reference: Vec<u8>,
}

/// Two or three seconds of sound in the containers that people upload.
pub fn all() -> &'static [Arc<Clip>] {
    static CLIPS: OnceLock<Vec<Arc<Clip>>> = OnceLock::new();
    CLIPS.get_or_init(|| {
        ["aac.mp4", "aac_moov_front.mp4", "aac.mkv", "aac.ts", "lame.mp3"].map(clip).to_vec()
    })
}

fn clip(name: &'static str) -> Arc<Clip> {
    let bytes = std::fs::read(fixtures::path(name)).expect("a fixture");
    let reference = converted(&bytes);
    Arc::new(Clip { name, bytes, reference })
}

/// A clip of its own: minutes of sound, which take a second or more to convert.
pub fn long(seconds: u32) -> Arc<Clip> {
    let name = format!("long{seconds}.m4a");
    let source =
        format!("aevalsrc=0.3*sin(2*PI*(200+t)*t)|0.3*sin(2*PI*(300+t)*t):s=44100:d={seconds}");
    let path = fixtures::made(&name, &["-f", "lavfi", "-i", &source, "-c:a", "aac"]);
    let bytes = std::fs::read(path).expect("a fixture");
    let reference = converted(&bytes);
    Arc::new(Clip { name: "long.m4a", bytes, reference })
}

fn converted(bytes: &[u8]) -> Vec<u8> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
    let mut output = Cursor::new(Vec::new());
    transcode(
        Cursor::new(bytes.to_vec()),
        SeekSink(&mut output),
        &Options::default(),
        &pool,
        &CancelToken::new(),
        |_| {},
    )
    .expect("a sound fixture");
    output.into_inner()
}

//! What Tonemill's benchmark programs share.
//!
//! The criterion benchmarks under `benches/` time the codec from within; [`peers`] times the whole
//! program against the other ways of getting an MP3 out of a video.

pub mod peers;

//! MP3: settings, segments encoded in parallel, and what surrounds the frames.
//!
//! PCM enters the cutter of `segment`, leaves as independent segments for the pool, and comes back
//! as frames that are joined in order. A segment's length never depends on the number of threads,
//! so neither do the bytes.

pub(crate) mod assemble;
pub(crate) mod header;
pub(crate) mod id3;
pub mod outline;
pub(crate) mod seek_table;
pub(crate) mod segment;
pub mod settings;
pub mod tag;

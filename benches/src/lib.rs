//! What Tonemill's benchmark programs share.
//!
//! The criterion benchmarks under `benches/` time the codec from within; [`peers`] times the whole
//! program against the other ways of getting an MP3 out of a video; [`pool`] measures workers over a real
//! Redis and a real S3 server, [`service`] the API and the ledger in front of them.

pub mod peers;
pub mod pool;
pub mod service;

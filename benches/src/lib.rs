//! What Tonemill's benchmark programs share.
//!
//! The criterion benchmarks under `benches/` time the codec from within; [`peers`] times the whole
//! program against the other ways of getting an MP3 out of a video; [`pool`] measures workers over
//! a real Redis and a real S3 server, [`service`] the API and the ledger in front of them;
//! [`scaling`] computes and simulates what follows.

pub mod error;
pub mod machine;
pub mod peers;
mod place;
pub mod pool;
mod process;
pub mod scaling;
pub mod service;
pub mod statistics;

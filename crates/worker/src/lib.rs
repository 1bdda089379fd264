//! The worker pool: takes jobs from a queue, converts uploads from an object store while they come
//! in and outputs go out, and loses none, whatever dies.
//!
//! The way of a job, which is also the order in which to read:
//!
//! 1. `consumer`: permit, receive, spawn. `running` knows the jobs, a `Shutdown` ends them.
//! 2. `job`: a job under its `lease`, from start to settlement; `control` stops it.
//! 3. `attempt`: upload to output, on a thread of its own; `range_reader` and `output` are its ends
//!    in the object store, `coverage` what it has seen of the upload.
//! 4. `isolate`: the same in a process of its own, for a job under suspicion.
//! 5. `failure`: what went wrong, and what follows.
//!
//! `state` and `stages` tell the outside how it goes, `config` how large the worker is.

#![forbid(unsafe_code)]

mod attempt;
mod config;
mod consumer;
mod control;
mod coverage;
pub mod failure;
mod fault;
pub mod isolate;
mod job;
mod lease;
mod options;
mod output;
mod range_reader;
mod running;
#[cfg(feature = "faults")]
mod sabotage;
mod stages;
mod state;

pub use config::{Size, WorkerConfig};
pub use consumer::Worker;
pub use lease::RENEWALS;
pub use options::codec_options;
pub use state::WorkerState;
pub use tonemill_job::InvalidOption;

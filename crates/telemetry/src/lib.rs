//! What a process says of itself: metrics, traces, a log, and the port at which it is asked; and how
//! it is told to end.
//!
//! | module | what |
//! |---|---|
//! | [`catalogue`] | every metric, its kind, labels and meaning, on one page |
//! | [`metrics`] | keeps them, and renders them for Prometheus |
//! | [`trace`] | spans that belong to one trace, whichever process they are in |
//! | [`log`] | starts the log and the traces of a process |
//! | `export` | sends spans to a collector |
//! | [`health`] | what a process needs, and whether it answers |
//! | [`admin`] | the port of a process that has no API |
//! | `shutdown` | how a process is told to end, and how it ended |

#![forbid(unsafe_code)]

pub mod admin;
pub mod catalogue;
mod export;
pub mod health;
pub mod log;
pub mod metrics;
mod shutdown;
pub mod trace;

pub use export::ExportError;
pub use health::Part;
pub use metrics::Metrics;
pub use shutdown::{Ended, Shutdown};

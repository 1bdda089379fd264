//! Workers as operators run them, over a real Redis and a real S3 server, while things break.
//!
//! Each test plays the service's part (`arena`, `recorder`), breaks something, and has the checker
//! (`checker`) prove that nothing was lost and nothing was done twice. The quick tier runs small
//! versions; with `TONEMILL_CHAOS=1` they run at full size (`make chaos`), and hold what takes time
//! against its limits. `TONEMILL_SEED` repeats a run as far as chance is ours; with
//! `TONEMILL_S3=garage` the store is Garage.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod arena;
mod bombs;
mod bucket;
mod checker;
mod clips;
mod crashes;
mod deaths;
mod recorder;
mod sabotage;
mod stalls;
mod storms;
mod submit;
mod tls;

use support::chaos::{is_full, report, seeded, size};

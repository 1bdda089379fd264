//! Workers as operators run them, over a real Redis and a real S3 server, while things break.
//!
//! Each test plays the service's part (`arena`, `recorder`), breaks something, and has the checker
//! (`checker`) prove that nothing was lost and nothing was done twice. The quick tier runs small
//! versions; with `TONEMILL_CHAOS=1` they run at full size (`make chaos`).

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod arena;
mod checker;
mod clips;
mod crashes;
mod deaths;
mod recorder;
mod sabotage;
mod storms;
mod submit;

/// The full number, or the small one in the quick tier.
fn size(full: usize, quick: usize) -> usize {
    if std::env::var_os("TONEMILL_CHAOS").is_some() { full } else { quick }
}

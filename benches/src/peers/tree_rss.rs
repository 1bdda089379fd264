//! The memory of a process and all its descendants together, sampled.
//!
//! The kernel keeps a peak for one process, none for a group; for programs that work in children
//! (moviepy, xargs) the resident sizes are added up every 20 ms. Pages that processes share count
//! once for each. A sample costs some 0.1 ms, and only such programs are sampled.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(20);
const PAGE_BYTES: u64 = 4096;

/// A running sampler.
#[derive(Debug)]
pub struct TreeRss {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl TreeRss {
    /// Starts sampling the process `root` and its descendants.
    #[must_use]
    pub fn watch(root: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut peak = 0;
            while !told.load(Ordering::Relaxed) {
                peak = peak.max(resident_bytes(root));
                thread::sleep(INTERVAL);
            }
            peak
        });
        Self { stop, thread }
    }

    /// Stops; the highest sum seen, in bytes.
    #[must_use]
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(0)
    }
}

/// Processes that end meanwhile count as nothing.
fn resident_bytes(process: u32) -> u64 {
    let own = fs::read_to_string(format!("/proc/{process}/statm"))
        .ok()
        .and_then(|statm| statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    own * PAGE_BYTES + children(process).into_iter().map(resident_bytes).sum::<u64>()
}

/// A child belongs to the thread that started it, so every thread is asked.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

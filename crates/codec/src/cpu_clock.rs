//! CPU time of the calling thread.

use rustix::time::{ClockId, clock_gettime};

/// Measures the calling thread's CPU time from lap to lap.
pub(crate) struct CpuClock {
    last_seconds: f64,
}

impl CpuClock {
    pub(crate) fn start() -> Self {
        Self { last_seconds: now() }
    }

    /// CPU seconds since the start or the last lap.
    pub(crate) fn lap(&mut self) -> f64 {
        let now = now();
        let lap = now - self.last_seconds;
        self.last_seconds = now;
        lap
    }
}

fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

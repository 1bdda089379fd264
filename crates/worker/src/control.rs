//! The reins of one attempt: stops it, and tells whether it is alive.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tonemill_codec::CancelToken;

/// Why an attempt was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody does not want the job any more.
    Cancelled,
    /// Another worker has it.
    LeaseLost,
    /// This process ends.
    Shutdown,
    /// It does nothing any more.
    Hung,
}

/// Stops one attempt, from anywhere. Clones control the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    why: OnceLock<Stop>,
    codec: CancelToken,
    token: CancellationToken,
    started: Instant,
    /// Milliseconds after `started` at which it last showed that it is alive.
    alive_ms: AtomicU64,
    /// How many of its threads wait for the store or the queue, which have limits of their own.
    waiting: AtomicU32,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            why: OnceLock::new(),
            codec: CancelToken::new(),
            token: CancellationToken::new(),
            started: Instant::now(),
            alive_ms: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
        }
    }
}

impl Control {
    /// Stops the attempt. The first reason stays.
    pub(crate) fn stop(&self, why: Stop) {
        let _ = self.0.why.set(why);
        self.0.codec.cancel();
        self.0.token.cancel();
    }

    /// Why it was stopped, if it was.
    pub(crate) fn why(&self) -> Option<Stop> {
        self.0.why.get().copied()
    }

    /// Ends when the attempt is stopped.
    pub(crate) async fn stopped(&self) {
        self.0.token.cancelled().await;
    }

    /// What stops the codec.
    pub(crate) fn codec(&self) -> &CancelToken {
        &self.0.codec
    }

    /// Shows that the attempt is alive.
    pub(crate) fn alive(&self) {
        self.0.alive_ms.store(self.0.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Until the guard is dropped, the attempt waits for something that has a limit of its own.
    pub(crate) fn waiting(&self) -> Waiting<'_> {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// For how long it has shown no sign of life.
    pub(crate) fn silent_for(&self) -> Duration {
        if self.0.waiting.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let alive = Duration::from_millis(self.0.alive_ms.load(Ordering::Relaxed));
        self.0.started.elapsed().saturating_sub(alive)
    }
}

/// See [`Control::waiting`].
pub(crate) struct Waiting<'a>(&'a Control);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.alive();
        self.0.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let control = Control::default();
        assert_eq!(control.why(), None);
        control.clone().stop(Stop::LeaseLost);
        control.stop(Stop::Cancelled);
        assert_eq!(control.why(), Some(Stop::LeaseLost));
        assert!(control.codec().is_cancelled());
    }

    #[test]
    fn who_waits_is_not_silent() {
        let control = Control::default();
        let waiting = control.waiting();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(control.silent_for(), Duration::ZERO);
        drop(waiting);
        let end = Instant::now() + Duration::from_secs(10);
        while control.silent_for() < Duration::from_millis(3) {
            assert!(Instant::now() < end);
        }
    }
}

//! One clock for all replicas: the database's.
//!
//! Machines disagree about the time, some by hours. What is compared across processes (not before,
//! expires, leads until) is therefore told by the database's clock: ours, and how far it is off.

use std::sync::atomic::{AtomicI64, Ordering};

use tonemill_job::message::now_ms;

/// Tells the database's time.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// What to add to our own time, in milliseconds.
    offset_ms: AtomicI64,
}

impl Clock {
    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        own_ms().saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }

    /// The database said `now_ms`, between two looks at our own clock.
    pub(crate) fn set(&self, before_ms: i64, now_ms: i64, after_ms: i64) {
        let own = before_ms + (after_ms - before_ms) / 2;
        self.offset_ms.store(now_ms - own, Ordering::Relaxed);
    }
}

pub(crate) fn own_ms() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}

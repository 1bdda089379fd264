//! Redis: what waits for a worker, in the order in which workers are given it, and the workers that
//! wait for a job.

use std::collections::VecDeque;

/// Jobs that can be received, and workers that would.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Never received, or due again.
    pub(super) ready: VecDeque<usize>,
    /// Given back by workers that ended.
    pub(super) released: VecDeque<usize>,
    /// Their leases have ended.
    pub(super) expired: VecDeque<usize>,
    /// Workers with room. Some are gone meanwhile.
    pub(super) waiting: Vec<usize>,
    /// Jobs under a lease that nobody renews any more.
    pub(super) abandoned: usize,
}

impl Queue {
    /// What a worker receives; leases of others are looked at if that is due.
    pub(super) fn take(&mut self, reclaims: bool) -> Option<usize> {
        let expired = |queue: &mut Self| reclaims.then(|| queue.expired.pop_front()).flatten();
        let released = self.released.pop_front();
        released.or_else(|| expired(self)).or_else(|| self.ready.pop_front())
    }

    /// Who is given what comes: any of those who wait. Redis serves who has waited longest, but
    /// each gives up its place every second or so and takes the last one.
    pub(super) fn next_waiting(&mut self) -> Option<usize> {
        let count = self.waiting.len();
        (count > 0).then(|| self.waiting.swap_remove(fastrand::usize(..count)))
    }

    /// Entries under a lease of which no worker knows any more.
    pub(super) fn held(&self) -> usize {
        self.released.len() + self.expired.len() + self.abandoned
    }

    /// Entries of the stream that no worker has.
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.held()
    }
}

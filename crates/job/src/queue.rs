//! The queue: jobs on their way to workers under leases, and events on their way back.
//!
//! A worker [receives](Queue::receive) a job under a lease. As long as it renews the lease, the job
//! is its own; when it stops, because it died, was paused or cut off, another worker gets the job.
//! Only the holder of the lease can [settle](Queue::settle) the job, which ends the lease and tells
//! what became of it in one step: whoever lost the lease changes nothing.
//!
//! The queue carries, it does not keep: a service writes down what it accepts, and can fill an
//! empty queue again. A job may therefore be queued twice and end twice; the service counts the
//! first end.

pub mod measure;
pub mod memory;
pub mod redis;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::id::JobId;
use crate::message::{JobEvent, JobMessage, Lane, Progress, Reply};

/// Jobs to workers, events back.
///
/// Every call ends within the deadlines of its implementation.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync {
    /// The name of this process in the queue, which no other process has or had.
    fn worker(&self) -> &str;

    /// How long a lease lasts without being renewed.
    fn lease(&self) -> Duration;

    /// Puts jobs behind those that wait in their lanes. If that fails, the first ones may have been
    /// queued, if there are more than a few hundred or it failed
    /// [ambiguously](QueueError::ambiguous).
    async fn enqueue(&self, jobs: &[JobMessage]) -> Result<()>;

    /// The next job, under a lease: one that was released, one whose worker is dead, or one that
    /// waits, from a lane that is chosen by weight. `None` if there is none within `wait`.
    ///
    /// Take it only when the job can begin at once. Dropping the future may leave a job under a
    /// lease that nobody renews; the next call releases it.
    async fn receive(&self, wait: Duration) -> Result<Option<Delivery>>;

    /// Extends a lease to its full length from now.
    async fn renew(&self, lease: &LeaseToken) -> Result<Hold>;

    /// Ends a lease.
    async fn settle(&self, lease: &LeaseToken, settlement: &Settlement) -> Result<Hold>;

    /// Sends an event that does not end anything.
    async fn announce(&self, job: &JobMessage, event: &JobEvent) -> Result<()>;

    /// Asks for the end of a job, wherever it is.
    async fn cancel(&self, job: JobId) -> Result<()>;

    /// Which of `jobs` somebody asked to end.
    async fn cancelled(&self, jobs: &[JobId]) -> Result<Vec<JobId>>;

    /// Says how far a job is. Kept for a minute.
    async fn report_progress(&self, job: JobId, progress: Progress) -> Result<()>;

    /// How far a job is, if it was said within a minute.
    async fn progress(&self, job: JobId) -> Result<Option<Progress>>;

    /// Events to the service that nobody has confirmed, at most `max`, or none after `wait`. Those
    /// that were handed out and not confirmed come again, in the end.
    async fn events(&self, max: usize, wait: Duration) -> Result<Vec<(EventId, JobEvent)>>;

    /// Confirms events: they never come again.
    async fn confirm(&self, events: &[EventId]) -> Result<()>;

    /// Puts events aside that nobody can record: they never come again, and are kept for an
    /// operator where the queue outlives its processes.
    async fn set_aside(&self, events: &[EventId]) -> Result<()>;

    /// Events in a mailbox after `after`, or none after `wait`.
    async fn mail(
        &self,
        mailbox: Uuid,
        after: Option<&EventId>,
        wait: Duration,
    ) -> Result<Vec<(EventId, JobEvent)>>;

    /// Removes a mailbox.
    async fn close_mailbox(&self, mailbox: Uuid) -> Result<()>;

    /// What waits and what runs.
    async fn depth(&self) -> Result<Depth>;

    /// Every job that waits, is under a lease, was released or is delayed.
    ///
    /// A job that is in the queue throughout this call is among them, however it moves about
    /// meanwhile: one that was queued before the call and is not among them has ended. One that is
    /// queued, ends or is put aside during the call may be among them or not. What names no job is
    /// left out.
    ///
    /// The time that this takes grows with the queue, which is not held up by it. It fails as
    /// [`QueueErrorKind::Unavailable`] rather than miss a job. What a server forgets when another
    /// takes its place is missing, and so may be what moves while that happens.
    async fn jobs(&self) -> Result<HashSet<JobId>>;

    /// Removes this process's name from the queue, from among the workers unless it still holds
    /// leases, and from among those who are given events unless it has some that are not confirmed.
    async fn leave(&self) -> Result<()>;

    /// Whether the queue answers.
    async fn check(&self) -> Result<()>;

    /// The memory of the server that it is in; `None` if it is in no server's, or in several.
    async fn memory(&self) -> Result<Option<Memory>> {
        Ok(None)
    }
}

/// The memory of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What it uses.
    pub used_bytes: u64,
    /// What it may use; 0 is as much as there is.
    pub limit_bytes: u64,
}

/// A job that was received.
#[derive(Debug)]
pub struct Delivery {
    /// The job.
    pub message: JobMessage,
    /// What renews and settles it.
    pub lease: LeaseToken,
    /// How often it was received since it was queued, this time included. More than once means that
    /// a worker died with it, or was cut off.
    pub deliveries: u32,
}

/// What proves that a lease is held: this very delivery to this very process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseToken {
    pub(crate) job: JobId,
    pub(crate) lane: Lane,
    /// The queue's name for the entry.
    pub(crate) entry: String,
    pub(crate) deliveries: u32,
}

/// Whether the lease was still held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Hold {
    /// It was, and what was asked for is done.
    Held,
    /// It was not, and nothing is done. After a call that failed
    /// [ambiguously](QueueError::ambiguous) this may be that call's doing.
    Lost,
}

/// How a lease ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// The job is over.
    End {
        /// How.
        event: JobEvent,
        /// Who is told.
        reply: Reply,
    },
    /// The job is queued again, as `message`, to begin no sooner than after `delay`.
    Again {
        /// What is queued.
        message: Box<JobMessage>,
        /// How long it waits at least.
        delay: Duration,
        /// What is told about it.
        event: JobEvent,
    },
    /// The job goes back as if it had never been received, to whoever asks next.
    Release,
}

/// The queue's name for an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventId(pub(crate) String);

/// What waits and what runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Depth {
    /// By lane, in the order of [`Lane::ALL`].
    pub lanes: [LaneDepth; 3],
    /// Jobs that wait for their time to be tried again.
    pub delayed: u64,
    /// Events to the service that are not confirmed.
    pub events: u64,
    /// How long the oldest of them has been there; `None` if there is none.
    pub oldest_event: Option<Duration>,
    /// Names of processes in the queue: of those that have a job or had one lately.
    pub workers: u64,
}

/// What waits and what runs, of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneDepth {
    /// Jobs that wait for a worker.
    pub waiting: u64,
    /// Jobs under a lease.
    pub running: u64,
    /// How long the job that waits longest has done so.
    pub oldest: Duration,
}

/// Why the queue did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("the queue cannot {operation}")]
pub struct QueueError {
    /// What the caller can do.
    pub kind: QueueErrorKind,
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// Whether it may have been done all the same: the answer is missing.
    pub ambiguous: bool,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What the caller of a queue can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueErrorKind {
    /// It is away or slow: try again.
    Unavailable,
    /// It is full: try again when there is room.
    Full,
    /// It does not let us in, or is no such queue: an operator has to act.
    Refused,
    /// What was sent or answered makes no sense: a defect.
    Invalid,
}

/// Shorthand of this module.
pub type Result<T, E = QueueError> = std::result::Result<T, E>;

/// How often each lane is asked first, in the order of [`Lane::ALL`]: a busy lane leaves the others
/// this much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneWeights(pub [u32; 3]);

impl Default for LaneWeights {
    fn default() -> Self {
        Self([16, 4, 1])
    }
}

impl LaneWeights {
    /// The lanes in the order to ask them this time: the first by weight, the others by urgency.
    pub(crate) fn order(self) -> [Lane; 3] {
        let total: u32 = self.0.iter().sum();
        let mut ticket = fastrand::u32(0..total.max(1));
        let drawn = self.0.iter().position(|weight| {
            let mine = ticket < *weight;
            ticket = ticket.saturating_sub(*weight);
            mine
        });
        let mut order = Lane::ALL;
        order[..=drawn.unwrap_or(0)].rotate_right(1);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_comes_first_by_its_weight() {
        let weights = LaneWeights([8, 3, 1]);
        let mut first = [0; 3];
        for _ in 0..12_000 {
            let order = weights.order();
            let mut sorted = order;
            sorted.sort_by_key(|lane| Lane::ALL.iter().position(|l| l == lane));
            assert_eq!(sorted, Lane::ALL);
            first[Lane::ALL.iter().position(|lane| *lane == order[0]).unwrap()] += 1;
        }
        // Binomial with 12,000 draws: five standard deviations are 260 at most.
        for (count, expected) in first.into_iter().zip([8_000_i32, 3_000, 1_000]) {
            assert!((count - expected).abs() < 300, "{first:?}");
        }
        assert_eq!(LaneWeights([0, 0, 0]).order(), Lane::ALL);
        assert_eq!(LaneWeights([0, 0, 1]).order(), [Lane::Low, Lane::High, Lane::Normal]);
    }
}

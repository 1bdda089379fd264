//! Receiving: one round after the other, until there is a job.
//!
//! A round looks at what is there with one script, then waits on a connection of its own. What was
//! delivered in an answer that never arrived is found by the next round and released.

use std::time::{Duration, Instant};

use redis::cmd;

use super::link::Request;
use super::reply::Streams;
use super::settle::Settle;
use super::{RELEASED, RedisQueue, WORKERS, block_ms, is_without_group};
use crate::id::JobId;
use crate::message::{JobMessage, Lane, VERSION};
use crate::queue::{Delivery, LeaseToken, Result};

/// How long a job waits whose message is of a later version: for a later worker.
const NEWER_VERSION_DELAY: Duration = Duration::from_secs(5);

/// What one call to `receive` leaves to the next.
pub(super) struct Receiving {
    /// An answer was lost, and with it perhaps a job.
    pub(super) lost_answer: bool,
    pub(super) next_reclaim: Instant,
    pub(super) next_sweep: Instant,
}

/// How long a worker waits from one look at the leases of others to the next.
#[must_use]
pub fn reclaim_pause(lease: Duration) -> Duration {
    lease.mul_f64(0.125 + fastrand::f64() / 8.0)
}

/// An entry as Redis gives it.
struct Raw {
    lane: Lane,
    entry: String,
    job: Vec<u8>,
    deliveries: u32,
}

impl Raw {
    fn lease(&self, job: JobId) -> LeaseToken {
        let Self { lane, entry, deliveries, .. } = self;
        LeaseToken { job, lane: *lane, entry: entry.clone(), deliveries: *deliveries }
    }
}

impl RedisQueue {
    /// Gives back what was delivered to this worker in answers that never arrived.
    async fn release_unknown(&self) -> Result<()> {
        for (lane, stream) in Lane::ALL.into_iter().zip(&self.keys.lanes) {
            let mut list = cmd("XPENDING");
            list.arg(stream).arg(WORKERS).arg("-").arg("+").arg(1000).arg(&self.worker);
            let pending: Vec<(String, String, u64, u32)> =
                self.commands.send("list its leases", Request::Command(&list)).await?;
            for (entry, _, _, deliveries) in pending {
                if !self.is_held(lane, &entry) {
                    let lease = LeaseToken { job: JobId::new(), lane, entry, deliveries };
                    let _ = self.run_settle(&lease, &Settle::Release).await?;
                }
            }
        }
        Ok(())
    }

    /// One look at everything that could be received now; or else how long until a delayed job
    /// comes due.
    async fn take(&self, order: [Lane; 3], idle_ms: u128) -> Result<Result<Raw, Option<Duration>>> {
        let mut script = self.scripts.receive.prepare_invoke();
        for lane in order {
            script.key(self.keys.lane(lane));
        }
        script.key(&self.keys.delayed);
        for lane in Lane::ALL {
            script.key(self.keys.lane(lane));
        }
        script.arg(WORKERS).arg(&self.worker).arg(idle_ms.to_string()).arg(RELEASED);
        let (index, entry, job, number, vanished): (usize, String, Vec<u8>, i64, u64) =
            self.commands.send_once("hand out a job", Request::Script(&script)).await?;
        if vanished > 0 {
            tracing::error!(vanished, "jobs were deleted from the queue while they ran");
        }
        Ok(match index.checked_sub(1).and_then(|index| order.get(index)) {
            Some(lane) => Ok(Raw { lane: *lane, entry, job, deliveries: number as u32 }),
            None => Err(u64::try_from(number).ok().map(Duration::from_millis)),
        })
    }

    /// Waits for a new job. Takes more than one only if they arrive in several lanes at the same
    /// time; all but the most urgent go back.
    async fn wait(&self, wait: Duration) -> Result<Option<Raw>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(WORKERS).arg(&self.worker).arg("COUNT").arg(1);
        read.arg("BLOCK").arg(block_ms(wait)).arg("STREAMS").arg(&self.keys.lanes);
        read.arg(&[">", ">", ">"]);
        let read: Streams =
            self.jobs.send_once("wait for a job", Request::Wait(&read, wait)).await?;
        let mut taken = read.into_iter().flatten().flat_map(|(stream, entries)| {
            let lane = Lane::ALL.into_iter().find(|lane| *self.keys.lane(*lane) == stream);
            entries.into_iter().filter_map(move |(entry, fields)| {
                let job = fields.into_iter().nth(1)?;
                Some(Raw { lane: lane?, entry, job, deliveries: 1 })
            })
        });
        let first = taken.next();
        for surplus in taken {
            let _ = self.run_settle(&surplus.lease(JobId::new()), &Settle::Release).await?;
        }
        Ok(first)
    }

    /// Makes a delivery of what was taken; `None` if it is no job of this version.
    async fn understand(&self, raw: Raw) -> Result<Option<Delivery>> {
        #[derive(serde::Deserialize)]
        struct Version {
            v: u32,
        }
        match serde_json::from_slice::<JobMessage>(&raw.job) {
            Ok(message) if message.v <= VERSION => {
                let (lease, deliveries) = (raw.lease(message.job), raw.deliveries);
                self.hold(lease.clone());
                return Ok(Some(Delivery { message, lease, deliveries }));
            }
            _ => {}
        }
        let is_newer = |job| serde_json::from_slice::<Version>(job).is_ok_and(|v| v.v > VERSION);
        let settle = if is_newer(&raw.job) {
            tracing::warn!(entry = raw.entry, "a job of a later version waits for a later worker");
            Settle::Again { job: &raw.job, delay: NEWER_VERSION_DELAY, event: None }
        } else {
            tracing::error!(entry = raw.entry, "an entry of the queue is no job; it is put aside");
            Settle::Reject { job: &raw.job }
        };
        if let Err(error) = self.run_settle(&raw.lease(JobId::new()), &settle).await {
            // It stays under this lease, so that it stops nobody, and comes back when that ends.
            tracing::error!(entry = raw.entry, error = error.source, "it cannot be put aside");
        }
        Ok(None)
    }

    /// One round: what is there now, or what comes until something else has to be looked after.
    async fn receive_once(&self, state: &mut Receiving, end: Instant) -> Result<Option<Delivery>> {
        if state.lost_answer {
            self.release_unknown().await?;
            state.lost_answer = false;
        }
        let lease = self.config.lease;
        let now = Instant::now();
        if now >= state.next_sweep {
            state.next_sweep = now + lease.mul_f64(0.5 + fastrand::f64());
            self.sweep("").await?;
        }
        // While Redis was away nobody could renew, and every lease looks abandoned: after each
        // reconnect the living have one lease's time to renew theirs.
        let settled = self.commands.up_for().await > lease;
        let reclaim = settled && now >= state.next_reclaim;
        if reclaim || !settled {
            state.next_reclaim = now + reclaim_pause(lease);
        }
        let idle_ms = if reclaim { lease.as_millis() } else { 0 };
        let raw = match self.take(self.config.weights.order(), idle_ms).await? {
            Ok(raw) => Some(raw),
            Err(due_in) => {
                let until = due_in.map_or(end, |due_in| end.min(Instant::now() + due_in));
                let wait = until.min(state.next_reclaim).saturating_duration_since(Instant::now());
                if end > Instant::now() { self.wait(wait).await? } else { None }
            }
        };
        match raw {
            Some(raw) => self.understand(raw).await,
            None => Ok(None),
        }
    }

    /// Rounds until there is a job, or until `end`.
    pub(super) async fn receive_until(
        &self,
        state: &mut Receiving,
        end: Instant,
    ) -> Result<Option<Delivery>> {
        loop {
            let outcome = match self.receive_once(state, end).await {
                Err(error) if is_without_group(&error) => {
                    self.make_groups().await?;
                    continue;
                }
                outcome => outcome,
            };
            if Instant::now() >= end || !matches!(outcome, Ok(None)) {
                return outcome;
            }
        }
    }
}

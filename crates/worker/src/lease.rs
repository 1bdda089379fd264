//! A lease as an object: as long as it lives, it renews itself; what ends it settles the job.
//!
//! Only the queue knows who holds a lease. One that could not be renewed in time, because the queue
//! was away, is given up when the queue says so, not before: if nobody took the job meanwhile, its
//! work is as good as ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonemill_job::queue::{Hold, LeaseToken, Queue, QueueErrorKind, Settlement};

use crate::control::{Control, Stop};

/// How often a lease is renewed in its length.
pub const RENEWALS: u32 = 3;
/// A renewal that failed is tried again this much sooner than the next would be due.
const HURRY: u32 = 4;
/// Pauses between attempts to settle start here and double, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A held lease. Dropping it ends the renewal, and with it, in time, the lease.
#[derive(Debug)]
pub(crate) struct Lease {
    queue: Arc<dyn Queue>,
    token: LeaseToken,
    _renewal: DropGuard,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It holds.
    Done,
    /// Another worker has the job: nothing was settled.
    Lost,
    /// It may hold: an answer was lost, or it was refused for good, perhaps half-way.
    Unknown,
}

impl Lease {
    /// Keeps the lease `token` alive, and stops the attempt under `control` when it is lost.
    pub(crate) fn hold(queue: Arc<dyn Queue>, token: LeaseToken, control: Control) -> Self {
        let ended = CancellationToken::new();
        tokio::spawn(renew(Arc::clone(&queue), token.clone(), control, ended.clone()));
        Self { queue, token, _renewal: ended.drop_guard() }
    }

    /// Settles the job. While the queue is away or full this goes on until `until`, and the lease
    /// is renewed meanwhile.
    pub(crate) async fn settle(
        self,
        settlement: &Settlement,
        until: Instant,
    ) -> (Settled, Option<tonemill_job::queue::QueueError>) {
        let mut pause = FIRST_PAUSE;
        let mut unknown = false;
        loop {
            let error = match self.queue.settle(&self.token, settlement).await {
                Ok(Hold::Held) => return (Settled::Done, None),
                Ok(Hold::Lost) if unknown => return (Settled::Unknown, None),
                Ok(Hold::Lost) => return (Settled::Lost, None),
                Err(error) => error,
            };
            unknown |= error.ambiguous;
            let next = Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            // A login may be mended as a server may come back.
            if error.kind == QueueErrorKind::Invalid || next > until {
                // Even a refusal may have come half-way: better an output that nobody knows of than
                // one that was told of and is gone.
                return (Settled::Unknown, Some(error));
            }
            tokio::time::sleep_until(next).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn renew(
    queue: Arc<dyn Queue>,
    token: LeaseToken,
    control: Control,
    ended: CancellationToken,
) {
    let pace = queue.lease() / RENEWALS;
    let mut pause = pace;
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = ended.cancelled() => return,
        }
        // A call that takes longer than this has failed for our purpose.
        let renewed = timeout_at(Instant::now() + queue.lease(), queue.renew(&token));
        let renewed = tokio::select! {
            renewed = renewed => renewed,
            () = ended.cancelled() => return,
        };
        pause = match renewed {
            Ok(Ok(Hold::Held)) => pace,
            Ok(Ok(Hold::Lost)) => {
                metrics::counter!("tonemill_leases_lost_total").increment(1);
                control.stop(Stop::LeaseLost);
                return;
            }
            Ok(Err(_)) | Err(_) => pace / HURRY,
        };
    }
}

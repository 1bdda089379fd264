//! What is looked up now and then, not counted: what the books say, what is in the queue, how full
//! the disks are, how busy the workers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonemill_job::chain;
use tonemill_job::queue::{Queue, measure::measure};
use tonemill_ledger::Ledger;

use crate::disks::Disks;

/// How often.
const EVERY: Duration = Duration::from_secs(15);

/// What looks up something more.
pub type Look = Box<dyn Fn() + Send + Sync>;

/// What is looked at.
pub(super) struct Measures {
    pub(super) ledger: Arc<Ledger>,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) disks: Disks,
    pub(super) also: Look,
}

impl Measures {
    /// Looks until it is told to end.
    pub(super) async fn run(self, end: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let looks = async {
            loop {
                ticks.tick().await;
                self.look().await;
            }
        };
        tokio::select! {
            () = end.cancelled() => {}
            () = looks => {}
        }
    }

    async fn look(&self) {
        (self.also)();
        if let Err(error) = self.ledger.measure().await {
            tracing::debug!(error = chain(&error), "the ledger is not measured");
        }
        measure(&*self.queue).await;
        self.disks.measure().await;
    }
}

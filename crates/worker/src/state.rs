//! What the admin port tells of a worker.

use std::sync::Arc;

use async_trait::async_trait;
use tonemill_job::objects::ObjectStore;
use tonemill_job::queue::{Queue, measure::measure};
use tonemill_telemetry::admin::Watched;
use tonemill_telemetry::{Part, Shutdown};

use crate::running::Running;

/// What can be told about a worker while it runs.
#[derive(Debug, Clone)]
pub struct WorkerState {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// How many jobs it runs at most.
    pub(crate) jobs: usize,
    /// How many threads encode.
    pub(crate) threads: usize,
    pub(crate) running: Running,
    pub(crate) shutdown: Shutdown,
}

impl WorkerState {
    /// Tells how large the worker is, and how much of it is at work.
    pub fn measure_room(&self) {
        let running = self.running.count();
        metrics::gauge!("tonemill_jobs_running").set(running as f64);
        metrics::gauge!("tonemill_permits").set(self.jobs as f64);
        metrics::gauge!("tonemill_permits_free").set(self.jobs.saturating_sub(running) as f64);
        metrics::gauge!("tonemill_encoder_threads").set(self.threads as f64);
    }
}

#[async_trait]
impl Watched for WorkerState {
    fn is_draining(&self) -> bool {
        self.shutdown.is_draining()
    }

    async fn parts(&self) -> Vec<Part> {
        let queue = Part::ask("queue", self.queue.check());
        let (queue, store) = tokio::join!(queue, Part::ask("store", self.store.check()));
        vec![queue, store]
    }

    async fn measure(&self) {
        self.measure_room();
        measure(&*self.queue).await;
    }
}

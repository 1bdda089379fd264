//! Removing objects that nobody needs any more, beside more important work: a store that is slow or
//! away must not hold up who found them. What does not go here is swept (see `sweep`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tonemill_job::objects::ObjectStore;
use tonemill_job::{ObjectKey, chain};

/// Objects that are removed at a time.
const AT_ONCE: usize = 16;
/// Most that wait.
const WAITING: usize = 10_000;
/// For how long the last of them are waited for.
const LAST: Duration = Duration::from_secs(5);

/// A task that removes objects.
#[derive(Debug)]
pub(crate) struct Removal {
    keys: mpsc::Sender<ObjectKey>,
    task: JoinHandle<()>,
}

impl Removal {
    pub(crate) fn start(store: Arc<dyn ObjectStore>) -> Self {
        let (keys, waiting) = mpsc::channel(WAITING);
        Self { keys, task: tokio::spawn(remove(store, waiting)) }
    }

    /// Takes objects over that nobody needs. What there is no room for is left to the sweep.
    pub(crate) fn take(&self, objects: Vec<ObjectKey>) {
        for key in objects {
            if self.keys.try_send(key).is_err() {
                tracing::debug!("an object that nobody needs stays for now: too many wait to go");
            }
        }
    }

    /// Removes what there is time for.
    pub(crate) async fn end(mut self) {
        drop(self.keys);
        if timeout(LAST, &mut self.task).await.is_err() {
            // With it end the removals that it began.
            self.task.abort();
        }
    }
}

async fn remove(store: Arc<dyn ObjectStore>, mut keys: mpsc::Receiver<ObjectKey>) {
    let mut removals = JoinSet::new();
    while let Some(key) = keys.recv().await {
        if removals.len() >= AT_ONCE {
            removals.join_next().await;
        }
        while removals.try_join_next().is_some() {}
        let store = Arc::clone(&store);
        removals.spawn(async move {
            if let Err(error) = store.delete(&key).await {
                tracing::debug!(error = chain(&error), "an object that nobody needs stays for now");
            }
        });
    }
    removals.join_all().await;
}

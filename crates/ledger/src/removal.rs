//! Removing what nobody needs any more, beside what must not wait for it: a store may be slow, or away,
//! and nobody's job should seem to run for longer because of that.

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tonemill_job::objects::ObjectStore;
use tonemill_job::{ObjectKey, chain};

/// Objects that are removed at a time.
const AT_ONCE: usize = 16;
/// Objects that wait for it; what is more stays until a sweep.
const MOST: usize = 10_000;

/// Takes what is to be removed.
#[derive(Debug)]
pub(crate) struct Removals(mpsc::Sender<ObjectKey>);

/// Where to put what is to be removed, and the removing, which ends when the former is dropped and all
/// of it is done.
pub(crate) fn removals(store: &dyn ObjectStore) -> (Removals, impl Future<Output = ()>) {
    let (sender, mut receiver) = mpsc::channel(MOST);
    let objects = stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let removing = objects.for_each_concurrent(AT_ONCE, async |key| {
        if let Err(error) = store.delete(&key).await {
            // Swept later.
            tracing::debug!(error = chain(&error), "an object that nobody needs stays for now");
        }
    });
    (Removals(sender), removing)
}

impl Removals {
    pub(crate) fn add(&self, objects: Vec<ObjectKey>) {
        for key in objects {
            if self.0.try_send(key).is_err() {
                tracing::debug!("the store is slow: an object that nobody needs stays for now");
            }
        }
    }
}

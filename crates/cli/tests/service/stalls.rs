//! A store that hangs where nobody needs its answer holds nobody up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonemill_testbed::fault_proxy::{Fault, FaultProxy};

use crate::jobs::clip;
use crate::separate::Separate;
use crate::service::PASSWORD;

/// Uploads of finished jobs cannot be removed, and other jobs finish all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_in_the_store_keeps_no_job_from_its_end() {
    let mut all = Separate::without_processes(None);
    let store = FaultProxy::http(&all.s3.endpoint).await;
    let held = Arc::new(AtomicUsize::new(0));
    let holding = Arc::clone(&held);
    store.plan(move |incoming| {
        if incoming.request.starts_with("DELETE ") {
            holding.fetch_add(1, Ordering::SeqCst);
            return Fault::BlackHole;
        }
        Fault::None
    });
    all.detours.push(("TONEMILL_S3_ENDPOINT", store.endpoint()));
    all.add_api(&[]);
    all.add_worker(&[]);
    let client = all.nobody(0).log_in("admin", PASSWORD).await;
    // Each comes to its end before the call for the one before is given up.
    for jobs in 1..=3 {
        let job = client.submit(&clip(), "").await;
        client.finished(&job).await;
        let wanted = async || (held.load(Ordering::SeqCst) >= jobs).then_some(());
        crate::until("the wish to remove the upload", wanted).await;
        assert!(store.open() >= jobs, "one of them was given up");
    }
}

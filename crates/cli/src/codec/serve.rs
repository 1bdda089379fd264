//! `tonemill serve`: the whole service in one process.
//!
//! What was not said where to find is made here: a ledger in SQLite, a store in a folder, a queue
//! in memory, all under the data folder, which is locked for this process. A queue in memory starts
//! empty: what the ledger believes in it is queued again at once.

use std::fs::create_dir_all;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tonemill_job::objects::{FolderStore, ObjectStore};
use tonemill_job::queue::memory::MemoryQueue;
use tonemill_job::queue::{LaneWeights, Queue};
use tonemill_ledger::Ledger;
use tonemill_telemetry::catalogue::Component;
use tonemill_worker::Worker;

use crate::args::serve::{ApiArgs, ServeArgs};
use crate::data_folder::DataFolder;
use crate::disks::Disks;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::print_line;
use crate::runtime::{run_until_told, start_metrics, told_by_signals};
use crate::serve::parts::{Parts, bind};
use crate::serve::running::{Service, Watching};
use crate::text::{seconds, shown};

/// Runs the whole service until it is told to end.
pub fn run(args: &ServeArgs) -> Outcome {
    run_until_told("tonemill", &args.api.log, async {
        let metrics = start_metrics(&[
            Component::Api,
            Component::Books,
            Component::Backends,
            Component::Worker,
            Component::Notifier,
        ])?;
        args.notify.check_serving()?;
        let data = DataFolder::lock(&args.data)?;
        let (parts, queue) = embedded(&args.api, &data, seconds(args.lease)).await?;
        let config = args.size.config(args.api.grace);
        let shutdown = told_by_signals()?;
        let worker = Worker::new(queue, Arc::clone(&parts.store), config, shutdown.clone())
            .map_err(|error| Failure::cannot("start threads", error))?;
        let max_input = args.size.limits.max_input;
        let mails = args.notify.mail_folder.clone().unwrap_or_else(|| args.data.join("mail"));
        let notify = Some((&args.notify, mails));
        let disks = Disks::of(Some(&args.data), &args.api.backends);
        let state = worker.state();
        let watching = Watching { metrics, disks, also: Box::new(move || state.measure_room()) };
        let starting = Service::start(&args.api, max_input, parts, watching, notify, &shutdown);
        let service = starting.await?;
        let folder = std::path::absolute(&args.data).unwrap_or_else(|_| args.data.clone());
        print_line(&format!("tonemill: data in {}; Ctrl-C ends it", shown(&folder)));
        let ended = worker.run().await;
        // Also where it was not told to end: a hang ends the whole process.
        shutdown.drain();
        service.end().await?;
        drop(data);
        Ok(ended)
    })
}

/// What was said, and the rest in the data folder; and the queue as the workers have it, who are
/// another user of it.
async fn embedded(
    args: &ApiArgs,
    data: &DataFolder<'_>,
    lease: Duration,
) -> Result<(Parts, Arc<dyn Queue>), Failure> {
    let url = match &args.ledger.database.database_url {
        Some(url) => url.clone(),
        None => data.ledger()?,
    };
    let ledger = Arc::new(Ledger::open(args.ledger.config(url)).await?);
    let store = match args.backends.store().await? {
        Some(store) => store,
        None => own_store(data.path())?,
    };
    bind(&ledger, &*store).await?;
    let queues = (args.backends.queue(Some(lease))?, args.backends.queue(Some(lease))?);
    if let (Some(queue), Some(of_workers)) = queues {
        return Ok((Parts { ledger, queue, store }, of_workers));
    }
    let queue = MemoryQueue::new(lease, LaneWeights::default());
    let of_workers = Arc::new(queue.another());
    let again = ledger.requeue_all().await?;
    if again > 0 {
        tracing::info!(jobs = again, "jobs from before are queued again");
    }
    Ok((Parts { ledger, queue: Arc::new(queue), store }, of_workers))
}

fn own_store(data: &Path) -> Result<Arc<dyn ObjectStore>, Failure> {
    // Elsewhere a missing folder may be a missing disk; this one is ours to make.
    let objects = data.join("objects");
    create_dir_all(&objects).map_err(|error| Failure::cannot("keep objects", error))?;
    Ok(Arc::new(FolderStore::new(data)))
}

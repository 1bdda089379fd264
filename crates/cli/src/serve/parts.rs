//! What the service is put together from: a ledger, a queue and a store.
//!
//! What was not said where to find is made here: a ledger in SQLite, a store in a folder, a queue
//! in memory, all under the data folder, which is locked for this process. A queue in memory starts
//! empty: what the ledger believes in it is queued again at once.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, create_dir_all};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tonemill_job::chain;
use tonemill_job::objects::{FolderStore, ObjectStore};
use tonemill_job::queue::memory::MemoryQueue;
use tonemill_job::queue::{LaneWeights, Queue};
use tonemill_ledger::{BondError, Ledger};

use crate::args::serve::ApiArgs;
use crate::backends::Backends;
use crate::failure::Failure;
use crate::text::shown;

/// The folder of everything that has no other place, for this process alone.
pub struct DataFolder<'a> {
    path: &'a Path,
    _lock: File,
}

impl<'a> DataFolder<'a> {
    pub fn lock(path: &'a Path) -> Result<Self, Failure> {
        let failed = |error| Failure::cannot(format!("use the folder {}", shown(path)), error);
        // Keys, hashes of passwords and videos: nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        close_to_others(path).map_err(failed)?;
        let lock = File::create(path.join("lock")).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let message = format!("another process uses the folder {}", shown(path));
                Err(Failure::fault(message, "--data names one"))
            }
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// Shuts out others from a folder that was there before. One whose group was let in to read, say to
/// back it up, stays as it is.
fn close_to_others(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    if mode & 0o027 == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & !0o077)) {
        Ok(()) => {
            tracing::warn!(folder = %path.display(), "the folder was open to others: no more");
        }
        // It is another's, as mounted folders are: whoever mounts it decides.
        Err(error) => {
            tracing::warn!(folder = %path.display(), %error, "others may look into the folder");
        }
    }
    Ok(())
}

/// What the service is put together from.
pub(super) struct Parts {
    pub(super) ledger: Arc<Ledger>,
    pub(super) queue: Arc<dyn Queue>,
    /// Another handle to a queue that knows its users apart.
    pub(super) worker_queue: Option<Arc<dyn Queue>>,
    pub(super) store: Arc<dyn ObjectStore>,
}

impl Parts {
    /// What was said, and the rest in the data folder.
    pub(super) async fn embedded(
        args: &ApiArgs,
        data: &DataFolder<'_>,
        lease: Duration,
    ) -> Result<Self, Failure> {
        let url = match &args.ledger.database.database_url {
            Some(url) => url.clone(),
            None => own_ledger(data.path)?,
        };
        let ledger = Arc::new(Ledger::open(args.ledger.config(url)).await?);
        let store = match args.backends.store().await? {
            Some(store) => store,
            None => own_store(data.path)?,
        };
        bind(&ledger, &*store).await?;
        if let Some(queue) = args.backends.queue(Some(lease))? {
            let worker_queue = args.backends.queue(Some(lease))?;
            return Ok(Self { ledger, queue, worker_queue, store });
        }
        let queue = MemoryQueue::new(lease, LaneWeights::default());
        let worker_queue: Arc<dyn Queue> = Arc::new(queue.another());
        let again = ledger.requeue_all().await?;
        if again > 0 {
            tracing::info!(jobs = again, "jobs from before are queued again");
        }
        Ok(Self { ledger, queue: Arc::new(queue), worker_queue: Some(worker_queue), store })
    }

    /// All of what was said.
    pub(super) async fn elsewhere(args: &ApiArgs) -> Result<Self, Failure> {
        let url = args.ledger.database.database_url.clone();
        let url = url.ok_or_else(|| Failure::usage("say where the ledger is", "--database-url"))?;
        let Backends { queue, store } = args.backends.open(None).await?;
        let ledger = Arc::new(Ledger::open(args.ledger.config(url)).await?);
        bind(&ledger, &*store).await?;
        Ok(Self { ledger, queue, worker_queue: None, store })
    }
}

/// A store that does not answer now is asked again before anything in it is removed.
async fn bind(ledger: &Ledger, store: &dyn ObjectStore) -> Result<(), Failure> {
    match ledger.bind(store).await {
        Err(BondError::Store(error)) => {
            tracing::warn!(error = chain(&error), "the store does not say whose it is");
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}

/// Readable for nobody else, in whatever folder; SQLite's other files become as this one is.
pub fn own_ledger(data: &Path) -> Result<String, Failure> {
    let file = data.join("ledger.db");
    let mut options = OpenOptions::new();
    let open = options.append(true).create(true).mode(0o600).open(&file);
    open.map_err(|error| Failure::cannot(format!("write {}", shown(&file)), error))?;
    Ok(format!("sqlite://{}", file.display()))
}

fn own_store(data: &Path) -> Result<Arc<dyn ObjectStore>, Failure> {
    // Elsewhere a missing folder may be a missing disk; this one is ours to make.
    let objects = data.join("objects");
    create_dir_all(&objects).map_err(|error| Failure::cannot("keep objects", error))?;
    Ok(Arc::new(FolderStore::new(data)))
}

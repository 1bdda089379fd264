//! How much room is left on the disks that the process keeps things on, as metrics.

use std::path::{Path, PathBuf};

/// Folders whose disks are worth watching. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Disks {
    /// Of the ledger, and of whatever has no other place.
    pub data: Option<PathBuf>,
    /// Of the objects.
    pub store: Option<PathBuf>,
}

impl Disks {
    /// Looks once. A disk that is away takes its time.
    pub async fn measure(&self) {
        let disks = self.clone();
        let look = tokio::task::spawn_blocking(move || {
            let folders = [("data", disks.data), ("store", disks.store)];
            for (name, folder) in folders.iter().filter_map(|(name, at)| Some((name, at.as_ref()?)))
            {
                measure(name, folder);
            }
        });
        let _ = look.await;
    }
}

fn measure(name: &'static str, folder: &Path) {
    let Ok(disk) = rustix::fs::statvfs(folder) else { return };
    let bytes = |blocks: u64| blocks as f64 * disk.f_frsize as f64;
    metrics::gauge!("tonemill_disk_free_bytes", "folder" => name).set(bytes(disk.f_bavail));
    metrics::gauge!("tonemill_disk_size_bytes", "folder" => name).set(bytes(disk.f_blocks));
}

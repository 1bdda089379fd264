//! Which files a process opens besides those that it should: sampled for as long as it is watched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::BenchError;

/// A file that is opened for a shorter time may be missed. What was written is counted in bytes
/// besides.
const SAMPLE: Duration = Duration::from_millis(20);

/// A process that is watched.
pub(super) struct OpenFiles {
    watch: JoinHandle<BTreeSet<PathBuf>>,
    end: CancellationToken,
}

impl OpenFiles {
    /// Watches for files whose paths start with none of `expected`, and for any below `temporary`.
    pub(super) fn watch(pid: u32, expected: Vec<PathBuf>, temporary: PathBuf) -> Self {
        let end = CancellationToken::new();
        let ended = end.clone();
        let watch = tokio::spawn(async move {
            let mut strange = BTreeSet::new();
            while !ended.is_cancelled() {
                let is_expected = |path: &Path| expected.iter().any(|root| begins(path, root));
                strange.extend(open_files(pid).into_iter().filter(|path| !is_expected(path)));
                strange.extend(entries(&temporary));
                sleep(SAMPLE).await;
            }
            strange
        });
        Self { watch, end }
    }

    /// What was seen.
    pub(super) async fn finish(self) -> Result<BTreeSet<PathBuf>, BenchError> {
        self.end.cancel();
        Ok(self.watch.await?)
    }
}

/// By text: SQLite's other files have the ledger's name and more.
fn begins(path: &Path, root: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(root.as_os_str().as_encoded_bytes())
}

/// The files that a process has open. Sockets, pipes and the like are no paths; devices and what
/// the kernel makes up are on no disk; a folder that is open is being written through.
fn open_files(pid: u32) -> Vec<PathBuf> {
    let links = entries(Path::new(&format!("/proc/{pid}/fd")));
    let targets = links.into_iter().filter_map(|link| fs::read_link(link).ok());
    let is_made_up = |path: &Path| ["/dev/", "/proc/", "/sys/"].iter().any(|r| path.starts_with(r));
    let is_file = |path: &PathBuf| path.is_absolute() && !is_made_up(path) && !path.is_dir();
    targets.filter(is_file).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

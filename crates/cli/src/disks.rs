//! How much room is left on the disks that the process keeps things on: as metrics, and for the
//! doctor.

use std::path::{Path, PathBuf};

use crate::args::backends::BackendArgs;

/// Folders whose disks are worth watching. Clones are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disks {
    /// Of the ledger, and of whatever has no other place.
    pub data: Option<PathBuf>,
    /// Of the objects, unless they are in a bucket.
    pub store: Option<PathBuf>,
}

/// What a disk has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// For us: what is kept for others is not counted.
    pub free_bytes: f64,
    pub size_bytes: f64,
}

impl Disks {
    /// Those of a process that has `data` for all that is nowhere else.
    pub fn of(data: Option<&Path>, backends: &BackendArgs) -> Self {
        let in_data = || data.filter(|_| backends.s3_bucket.is_none()).map(Path::to_owned);
        let store = backends.folder.clone().or_else(in_data);
        Self { data: data.map(Path::to_owned), store }
    }

    /// Looks once, for the metrics. A disk that is away takes its time.
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

impl Room {
    /// On the disk of a folder, if that is there.
    pub fn of(folder: &Path) -> Option<Self> {
        let disk = rustix::fs::statvfs(folder).ok()?;
        let bytes = |blocks: u64| blocks as f64 * disk.f_frsize as f64;
        Some(Self { free_bytes: bytes(disk.f_bavail), size_bytes: bytes(disk.f_blocks) })
    }
}

fn measure(name: &'static str, folder: &Path) {
    let Some(Room { free_bytes, size_bytes }) = Room::of(folder) else { return };
    metrics::gauge!("tonemill_disk_free_bytes", "folder" => name).set(free_bytes);
    metrics::gauge!("tonemill_disk_size_bytes", "folder" => name).set(size_bytes);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        backends: BackendArgs,
    }

    #[test]
    fn objects_are_in_a_folder_of_their_own_in_a_bucket_or_with_the_data() {
        for (said, data, store) in [
            (&[][..], Some("data"), Some("data")),
            (&["--folder", "objects"], Some("data"), Some("objects")),
            (&["--s3-bucket", "b"], Some("data"), None),
            (&["--folder", "objects"], None, Some("objects")),
            (&["--s3-bucket", "b"], None, None),
        ] {
            let backends = Command::parse_from(["x"].iter().chain(said)).backends;
            let due = Disks { data: data.map(PathBuf::from), store: store.map(PathBuf::from) };
            assert_eq!(Disks::of(data.map(Path::new), &backends), due, "{said:?}");
        }
    }

    #[test]
    fn a_disk_has_room_for_less_than_its_size() {
        let room = Room::of(Path::new("/")).expect("a disk");
        assert!(room.free_bytes <= room.size_bytes && room.size_bytes > 0.0, "{room:?}");
        assert_eq!(Room::of(Path::new("/no such folder")), None);
    }
}

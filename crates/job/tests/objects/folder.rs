//! What only a folder can do, and the suite in one.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tonemill_job::ObjectKey;
use tonemill_job::objects::{FolderStore, ObjectStore, PartTag, PartsId, StoreErrorKind};

use super::content::{PART, assert_has, assert_invisible, kind, new_key, noise};
use super::suite::{self, Abilities};

#[tokio::test]
async fn folder() {
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::new(root.path().join("store"));
    // A folder that is missing may be a disk that is missing.
    assert_eq!(kind(store.check().await), Some(StoreErrorKind::Denied));
    assert!(!root.path().join("store").exists());
    fs::create_dir_all(root.path().join("store/objects")).unwrap();
    let abilities = Abilities {
        never_overwrites: true,
        lists_unfinished: true,
        knows_unfinished: true,
        checksum_bytes: None,
    };
    let other = FolderStore::new(root.path().join("store"));
    suite::run(Arc::new(store), Arc::new(other), abilities).await;
    // Folders go with what was in them.
    assert_eq!(fs::read_dir(root.path().join("store/unfinished")).unwrap().count(), 0);
}

/// An object of one part that is not finished.
struct Begun {
    root: TempDir,
    store: FolderStore,
    key: ObjectKey,
    id: PartsId,
    parts: [PartTag; 1],
}

const BYTES: usize = 1_000;

impl Begun {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (store, key) = (FolderStore::new(root.path()), new_key());
        let id = store.begin_parts(&key, "video/mp4").await.unwrap();
        let parts = [store.put_part(&key, &id, 1, noise(BYTES, 1)).await.unwrap()];
        Self { root, store, key, id, parts }
    }

    fn unfinished(&self) -> PathBuf {
        self.root.path().join("unfinished").join(self.key.as_str()).join(self.id.as_str())
    }

    async fn put(&self) -> Option<StoreErrorKind> {
        kind(self.store.put_part(&self.key, &self.id, 1, noise(PART, 2)).await)
    }

    async fn finish(&self) -> Option<StoreErrorKind> {
        let Self { store, key, id, parts, .. } = self;
        kind(store.finish_parts(key, id, parts, BYTES as u64).await)
    }

    async fn assert_is_finished(&self) {
        assert_has(&self.store, &self.key, &noise(BYTES, 1)).await;
        assert_eq!(self.store.unfinished().await.unwrap(), []);
        assert_eq!(self.put().await, Some(StoreErrorKind::NotFound));
    }
}

#[tokio::test]
async fn a_writer_that_slept_changes_nothing_that_is_finished() {
    let begun = Begun::new().await;
    // As one that is about to write.
    let writer = File::options().write(true).open(begun.unfinished()).unwrap();
    writer.lock_shared().unwrap();
    assert_eq!(begun.finish().await, Some(StoreErrorKind::Unavailable));
    assert_invisible(&begun.store, &begun.key).await;
    drop(writer);
    assert_eq!(begun.finish().await, None);
    begun.assert_is_finished().await;
}

#[tokio::test]
async fn a_death_while_finishing_is_made_good() {
    let begun = Begun::new().await;
    let object = begun.root.path().join("objects").join(begun.key.as_str());
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::hard_link(begun.unfinished(), object).unwrap();
    assert_eq!(begun.put().await, Some(StoreErrorKind::NotFound));
    let Begun { store, key, id, .. } = &begun;
    // It is the object by now: nothing may cut it.
    assert_eq!(kind(store.finish_parts(key, id, &[], 0).await), Some(StoreErrorKind::Exists));
    assert_eq!(begun.finish().await, None);
    begun.assert_is_finished().await;
}

#[tokio::test]
async fn a_part_that_the_disk_lost_is_missed() {
    let begun = Begun::new().await;
    let file = File::options().write(true).open(begun.unfinished()).unwrap();
    file.set_len(BYTES as u64 - 1).unwrap();
    assert_eq!(begun.finish().await, Some(StoreErrorKind::Corrupt));
    assert_invisible(&begun.store, &begun.key).await;
}

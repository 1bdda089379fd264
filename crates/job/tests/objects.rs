//! One suite for all object stores, and what only one of them can do.

#[path = "objects/content.rs"]
mod content;
#[path = "objects/faults.rs"]
mod faults;
#[path = "objects/s3.rs"]
mod s3;
#[path = "objects/servers.rs"]
mod servers;
#[path = "objects/suite.rs"]
mod suite;
#[path = "objects/suite_uploads.rs"]
mod suite_uploads;

use std::sync::Arc;

use tonemill_job::objects::{FolderStore, ObjectStore, StoreErrorKind};

#[tokio::test]
async fn folder() {
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::new(root.path().join("store"));
    // A folder that is missing may be a disk that is missing.
    assert_eq!(content::kind(store.check().await), Some(StoreErrorKind::Denied));
    assert!(!root.path().join("store").exists());
    std::fs::create_dir_all(root.path().join("store/objects")).unwrap();
    let abilities =
        suite::Abilities { never_overwrites: true, lists_unfinished: true, checksum_bytes: None };
    suite::run(Arc::new(store), abilities).await;
    // Folders go with what was in them.
    assert_eq!(std::fs::read_dir(root.path().join("store/unfinished")).unwrap().count(), 0);
}

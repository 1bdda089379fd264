//! What a request leaves that does not come to its end.

use std::sync::Arc;

use futures_util::stream;
use tokio_util::sync::CancellationToken;
use tonemill_job::JobId;
use tonemill_job::objects::FolderStore;
use tonemill_job::queue::LaneWeights;
use tonemill_job::queue::memory::MemoryQueue;
use tonemill_ledger::uploads::{NewUpload, UploadKind};
use tonemill_ledger::users::{NewUser, Role};
use tonemill_ledger::{Ledger, LedgerConfig};

use super::*;
use crate::ApiConfig;
use crate::memory::UploadMemory;

/// An upload of `total_bytes`, which nobody has begun to send.
async fn upload(api: &Api, total_bytes: u64) -> Upload {
    let new = NewUser {
        name: "u".to_owned(),
        role: Role::User,
        password_hash: String::new(),
        email: None,
    };
    let user = api.ledger.add_user(&new).await.unwrap().unwrap().id;
    let id = JobId::new();
    let key = ObjectKey::upload(id);
    let new = NewUpload {
        id,
        user,
        kind: UploadKind::Resumable,
        parts: Some(api.store.begin_parts(&key, "video/mp4").await.unwrap()),
        key,
        file_name: "talk.mp3".to_owned(),
        metadata: String::new(),
        total_bytes,
        lifetime_ms: 60_000,
    };
    api.ledger.begin_upload(&new).await.unwrap();
    api.ledger.upload(user, id).await.unwrap().unwrap()
}

/// What it brings and nobody has room for must not count as if it was there.
#[tokio::test]
async fn who_gives_way_keeps_what_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/ledger?mode=rwc", folder.path().display());
    let ledger = Arc::new(Ledger::open(LedgerConfig::new(url)).await.unwrap());
    let queue = Arc::new(MemoryQueue::new(Duration::from_secs(30), LaneWeights::default()));
    let store = Arc::new(FolderStore::new(folder.path().join("store")));
    let shutdown = CancellationToken::new();
    let api = Api::new(ledger, queue, store, ApiConfig::default(), None, None, shutdown);
    let mut api = api.await.unwrap();
    Arc::get_mut(&mut api.0).unwrap().upload_memory = UploadMemory::for_the_fast();
    let _others = api.upload_memory.slot(Uuid::new_v4(), false).await.unwrap();

    let mut piece = vec![7; 60 << 10];
    piece[..3].copy_from_slice(b"ID3");
    let upload = upload(&api, 200 << 10).await;
    let (user, id) = (upload.user, upload.id);
    let pieces = [piece.clone(), piece.clone()].map(Ok::<_, std::io::Error>);
    let body = Body::from_stream(stream::iter(pieces));
    let refused = write(&api, upload, body, None).await.unwrap_err();
    assert_eq!(refused.status, 408);
    let kept = api.ledger.upload(user, id).await.unwrap().unwrap();
    assert_eq!(kept.received_bytes, piece.len() as u64);
    let tail = kept.tail.unwrap();
    assert_eq!(api.store.head(&tail).await.unwrap().bytes, kept.received_bytes);
}

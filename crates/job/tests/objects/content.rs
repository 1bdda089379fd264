//! Bytes to store, and the few steps that every test takes with them.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use tonemill_job::objects::{MAX_RANGE_BYTES, ObjectStore, Result, StoreError, StoreErrorKind};
use tonemill_job::{JobId, ObjectKey};

/// As in S3, so that bodies can end where parts do.
pub const PART: usize = 8 << 20;

/// Bytes that look like nothing else, the same for every `seed`.
pub fn noise(bytes: usize, seed: u64) -> Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut noise = vec![0; bytes];
    random.fill(&mut noise);
    noise.into()
}

/// A key that nobody has.
pub fn new_key() -> ObjectKey {
    ObjectKey::output(JobId::new(), 1)
}

/// Writes `bytes`, of which `head_bytes` come last.
pub async fn put(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    bytes: &Bytes,
    head_bytes: usize,
) -> Result<()> {
    let mut upload = store.create(key, "audio/mpeg", head_bytes).await?;
    // Chunks of an odd length, so that they do not end where parts do.
    let mut rest = bytes.slice(head_bytes..);
    while !rest.is_empty() {
        upload.write(rest.split_to(rest.len().min(1_000_003))).await?;
    }
    upload.finish(bytes.slice(..head_bytes)).await
}

/// All bytes of an object.
pub async fn get(store: &dyn ObjectStore, key: &ObjectKey, bytes: usize) -> Result<Bytes> {
    let mut all = Vec::new();
    while all.len() < bytes {
        let start = all.len() as u64;
        let end = (start + MAX_RANGE_BYTES).min(bytes as u64);
        all.extend_from_slice(&store.get(key, start..end).await?);
    }
    Ok(all.into())
}

/// Why it failed.
pub fn kind<T>(result: Result<T>) -> Option<StoreErrorKind> {
    result.err().map(|StoreError { kind, .. }| kind)
}

/// Asserts that the object has exactly these bytes.
pub async fn assert_has(store: &dyn ObjectStore, key: &ObjectKey, bytes: &Bytes) {
    assert_eq!(store.head(key).await.unwrap().bytes, bytes.len() as u64);
    let is = get(store, key, bytes.len()).await.unwrap();
    assert!(is == *bytes, "{key} has other bytes");
    let beyond: Range<u64> = bytes.len() as u64..bytes.len() as u64 + 1;
    assert_eq!(kind(store.get(key, beyond).await), Some(StoreErrorKind::Invalid));
}

/// Asserts that nobody can see the object.
pub async fn assert_invisible(store: &dyn ObjectStore, key: &ObjectKey) {
    assert_eq!(kind(store.head(key).await), Some(StoreErrorKind::NotFound));
    assert_eq!(kind(store.get(key, 0..1).await), Some(StoreErrorKind::NotFound));
    assert_eq!(store.list(key.as_str(), None, 1).await.unwrap(), []);
}

/// Waits until `is_so`, which it must be soon.
pub async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    for _ in 0..1_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not in 20 s");
}

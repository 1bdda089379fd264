//! What holds for every store: the contracts of `ObjectStore` and `Upload`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crc_fast::CrcAlgorithm;
use tonemill_job::objects::{
    Checksum, ChecksumAlgorithm, ListedObject, MAX_RANGE_BYTES, ObjectStore, StoreErrorKind,
};
use tonemill_job::{JobId, ObjectKey};

use super::content::{PART, assert_has, assert_invisible, kind, new_key, noise, put};
use super::{suite_parts, suite_uploads};

/// What not every store can do.
#[derive(Clone, Copy)]
pub struct Abilities {
    /// A second object under the same key is refused.
    pub never_overwrites: bool,
    /// Unfinished uploads are listed.
    pub lists_unfinished: bool,
    /// It says that an unfinished upload is not there, instead of refusing what is asked of it.
    pub knows_unfinished: bool,
    /// Objects up to this length have a checksum, if any has.
    pub checksum_bytes: Option<usize>,
}

impl Abilities {
    /// What it says of an unfinished upload that is not there.
    pub fn gone(self) -> StoreErrorKind {
        if self.knows_unfinished { StoreErrorKind::NotFound } else { StoreErrorKind::Denied }
    }
}

/// Runs all cases. `other` is the same store, as another process sees it.
pub async fn run(store: Arc<dyn ObjectStore>, other: Arc<dyn ObjectStore>, abilities: Abilities) {
    let s = &*store;
    s.check().await.unwrap();
    suite_uploads::run(store.clone(), abilities).await;
    suite_parts::run(&store, &other, abilities).await;
    println!("case: ranges");
    ranges(s).await;
    println!("case: head");
    head(s).await;
    println!("case: checksums");
    checksums(s, abilities).await;
    println!("case: delete");
    delete(s).await;
    println!("case: lists");
    lists(s).await;
    s.check().await.unwrap();
}

async fn ranges(store: &dyn ObjectStore) {
    let (key, bytes) = (new_key(), noise(MAX_RANGE_BYTES as usize + 10, 1));
    put(store, &key, &bytes, 417).await.unwrap();
    let total = bytes.len() as u64;
    for range in [0..1, total - 1..total, 5..6, 400..500, 0..MAX_RANGE_BYTES, 10..total] {
        let expected = bytes.slice(range.start as usize..range.end as usize);
        assert!(store.get(&key, range.clone()).await.unwrap() == expected, "{range:?}");
    }
    #[allow(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    let refused = [
        0..total,
        total - 1..total + 1,
        total..total + 1,
        total + 5..total + 6,
        5..5,
        5..4,
        u64::MAX - 1..u64::MAX,
    ];
    for range in refused {
        let result = store.get(&key, range.clone()).await;
        assert_eq!(kind(result), Some(StoreErrorKind::Invalid), "{range:?}");
    }
    assert_eq!(kind(store.get(&new_key(), 0..1).await), Some(StoreErrorKind::NotFound));
    store.delete(&key).await.unwrap();
}

async fn head(store: &dyn ObjectStore) {
    let key = new_key();
    assert_eq!(kind(store.head(&key).await), Some(StoreErrorKind::NotFound));
    put(store, &key, &noise(1_000, 2), 0).await.unwrap();
    let info = store.head(&key).await.unwrap();
    assert_eq!(info.bytes, 1_000);
    let age = SystemTime::now().duration_since(info.modified).unwrap_or_default();
    assert!(age < Duration::from_mins(1), "{age:?}");
}

async fn checksums(store: &dyn ObjectStore, abilities: Abilities) {
    for bytes in [0, 1_000, PART, PART + 1, 2 * PART + 10] {
        let (key, content) = (new_key(), noise(bytes, 2));
        put(store, &key, &content, bytes.min(417)).await.unwrap();
        let expected = abilities.checksum_bytes.filter(|&most| bytes <= most).map(|_| Checksum {
            algorithm: ChecksumAlgorithm::Crc64Nvme,
            value: crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &content),
        });
        assert_eq!(store.head(&key).await.unwrap().checksum, expected, "{bytes} bytes");
        store.delete(&key).await.unwrap();
    }
}

async fn delete(store: &dyn ObjectStore) {
    let job = JobId::new();
    let (key, neighbour) = (ObjectKey::output(job, 1), ObjectKey::output(job, 2));
    let bytes = noise(10, 3);
    put(store, &key, &bytes, 5).await.unwrap();
    put(store, &neighbour, &bytes, 5).await.unwrap();
    store.delete(&key).await.unwrap();
    assert_invisible(store, &key).await;
    store.delete(&key).await.unwrap();
    store.delete(&new_key()).await.unwrap();
    assert_has(store, &neighbour, &bytes).await;
}

async fn lists(store: &dyn ObjectStore) {
    let job = JobId::new();
    let all = format!("{}{job}", ObjectKey::UPLOADS);
    // In the order of S3: `-` and `.` come before `/`, and `/` before digits.
    let names = ["-/x", "-a", ".b", "/0", "/a", "/a-b", "/a.b/c", "/a0/x/y", "/b", "0", "a/b"];
    let keys: Vec<_> =
        names.iter().map(|n| ObjectKey::try_from(format!("{all}{n}")).unwrap()).collect();
    for (i, key) in keys.iter().enumerate().rev() {
        put(store, key, &noise(i, 4), 0).await.unwrap();
    }
    let names = |found: Vec<ListedObject>| {
        found.into_iter().map(|o| o.key.as_str()[all.len()..].to_owned()).collect::<Vec<_>>()
    };

    let found = store.list(&all, None, 1_000).await.unwrap();
    assert_eq!(found.iter().map(|o| &o.key).collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    assert!(found.iter().enumerate().all(|(i, o)| o.bytes == i as u64));

    let listed = async |prefix: &str, after: Option<&ObjectKey>, max| {
        names(store.list(&format!("{all}{prefix}"), after, max).await.unwrap())
    };
    assert_eq!(listed("/", None, 100).await, ["/0", "/a", "/a-b", "/a.b/c", "/a0/x/y", "/b"]);
    assert_eq!(listed("/a", None, 100).await, ["/a", "/a-b", "/a.b/c", "/a0/x/y"]);
    assert_eq!(listed("/a0", None, 100).await, ["/a0/x/y"]);
    assert_eq!(listed("", None, 3).await, ["-/x", "-a", ".b"]);
    assert_eq!(listed("", Some(&keys[8]), 100).await, ["0", "a/b"]);
    assert_eq!(listed("/a", Some(&keys[4]), 2).await, ["/a-b", "/a.b/c"]);
    assert_eq!(listed("", keys.last(), 100).await, [""; 0]);
    assert_eq!(listed("none", None, 100).await, [""; 0]);
    let between = ObjectKey::try_from(format!("{all}/a0/x/a")).unwrap();
    assert_eq!(listed("", Some(&between), 1).await, ["/a0/x/y"]);

    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(&all, after.as_ref(), 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        paged.extend(page.into_iter().map(|o| o.key));
    }
    assert_eq!(paged, keys);
    for key in &keys {
        store.delete(key).await.unwrap();
    }
    assert_eq!(store.list(&all, None, 1).await.unwrap(), []);
}

//! What is in the bucket when a test is over: outputs of jobs, and what the dead have left
//! half-way.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tonemill_job::objects::{ObjectStore, S3Config, S3Credentials, StoreErrorKind};
use tonemill_job::{JobId, ObjectKey};
use tonemill_testbed::s3::S3Server;

/// A bucket, seen as the service sees it and, where that shows too little, on its server's disk.
#[derive(Clone, Copy)]
pub struct Bucket<'a> {
    pub store: &'a dyn ObjectStore,
    pub s3: &'a S3Server,
}

impl Bucket<'_> {
    /// All outputs, by job. What a worker died over that only tried out whether it may write is
    /// none: it would be the output of an attempt before the first, and is swept.
    pub async fn outputs(&self) -> BTreeMap<JobId, Vec<ObjectKey>> {
        let mut outputs: BTreeMap<JobId, Vec<ObjectKey>> = BTreeMap::new();
        for key in self.keys(ObjectKey::OUTPUTS).await {
            let mut parts = key.as_str().split('/').skip(1);
            let job = parts.next().expect("outputs/{job}/…");
            if parts.next().is_some_and(|output| output.starts_with("0-")) {
                continue;
            }
            outputs.entry(job.parse().expect("a job")).or_default().push(key);
        }
        outputs
    }

    /// All keys that begin so.
    pub async fn keys(&self, prefix: &str) -> Vec<ObjectKey> {
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.list(prefix, after.as_ref(), 1000).await.expect("a list");
            let Some(last) = page.last() else { return keys };
            after = Some(last.key.clone());
            keys.extend(page.into_iter().map(|object| object.key));
        }
    }

    /// The bytes of an object, if it is there.
    pub async fn read(&self, key: &ObjectKey) -> Option<Vec<u8>> {
        let bytes = self.store.head(key).await.ok()?.bytes;
        let mut all = Vec::new();
        while (all.len() as u64) < bytes {
            let at = all.len() as u64;
            all.extend_from_slice(&self.store.get(key, at..bytes.min(at + (8 << 20))).await.ok()?);
        }
        Some(all)
    }

    /// Uploads that were begun and not finished.
    pub async fn unfinished(&self) -> Vec<String> {
        match self.store.unfinished().await {
            Ok(uploads) => uploads.iter().map(|upload| upload.key.to_string()).collect(),
            Err(error) => {
                assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error:?}");
                self.parts().iter().map(|file| file.display().to_string()).collect()
            }
        }
    }

    /// Removes what the dead left half-way, as the service does when it is old; how much.
    pub async fn sweep_unfinished(&self) -> usize {
        let Ok(uploads) = self.store.unfinished().await else {
            let parts = self.parts();
            for file in &parts {
                std::fs::remove_file(file).expect("a file");
            }
            return parts.len();
        };
        for upload in &uploads {
            self.store.give_up(upload).await.expect("it is there or gone");
        }
        uploads.len()
    }

    /// Files of uploads in parts. s3s-fs cannot list them, but keeps them under names that begin
    /// with a dot, beside its buckets.
    fn parts(&self) -> Vec<PathBuf> {
        let bucket = self.s3.object_path("");
        let root = bucket.parent().expect("a folder of buckets");
        let files = std::fs::read_dir(root).expect("a folder").map(|file| file.expect("an entry"));
        let is_part = |name: &str| name.starts_with(".upload") || name.contains(".upload-");
        files
            .filter(|file| is_part(&file.file_name().to_string_lossy()))
            .map(|file| file.path())
            .collect()
    }
}

pub fn s3_config(s3: &S3Server) -> S3Config {
    let mut config = S3Config::new(
        Some(s3.endpoint.clone()),
        s3.bucket.clone(),
        S3Credentials::Static {
            access_key_id: s3.access_key_id.clone(),
            secret_access_key: s3.secret_access_key.clone(),
            session_token: None,
        },
    );
    config.region.clone_from(&s3.region);
    config
}

//! Queue and store, as the command line says where they are.

use std::sync::Arc;
use std::time::Duration;

use tonemill_job::chain;
use tonemill_job::objects::{FolderStore, ObjectStore, S3Config, S3Credentials, S3Store};
use tonemill_job::queue::Queue;
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};

use crate::args::backends::BackendArgs;
use crate::failure::Failure;

/// What a worker and a submitter share.
pub struct Backends {
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn ObjectStore>,
}

impl BackendArgs {
    /// Makes both, which have to be said; nothing is connected yet. `lease` is for who takes jobs.
    pub async fn open(&self, lease: Option<Duration>) -> Result<Backends, Failure> {
        let queue = self.queue(lease)?;
        let queue = queue.ok_or_else(|| Failure::usage("say where Redis is", "--redis-url"))?;
        let store = self.store().await?.ok_or_else(|| {
            Failure::usage("say where the objects are", "--s3-bucket or --folder")
        })?;
        Ok(Backends { queue, store })
    }

    /// The queue, if it was said where it is.
    pub fn queue(&self, lease: Option<Duration>) -> Result<Option<Arc<dyn Queue>>, Failure> {
        Ok(self.redis(lease)?.map(|queue| Arc::new(queue) as Arc<dyn Queue>))
    }

    /// The same, as what it is.
    pub fn redis(&self, lease: Option<Duration>) -> Result<Option<RedisQueue>, Failure> {
        let Some(url) = &self.redis_url else { return Ok(None) };
        let mut redis = RedisConfig::new(url.as_str());
        redis.namespace.clone_from(&self.redis_namespace);
        redis.lease = lease.unwrap_or(redis.lease);
        let queue = RedisQueue::new(redis);
        let queue = queue.map_err(|error| Failure::usage("--redis-url", chain(&error)))?;
        Ok(Some(queue))
    }

    /// The store, if it was said where it is.
    pub async fn store(&self) -> Result<Option<Arc<dyn ObjectStore>>, Failure> {
        Ok(match &self.folder {
            Some(folder) => Some(Arc::new(FolderStore::new(folder))),
            None => self.bucket().await?.map(|store| Arc::new(store) as Arc<dyn ObjectStore>),
        })
    }

    /// The bucket, if one was said.
    pub async fn bucket(&self) -> Result<Option<S3Store>, Failure> {
        match &self.s3_bucket {
            Some(bucket) => self.bucket_called(bucket).await.map(Some),
            None => Ok(None),
        }
    }

    /// A bucket of this name, at the same server.
    pub async fn bucket_called(&self, bucket: &str) -> Result<S3Store, Failure> {
        let store = S3Store::new(self.s3(bucket)?).await;
        store.map_err(|error| Failure::usage(chain(&error), ""))
    }

    fn s3(&self, bucket: &str) -> Result<S3Config, Failure> {
        let credentials = match (&self.s3_access_key_id, &self.s3_secret_access_key) {
            (Some(id), Some(secret)) => S3Credentials::Static {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
                session_token: self.s3_session_token.clone(),
            },
            (None, None) => standard_credentials()?,
            _ => {
                let both = "--s3-access-key-id and --s3-secret-access-key go together";
                return Err(Failure::usage(both, ""));
            }
        };
        let mut config = S3Config::new(self.s3_endpoint.clone(), bucket, credentials);
        config.region.clone_from(&self.s3_region);
        config.ca_file.clone_from(&self.s3_ca_file);
        config.path_style = self.s3_path_style.unwrap_or(config.path_style);
        Ok(config)
    }
}

#[cfg(feature = "aws-credentials")]
#[allow(clippy::unnecessary_wraps, reason = "it fails without the feature")]
fn standard_credentials() -> Result<S3Credentials, Failure> {
    Ok(S3Credentials::Standard)
}

#[cfg(not(feature = "aws-credentials"))]
fn standard_credentials() -> Result<S3Credentials, Failure> {
    let why = "the standard chain of AWS is not built in (feature aws-credentials)";
    Err(Failure::usage("S3 needs --s3-access-key-id and --s3-secret-access-key", why))
}

//! Queue and store, as the command line says where they are.

use std::sync::Arc;
use std::time::Duration;

use tonemill_job::chain;
use tonemill_job::objects::{FolderStore, ObjectStore, S3Config, S3Credentials, S3Store};
use tonemill_job::queue::Queue;
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};

use crate::args_service::ServiceArgs;

/// What a worker and a submitter share.
pub struct Service {
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn ObjectStore>,
}

impl ServiceArgs {
    /// Makes both, which have to be said; nothing is connected yet. `lease` is for who takes jobs.
    /// The error says what to change.
    pub async fn open(&self, lease: Option<Duration>) -> Result<Service, String> {
        let queue = self.queue(lease)?.ok_or("say where Redis is: --redis-url")?;
        let store = self.store().await?;
        let store = store.ok_or("say where the objects are: --s3-bucket or --folder")?;
        Ok(Service { queue, store })
    }

    /// The queue, if it was said where it is.
    pub fn queue(&self, lease: Option<Duration>) -> Result<Option<Arc<dyn Queue>>, String> {
        let Some(url) = &self.redis_url else { return Ok(None) };
        let mut redis = RedisConfig::new(url.as_str());
        redis.namespace.clone_from(&self.redis_namespace);
        redis.lease = lease.unwrap_or(redis.lease);
        let queue =
            RedisQueue::new(redis).map_err(|error| format!("--redis-url: {}", chain(&error)))?;
        Ok(Some(Arc::new(queue)))
    }

    /// The store, if it was said where it is.
    pub async fn store(&self) -> Result<Option<Arc<dyn ObjectStore>>, String> {
        Ok(match (&self.folder, &self.s3_bucket) {
            (Some(folder), _) => Some(Arc::new(FolderStore::new(folder))),
            (None, Some(bucket)) => {
                let config = self.s3(bucket)?;
                Some(Arc::new(S3Store::new(config).await.map_err(|error| chain(&error))?))
            }
            (None, None) => None,
        })
    }

    fn s3(&self, bucket: &str) -> Result<S3Config, String> {
        let credentials = match (&self.s3_access_key_id, &self.s3_secret_access_key) {
            (Some(id), Some(secret)) => S3Credentials::Static {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
                session_token: self.s3_session_token.clone(),
            },
            (None, None) => standard_credentials()?,
            _ => return Err("--s3-access-key-id and --s3-secret-access-key go together".to_owned()),
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
fn standard_credentials() -> Result<S3Credentials, String> {
    Ok(S3Credentials::Standard)
}

#[cfg(not(feature = "aws-credentials"))]
fn standard_credentials() -> Result<S3Credentials, String> {
    Err("S3 needs --s3-access-key-id and --s3-secret-access-key: the standard chain of AWS is not \
         built in (feature aws-credentials)"
        .to_owned())
}

/// Seconds as a duration, however many.
pub fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

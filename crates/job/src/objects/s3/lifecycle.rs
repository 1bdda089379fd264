//! What the bucket does with objects by itself.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::ExpirationStatus;

use super::S3Store;

/// Rules of a bucket that concern us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifecycle {
    /// Objects go after a while, whatever the ledger says.
    pub removes_objects: bool,
    /// Uploads that nobody finished go after a while.
    pub removes_unfinished: bool,
}

impl S3Store {
    /// The bucket's rules; `None` where the store knows no rules, or does not tell us.
    pub async fn lifecycle(&self) -> Option<Lifecycle> {
        let bucket = &self.config.bucket;
        let asked = self.client.get_bucket_lifecycle_configuration().bucket(bucket).send().await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => {
                return Some(Lifecycle::default());
            }
            Err(_) => return None,
        };
        let mut lifecycle = Lifecycle::default();
        for rule in answer.rules().iter().filter(|rule| rule.status == ExpirationStatus::Enabled) {
            let expires = rule.expiration.as_ref();
            lifecycle.removes_objects |=
                expires.is_some_and(|when| when.days.is_some() || when.date.is_some());
            lifecycle.removes_unfinished |= rule.abort_incomplete_multipart_upload.is_some();
        }
        Some(lifecycle)
    }
}

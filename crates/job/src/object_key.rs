//! Names of objects: the only place that formats them.
//!
//! Uploads are `uploads/{job}/{random}`, outputs are `outputs/{job}/{attempt}-{random}.mp3`. A key
//! is made once and never written twice. Nothing that a user can name is part of a key, so a key is
//! safe as a path below a folder, and only someone who was told a key can guess it. Others have
//! names that can be known: the mark that says whose store it is, and the card of a job,
//! `cards/{job}`, which only the service reads and writes.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::JobId;

/// Longest key, in bytes. S3 allows 1,024; ours are about 90.
const MAX_BYTES: usize = 256;

/// The name of an object: segments of lower-case letters, digits, `-` and `.`, joined by `/`; no
/// segment starts with a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ObjectKey(String);

/// A text that is no key.
#[derive(Debug, thiserror::Error)]
#[error("not an object key: {0:?}")]
pub struct InvalidKey(String);

impl ObjectKey {
    /// A new key for the upload of `job`.
    #[must_use]
    pub fn upload(job: JobId) -> Self {
        Self(format!("{}{}", Self::uploads_of(job), Uuid::new_v4().simple()))
    }

    /// A new key for what the `attempt`th attempt at `job` puts out.
    #[must_use]
    pub fn output(job: JobId, attempt: u32) -> Self {
        Self(format!("{}{attempt}-{}.mp3", Self::outputs_of(job), Uuid::new_v4().simple()))
    }

    /// The card of `job`: what the service has to know of it besides its objects.
    #[must_use]
    pub fn card(job: JobId) -> Self {
        Self(format!("{}{job}", Self::CARDS))
    }

    /// The object that says whose store it is in.
    #[must_use]
    pub fn mark() -> Self {
        Self("tonemill-ledger".to_owned())
    }

    /// What the keys of all uploads of `job` start with.
    #[must_use]
    pub fn uploads_of(job: JobId) -> String {
        format!("{}{job}/", Self::UPLOADS)
    }

    /// What the keys of all outputs of `job` start with.
    #[must_use]
    pub fn outputs_of(job: JobId) -> String {
        format!("{}{job}/", Self::OUTPUTS)
    }

    /// What the keys of all uploads start with.
    pub const UPLOADS: &str = "uploads/";
    /// What the keys of all outputs start with.
    pub const OUTPUTS: &str = "outputs/";
    /// What the keys of all cards start with.
    pub const CARDS: &str = "cards/";

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        let is_segment = |s: &str| !s.is_empty() && !s.starts_with('.') && s.bytes().all(allowed);
        if text.len() <= MAX_BYTES && text.split('/').all(is_segment) {
            Ok(Self(text))
        } else {
            Err(InvalidKey(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_keys_are_keys_and_differ() {
        let job = JobId::new();
        let keys = [ObjectKey::upload(job), ObjectKey::output(job, 1), ObjectKey::output(job, 1)];
        assert_ne!(keys[1], keys[2]);
        assert!(keys[1].as_str().starts_with(&format!("outputs/{job}/1-")));
        for key in keys {
            assert_eq!(ObjectKey::try_from(String::from(key.clone())).unwrap(), key);
        }
    }

    #[test]
    fn nothing_leaves_its_folder() {
        let long = "a".repeat(MAX_BYTES);
        assert!(ObjectKey::try_from(long.clone()).is_ok());
        assert!(ObjectKey::try_from(long + "a").is_err());
        for text in ["", "/", "a//b", "/a", "a/", "..", "a/../b", "a/.b", "A", "a b", "a\\b", "a\0"]
        {
            assert!(ObjectKey::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}

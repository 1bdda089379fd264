//! Where a bucket is, who we are there, and how long we wait.
//!
//! No secret is ever printed. The defaults fit a store in the same data centre; the sum that
//! matters is [`S3Deadlines::call`]: no call takes longer, however often it is tried.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A bucket, and how to talk to it.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// Where the store is, such as `http://localhost:3900`; without, it is AWS.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket. It must exist.
    pub bucket: String,
    /// Whether the bucket is the first segment of the path rather than a part of the host name.
    pub path_style: bool,
    /// Who we are.
    pub credentials: S3Credentials,
    /// Which uploads carry a checksum.
    pub checksums: S3Checksums,
    /// Whether writing asks the store to refuse a key that is there, by `If-None-Match`. Some
    /// stores ignore it, which is harmless, since keys are random; to some that is an error.
    pub refuses_existing: bool,
    /// A PEM file of certificate authorities to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long to wait.
    pub deadlines: S3Deadlines,
    /// How often to try.
    pub retries: S3Retries,
}

impl S3Config {
    /// `bucket` at `endpoint`, or at AWS without one, with defaults for the rest: region
    /// `us-east-1`, and the bucket in the path if there is an endpoint.
    #[must_use]
    pub fn new(
        endpoint: Option<String>,
        bucket: impl Into<String>,
        credentials: S3Credentials,
    ) -> Self {
        Self {
            path_style: endpoint.is_some(),
            endpoint,
            region: "us-east-1".to_owned(),
            bucket: bucket.into(),
            credentials,
            checksums: S3Checksums::default(),
            refuses_existing: true,
            ca_file: None,
            deadlines: S3Deadlines::default(),
            retries: S3Retries::default(),
        }
    }
}

/// Who we are to the store.
#[derive(Clone)]
pub enum S3Credentials {
    /// A key that does not change.
    Static {
        /// Its name.
        access_key_id: String,
        /// Its secret.
        secret_access_key: String,
        /// What temporary keys come with.
        session_token: Option<String>,
    },
    /// AWS's standard chain: environment, profiles, web identity, instance metadata.
    #[cfg(feature = "aws-credentials")]
    Standard,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static { access_key_id, .. } => f
                .debug_struct("Static")
                .field("access_key_id", access_key_id)
                .finish_non_exhaustive(),
            #[cfg(feature = "aws-credentials")]
            Self::Standard => f.write_str("Standard"),
        }
    }
}

/// Which uploads carry a checksum that the store verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum S3Checksums {
    /// All, CRC-64/NVME: the only kind that every store which knows it computes over the whole
    /// object, however many parts it came in.
    #[default]
    Always,
    /// None: for stores that refuse them. The signature covers the bytes all the same.
    WhenRequired,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Deadlines {
    /// For a connection, TLS included: 3 s.
    pub connect: Duration,
    /// For one try of a call, up to its answer; what an object's bytes take to arrive is not part
    /// of it, what ours take to be sent is: 15 s, which is 4.5 Mbit/s for a part of an upload.
    pub attempt: Duration,
    /// For a call with all its tries: 60 s. One try to put an object together from its parts has
    /// all of it.
    pub call: Duration,
    /// For a range, down to its last byte, with all tries: 30 s.
    pub range: Duration,
    /// For the next 64 KiB of a range, before it is asked for again: 10 s.
    pub stall: Duration,
}

impl Default for S3Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(15),
            call: Duration::from_mins(1),
            range: Duration::from_secs(30),
            stall: Duration::from_secs(10),
        }
    }
}

/// How often to try, and how long to pause in between: a random part of a time that doubles with
/// every try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Retries {
    /// Tries in all: 7, of which all fail in one call out of 5,000 if three in ten do.
    pub tries: u32,
    /// The longest first pause: 50 ms.
    pub first_pause: Duration,
    /// The longest pause: 2 s.
    pub longest_pause: Duration,
}

impl Default for S3Retries {
    fn default() -> Self {
        Self {
            tries: 7,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_printed() {
        let credentials = S3Credentials::Static {
            access_key_id: "known".to_owned(),
            secret_access_key: "hidden-secret".to_owned(),
            session_token: Some("hidden-token".to_owned()),
        };
        let printed = format!("{:?}", S3Config::new(None, "bucket", credentials));
        assert!(printed.contains("known") && !printed.contains("hidden"), "{printed}");
    }
}

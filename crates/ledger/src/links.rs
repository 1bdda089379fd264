//! Links that work without a log-in, for mails: whoever has one may do one thing.

use tonemill_job::JobId;
use uuid::Uuid;

use crate::Ledger;
use crate::error::Result;

/// Makes links, and knows them again.
#[derive(Clone)]
pub struct LinkKey([u8; blake3::OUT_LEN]);

impl Ledger {
    /// The key of this service's links.
    pub async fn link_key(&self) -> Result<LinkKey> {
        Ok(LinkKey(self.secret("links").await?))
    }
}

impl LinkKey {
    /// The path of a job's MP3, for as long as it does not expire.
    #[must_use]
    pub fn download(&self, job: JobId, expires_ms: i64) -> String {
        let mac = blake3::keyed_hash(&self.0, format!("download {job} {expires_ms}").as_bytes());
        format!("/d/{job}?expires={expires_ms}&mac={}", mac.to_hex())
    }

    /// The path at which a user ends mails about jobs.
    #[must_use]
    pub fn unsubscribe(&self, user: Uuid) -> String {
        let mac = blake3::keyed_hash(&self.0, format!("unsubscribe {user}").as_bytes());
        format!("/unsubscribe?user={user}&mac={}", mac.to_hex())
    }
}

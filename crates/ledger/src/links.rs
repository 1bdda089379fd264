//! Links that work without logging in, for mails: whoever has one may do just what it says.
//!
//! All of a link before its MAC is what the MAC is of. It begins with a path, so that none is good
//! for anything else.

use std::fmt;

use tonemill_job::JobId;
use uuid::Uuid;

use crate::Ledger;
use crate::credentials::random_bytes;
use crate::error::Result;

/// Hexadecimal digits of a MAC: 128 bits are enough, and mails have short lines.
const MAC_DIGITS: usize = 32;

/// What links are signed with. All replicas have the same.
#[derive(Clone)]
pub struct LinkKey([u8; blake3::KEY_LEN]);

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(..)")
    }
}

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Getting a job's MP3, until then.
    Download {
        /// The job.
        job: JobId,
        /// In milliseconds since 1970, by the ledger's clock.
        expires_ms: i64,
    },
    /// Getting no more mails about jobs, for ever.
    Unsubscribe {
        /// Who gets them.
        user: Uuid,
    },
}

impl Ledger {
    /// What links are signed with.
    pub async fn link_key(&self) -> Result<LinkKey> {
        self.secret("links").await.map(LinkKey)
    }
}

impl LinkKey {
    /// One that no ledger has: nobody takes its links.
    #[must_use]
    pub fn random() -> Self {
        Self(random_bytes())
    }

    /// Path and query of a link to a job's MP3.
    #[must_use]
    pub fn download(&self, job: JobId, expires_ms: i64) -> String {
        self.signed(&format!("/d/{job}?expires={expires_ms}"))
    }

    /// Path and query of a link by which a user gets no more mails.
    #[must_use]
    pub fn unsubscribe(&self, user: Uuid) -> String {
        self.signed(&format!("/unsubscribe?user={}", user.hyphenated()))
    }

    /// What a link is for, by its path and query; `None` if we did not make it so, to the byte.
    /// Whether it has expired is for the caller to see.
    #[must_use]
    pub fn read(&self, path_and_query: &str) -> Option<Link> {
        let (said, mac) = path_and_query.rsplit_once("&mac=")?;
        // Hashes are compared in constant time, which texts are not.
        if blake3::hash(mac.as_bytes()) != blake3::hash(self.mac(said).as_bytes()) {
            return None;
        }
        if let Some(user) = said.strip_prefix("/unsubscribe?user=") {
            return Some(Link::Unsubscribe { user: user.parse().ok()? });
        }
        let (job, expires) = said.strip_prefix("/d/")?.split_once("?expires=")?;
        Some(Link::Download { job: job.parse().ok()?, expires_ms: expires.parse().ok()? })
    }

    fn signed(&self, said: &str) -> String {
        format!("{said}&mac={}", self.mac(said))
    }

    fn mac(&self, said: &str) -> String {
        blake3::keyed_hash(&self.0, said.as_bytes()).to_hex()[..MAC_DIGITS].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_for_what_it_was_made_for() {
        let key = LinkKey([7; blake3::KEY_LEN]);
        let (job, user) = (JobId::new(), Uuid::new_v4());
        for expires_ms in [0, 1_800_000_000_000, i64::MAX] {
            let link = key.download(job, expires_ms);
            assert_eq!(key.read(&link), Some(Link::Download { job, expires_ms }));
            assert_eq!(LinkKey([8; blake3::KEY_LEN]).read(&link), None);
        }
        let link = key.unsubscribe(user);
        assert_eq!(key.read(&link), Some(Link::Unsubscribe { user }));
        assert!(!format!("{key:?}").contains('7'));
    }

    #[test]
    fn no_other_byte_will_do() {
        let key = LinkKey([7; blake3::KEY_LEN]);
        let user = Uuid::new_v4();
        for link in [key.download(JobId::from(user), 1_800_000_000_000), key.unsubscribe(user)] {
            for at in 0..link.len() {
                let (before, rest) = link.split_at(at);
                let other = if rest.starts_with('0') { '1' } else { '0' };
                let case = rest[..1].to_uppercase();
                for altered in [
                    format!("{before}{other}{}", &rest[1..]),
                    format!("{before}{}", &rest[1..]),
                    format!("{before}0{rest}"),
                    before.to_owned(),
                    format!("{before}{case}{}", &rest[1..]),
                ] {
                    assert!(altered == link || key.read(&altered).is_none(), "{altered}");
                }
            }
            for more in [" ", "&", "&mac=", "&x=1", "0"] {
                assert_eq!(key.read(&format!("{link}{more}")), None);
            }
        }
        for nothing in ["", "&mac=", "/d/", "/d/x?expires=0&mac=", "/unsubscribe?user=&mac="] {
            assert_eq!(key.read(nothing), None);
        }
    }
}

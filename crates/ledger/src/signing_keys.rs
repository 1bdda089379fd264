//! The keys that sign access tokens, shared by all replicas. The API makes and uses them.

use sqlx::Row as _;

use crate::Ledger;
use crate::error::Result;

/// A key that signs, or did.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its name in tokens (`kid`).
    pub id: String,
    /// The private key (PKCS #8, RFC 5958), in hexadecimal.
    pub pkcs8_hex: String,
    /// Tokens are signed with it from then on, until a later key's time has come.
    pub signs_from_ms: i64,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Ledger {
    /// All keys, the one that signs latest last.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        let look = || async move {
            let text = "SELECT id, pkcs8_hex, signs_from_ms FROM signing_keys \
                        ORDER BY signs_from_ms, id";
            let rows = self.db.query(text).fetch_all(&self.db.read).await?;
            let key = |row: &sqlx::any::AnyRow| {
                Ok(SigningKey {
                    id: row.try_get("id")?,
                    pkcs8_hex: row.try_get("pkcs8_hex")?,
                    signs_from_ms: row.try_get("signs_from_ms")?,
                })
            };
            rows.iter().map(key).collect()
        };
        self.db.run("look up signing keys", look).await
    }

    /// Adds a key, and forgets those that signed nothing after `forget_before_ms`.
    pub async fn add_signing_key(&self, key: &SigningKey, forget_before_ms: i64) -> Result<()> {
        let add = || async move {
            let mut tx = self.db.begin().await?;
            let text = "INSERT INTO signing_keys (id, pkcs8_hex, created_ms, signs_from_ms) \
                        VALUES (?, ?, ?, ?)";
            let insert = self.db.query(text).bind(key.id.clone()).bind(key.pkcs8_hex.clone());
            let insert = insert.bind(self.db.now_ms()).bind(key.signs_from_ms);
            insert.execute(&mut *tx).await?;
            // A key has signed until the next one's time came.
            let rows = "SELECT id, signs_from_ms FROM signing_keys ORDER BY signs_from_ms, id";
            let rows = self.db.query(rows).fetch_all(&mut *tx).await?;
            for pair in rows.windows(2) {
                if pair[1].try_get::<i64, _>("signs_from_ms")? < forget_before_ms {
                    let delete = self.db.query("DELETE FROM signing_keys WHERE id = ?");
                    let id: String = pair[0].try_get("id")?;
                    delete.bind(id).execute(&mut *tx).await?;
                }
            }
            tx.commit().await
        };
        self.db.run("add a signing key", add).await
    }
}

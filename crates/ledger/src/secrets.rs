//! What this service knows and nobody else, shared by all replicas: what it signs links with.

use sqlx::Row as _;

use crate::Ledger;
use crate::error::Result;
use crate::token::random_bytes;

impl Ledger {
    /// The secret of this name, made when it is asked for first.
    pub async fn secret(&self, name: &'static str) -> Result<[u8; blake3::OUT_LEN]> {
        let insert = || {
            let text = "INTO secrets (name, secret_hex) VALUES (?, ?)";
            let insert = self.db.dialect.query_of(self.db.dialect.insert_ignore(text));
            insert.bind(name).bind(blake3::Hash::from_bytes(random_bytes()).to_hex().to_string())
        };
        self.db.write("make a secret", insert).await?;
        let look = || async move {
            let query = self.db.query("SELECT secret_hex FROM secrets WHERE name = ?").bind(name);
            let hex: String = query.fetch_one(&self.db.read).await?.try_get(0)?;
            let secret = blake3::Hash::from_hex(hex);
            Ok(*secret.map_err(|error| sqlx::Error::Decode(Box::new(error)))?.as_bytes())
        };
        self.db.run("look up a secret", look).await
    }
}

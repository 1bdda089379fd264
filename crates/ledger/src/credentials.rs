//! What users show instead of their password: refresh tokens and API keys.
//!
//! Of a token only a hash is kept (see `token`). Refresh tokens of one log-in are a family: each is
//! exchanged once for the next, and one that comes again later than [`REUSE_GRACE_MS`] was stolen,
//! by whoever came first or second: the family ends.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row as _};
use uuid::Uuid;

use crate::Ledger;
use crate::database::Tx;
use crate::error::Result;
use crate::job::parsed;
pub use crate::token::{Token, TokenKind, random_bytes};
use crate::users::{User, from_row};

/// For this long an exchanged refresh token may be exchanged again: its answer may have been lost,
/// or two windows may have had the same idea.
pub const REUSE_GRACE_MS: i64 = 10_000;
/// An API key's last use is written down this often at most.
const USED_EVERY_MS: i64 = 60_000;
/// Most API keys of a user.
pub const MAX_API_KEYS: i64 = 100;
/// Longest label of an API key, in bytes.
pub const MAX_KEY_LABEL_BYTES: usize = 190;

/// A log-in, as its newest refresh token knows it.
#[derive(Debug, Clone)]
pub struct Session {
    /// Names the log-in in access tokens.
    pub id: Uuid,
    /// Whose it is.
    pub user: User,
    /// Gets the next one.
    pub refresh: Token,
}

/// What came of a refresh token.
#[derive(Debug)]
pub enum Refreshed {
    /// Another one.
    Renewed(Box<Session>),
    /// It had been exchanged before: its family is ended.
    Reused,
    /// It is unknown, expired, or ended.
    Unknown,
}

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name among machines.
    pub id: Uuid,
    /// What its user calls it.
    pub label: String,
    /// What it may do, separated by spaces.
    pub scopes: String,
    /// When it was made.
    pub created_ms: i64,
    /// When it ends.
    pub expires_ms: Option<i64>,
    /// When it was used last, within a minute.
    pub used_ms: Option<i64>,
}

/// What came of the wish for an API key.
#[derive(Debug)]
pub enum ApiKeyMade {
    /// It is good.
    Made(ApiKey, Token),
    /// The user has [`MAX_API_KEYS`].
    TooMany,
    /// There is no such user, or not any more.
    NoUser,
}

/// API keys that have not ended, of a user, at a time.
const GOOD_KEYS: &str = "user_id = ? AND kind = 'api_key' AND revoked_ms IS NULL AND \
    (expires_ms IS NULL OR expires_ms > ?)";

const USER: &str = "users.id, users.name, users.role, users.email, users.mail_events, \
    users.created_ms, users.disabled_ms, users.max_unfinished_jobs, users.max_stored_bytes, \
    users.max_daily_audio_ms";

impl Ledger {
    /// Logs a user in whose password was right, if `password_hash`, by which it was verified, is
    /// still the user's. To verify takes a while, in which the password may have become another or
    /// the user disabled, and a log-in that is made after all others have ended would go on.
    pub async fn log_in(
        &self,
        user: Uuid,
        password_hash: &str,
        lifetime_ms: i64,
    ) -> Result<Option<Session>> {
        let refresh = Token::new(TokenKind::Refresh);
        let log_in = || async {
            let mut tx = self.db.begin().await?;
            // Whoever changes the user at this moment waits, and then ends this log-in as well.
            let found = self.locked_user(&mut tx, user).await?;
            let found = found.filter(|(user, hash)| {
                user.disabled_ms.is_none() && hash.as_str() == password_hash
            });
            let Some((user, _)) = found else { return Ok(None) };
            let expires = self.db.now_ms().saturating_add(lifetime_ms);
            let row = Row { user: user.id, family: refresh.id, label: "", scopes: "" };
            self.insert_token(&refresh, row, Some(expires)).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(Some(Session { id: refresh.id, user, refresh: refresh.clone() }))
        };
        self.db.run("log a user in", log_in).await
    }

    /// Exchanges a refresh token for the next of its family.
    pub async fn refresh(&self, token: &Token, lifetime_ms: i64) -> Result<Refreshed> {
        let next = Token::new(TokenKind::Refresh);
        let exchange = || async {
            // Anybody can make tokens up: only who shows a good one may make others wait.
            let mut connection = self.db.read.acquire().await?;
            let is_good = self.token_row(&mut connection, token, self.db.now_ms()).await?.is_some();
            drop(connection);
            if !is_good {
                return Ok(Refreshed::Unknown);
            }
            self.try_refresh(token, &next, lifetime_ms).await
        };
        self.db.run("refresh a log-in", exchange).await
    }

    async fn try_refresh(
        &self,
        token: &Token,
        next: &Token,
        lifetime_ms: i64,
    ) -> Result<Refreshed, sqlx::Error> {
        let now = self.db.now_ms();
        let mut tx = self.db.begin().await?;
        // Two exchanges of one token at once: the second waits, and sees what the first did.
        let lock = "UPDATE credentials SET kind = kind WHERE id = ?";
        self.db.query(lock).bind(token.id.to_string()).execute(&mut *tx).await?;
        let Some(row) = self.token_row(&mut tx, token, now).await? else {
            return Ok(Refreshed::Unknown);
        };
        let family: Uuid = parsed(&row, "family")?;
        let exchanged: Option<i64> = row.try_get("used_ms")?;
        if exchanged.is_some_and(|at| now - at > REUSE_GRACE_MS) {
            self.revoke_family(&mut tx, family, now).await?;
            tx.commit().await?;
            return Ok(Refreshed::Reused);
        }
        let user = from_row(&row)?;
        let text = "UPDATE credentials SET used_ms = ? WHERE id = ? AND used_ms IS NULL";
        let update = self.db.query(text).bind(now).bind(token.id.to_string());
        update.execute(&mut *tx).await?;
        let expires = now.saturating_add(lifetime_ms);
        let row = Row { user: user.id, family, label: "", scopes: "" };
        self.insert_token(next, row, Some(expires)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Refreshed::Renewed(Box::new(Session { id: family, user, refresh: next.clone() })))
    }

    /// Whose log-in this is, if it goes on.
    pub async fn session_user(&self, session: Uuid) -> Result<Option<User>> {
        let look = || async move {
            // Any of its tokens will do: they are revoked together, and the first is forgotten
            // first.
            let text = format!(
                "SELECT {USER} FROM credentials JOIN users ON users.id = credentials.user_id \
                 WHERE credentials.family = ? AND credentials.kind = 'refresh' AND \
                 credentials.revoked_ms IS NULL AND users.disabled_ms IS NULL LIMIT 1"
            );
            let query = self.db.dialect.query_of(text).bind(session.to_string());
            query.fetch_optional(&self.db.read).await?.as_ref().map(from_row).transpose()
        };
        self.db.run("look up a log-in", look).await
    }

    /// Ends a log-in. That there is none is no error.
    pub async fn log_out(&self, session: Uuid) -> Result<()> {
        let end = || async move {
            let mut tx = self.db.begin().await?;
            self.revoke_family(&mut tx, session, self.db.now_ms()).await?;
            tx.commit().await
        };
        self.db.run("log a user out", end).await
    }

    /// Makes an API key.
    pub async fn add_api_key(
        &self,
        user: Uuid,
        label: &str,
        scopes: &str,
        expires_ms: Option<i64>,
    ) -> Result<ApiKeyMade> {
        let token = Token::new(TokenKind::ApiKey);
        let made = ApiKey {
            id: token.id,
            label: label.to_owned(),
            scopes: scopes.to_owned(),
            created_ms: self.db.now_ms(),
            expires_ms,
            used_ms: None,
        };
        let add = || async {
            let mut tx = self.db.begin().await?;
            // Of several at once each counts the others, and whoever disables the user ends them
            // all.
            let found = self.locked_user(&mut tx, user).await?;
            if found.is_none_or(|(user, _)| user.disabled_ms.is_some()) {
                return Ok(ApiKeyMade::NoUser);
            }
            let count = format!("SELECT COUNT(*) FROM credentials WHERE {GOOD_KEYS}");
            let count = self.db.dialect.query_of(count).bind(user.to_string());
            let count = count.bind(self.db.now_ms()).fetch_one(&mut *tx).await?;
            if count.try_get::<i64, _>(0)? >= MAX_API_KEYS {
                return Ok(ApiKeyMade::TooMany);
            }
            let row = Row { user, family: token.id, label, scopes };
            self.insert_token(&token, row, expires_ms).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(ApiKeyMade::Made(made.clone(), token.clone()))
        };
        self.db.run("add an API key", add).await
    }

    /// A user's API keys that have not ended, oldest first.
    pub async fn api_keys(&self, user: Uuid) -> Result<Vec<ApiKey>> {
        let look = || async move {
            let text = format!(
                "SELECT id, label, scopes, created_ms, expires_ms, used_ms FROM credentials \
                 WHERE {GOOD_KEYS} ORDER BY id"
            );
            let query =
                self.db.dialect.query_of(text).bind(user.to_string()).bind(self.db.now_ms());
            query.fetch_all(&self.db.read).await?.iter().map(api_key).collect()
        };
        self.db.run("list API keys", look).await
    }

    /// Ends a user's API key; false if there is none.
    pub async fn revoke_api_key(&self, user: Uuid, key: Uuid) -> Result<bool> {
        let text = "UPDATE credentials SET revoked_ms = ? WHERE id = ? AND user_id = ? AND \
                    kind = 'api_key' AND revoked_ms IS NULL";
        let revoke = || {
            let update = self.db.query(text).bind(self.db.now_ms()).bind(key.to_string());
            update.bind(user.to_string())
        };
        Ok(self.db.write("revoke an API key", revoke).await? == 1)
    }

    /// Who shows this API key, and what it may do, if it is good.
    pub async fn api_key_user(&self, token: &Token) -> Result<Option<(User, String)>> {
        let look = || async move {
            let now = self.db.now_ms();
            let mut connection = self.db.read.acquire().await?;
            let Some(row) = self.token_row(&mut connection, token, now).await? else {
                return Ok(None);
            };
            let used: Option<i64> = row.try_get("used_ms")?;
            let is_noted = used.is_some_and(|used| now - used < USED_EVERY_MS);
            Ok(Some((from_row(&row)?, row.try_get::<String, _>("scopes")?, is_noted)))
        };
        let Some((user, scopes, is_noted)) = self.db.run("look up an API key", look).await? else {
            return Ok(None);
        };
        if !is_noted {
            self.note_use(token).await?;
        }
        Ok(Some((user, scopes)))
    }

    async fn note_use(&self, token: &Token) -> Result<()> {
        let text = "UPDATE credentials SET used_ms = ? WHERE id = ?";
        let note = || self.db.query(text).bind(self.db.now_ms()).bind(token.id.to_string());
        self.db.write("note the use of an API key", note).await.map(drop)
    }

    /// A good token's row with its user's columns, if its secret is right.
    async fn token_row(
        &self,
        connection: &mut sqlx::AnyConnection,
        token: &Token,
        now: i64,
    ) -> Result<Option<AnyRow>, sqlx::Error> {
        let text = format!(
            "SELECT {USER}, credentials.secret_hash, credentials.family, credentials.used_ms, \
             credentials.scopes FROM credentials JOIN users ON users.id = credentials.user_id \
             WHERE credentials.id = ? AND credentials.kind = ? AND credentials.revoked_ms IS NULL \
             AND (credentials.expires_ms IS NULL OR credentials.expires_ms > ?) AND \
             users.disabled_ms IS NULL"
        );
        let query = self.db.dialect.query_of(text).bind(token.id.to_string());
        let query = query.bind(token.kind.name()).bind(now);
        let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
        let hash: String = row.try_get("secret_hash")?;
        // Compared in constant time.
        let is_right = blake3::Hash::from_hex(hash).is_ok_and(|hash| hash == token.hash());
        Ok(is_right.then_some(row))
    }

    fn insert_token(
        &self,
        token: &Token,
        row: Row<'_>,
        expires_ms: Option<i64>,
    ) -> Query<'static, Any, AnyArguments> {
        let text = "INSERT INTO credentials (id, user_id, kind, family, secret_hash, label, \
                    scopes, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let insert = self.db.query(text).bind(token.id.to_string()).bind(row.user.to_string());
        let insert = insert.bind(token.kind.name()).bind(row.family.to_string());
        let insert = insert.bind(token.hash().to_hex().to_string()).bind(row.label.to_owned());
        insert.bind(row.scopes.to_owned()).bind(self.db.now_ms()).bind(expires_ms)
    }

    async fn revoke_family(&self, tx: &mut Tx, family: Uuid, now: i64) -> Result<(), sqlx::Error> {
        let text = "UPDATE credentials SET revoked_ms = ? WHERE family = ? AND \
                    kind = 'refresh' AND revoked_ms IS NULL";
        let update = || self.db.query(text).bind(now).bind(family.to_string());
        revoke(tx, update).await
    }

    /// Ends all that a user can show, or all of one kind.
    pub(crate) async fn revoke_all(
        &self,
        tx: &mut Tx,
        user: &str,
        kind: Option<&'static str>,
    ) -> Result<(), sqlx::Error> {
        let of_kind = if kind.is_some() { " AND kind = ?" } else { "" };
        let text = format!(
            "UPDATE credentials SET revoked_ms = ? WHERE user_id = ? AND revoked_ms IS NULL{of_kind}"
        );
        let now = self.db.now_ms();
        let update = || {
            let update = self.db.dialect.query_of(text.clone()).bind(now).bind(user.to_owned());
            if let Some(kind) = kind { update.bind(kind) } else { update }
        };
        revoke(tx, update).await
    }
}

/// Revokes until there is nothing left to. A refresh that is under way holds the row of the token
/// that it exchanges, and the statement waits for it; the new token, though, was not there yet when
/// the statement began, and only the next one sees it.
async fn revoke(
    tx: &mut Tx,
    update: impl Fn() -> Query<'static, Any, AnyArguments> + Send,
) -> Result<(), sqlx::Error> {
    while update().execute(&mut **tx).await?.rows_affected() > 0 {}
    Ok(())
}

/// What a new token's row says besides the token.
#[derive(Clone, Copy)]
struct Row<'a> {
    user: Uuid,
    family: Uuid,
    label: &'a str,
    scopes: &'a str,
}

fn api_key(row: &AnyRow) -> Result<ApiKey, sqlx::Error> {
    Ok(ApiKey {
        id: parsed(row, "id")?,
        label: row.try_get("label")?,
        scopes: row.try_get("scopes")?,
        created_ms: row.try_get("created_ms")?,
        expires_ms: row.try_get("expires_ms")?,
        used_ms: row.try_get("used_ms")?,
    })
}

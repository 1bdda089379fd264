//! Users: who may log in, and as what.
//!
//! Passwords come here hashed; how is the API's business.

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::Ledger;
use crate::database::{Tx, is_taken};
use crate::error::Result;
use crate::job::{parsed, signed, strange};
use crate::quota::Quotas;
use crate::sets::Sets;

/// Longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 190;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything, to everything.
    Admin,
    /// Have files converted.
    User,
}

impl Role {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Admin, Self::User].into_iter().find(|role| role.name() == name)
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name among machines.
    pub id: Uuid,
    /// Its name among people, with which it logs in.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where it is written to.
    pub email: Option<String>,
    /// What it is mailed about; `None` is as for everybody.
    pub mail_events: Option<Vec<String>>,
    /// When it was added.
    pub created_ms: i64,
    /// Since when it may not do anything.
    pub disabled_ms: Option<i64>,
    /// Its own quotas; what is `None` is as for everybody.
    pub quotas: Quotas,
}

/// A user who is to be.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// At most [`MAX_NAME_BYTES`].
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// A PHC string.
    pub password_hash: String,
    /// Where it is written to.
    pub email: Option<String>,
}

/// What of a user changes; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// What it may do.
    pub role: Option<Role>,
    /// Whether it may do anything.
    pub disabled: Option<bool>,
    /// A PHC string.
    pub password_hash: Option<String>,
    /// Only if the password is still the one that was hashed so: by it somebody showed who it is.
    pub if_password_hash: Option<String>,
    /// Where it is written to; `Some(None)`: nowhere.
    pub email: Option<Option<String>>,
    /// What it is mailed about; `Some(None)`: as everybody.
    pub mail_events: Option<Option<Vec<String>>>,
    /// All three of them.
    pub quotas: Option<Quotas>,
}

const COLUMNS: &str = "id, name, role, email, mail_events, created_ms, disabled_ms, \
    max_unfinished_jobs, max_stored_bytes, max_daily_audio_ms";

impl Ledger {
    /// Adds a user; `None` if the name is taken.
    pub async fn add_user(&self, new: &NewUser) -> Result<Option<User>> {
        let id = Uuid::now_v7();
        let add = || async move {
            let mut tx = self.db.begin().await?;
            let text = "INSERT INTO users (id, name, role, password_hash, email, created_ms, \
                        unfinished_jobs, stored_bytes) VALUES (?, ?, ?, ?, ?, ?, 0, 0)";
            let insert = self.db.query(text).bind(id.to_string()).bind(new.name.clone());
            let insert = insert.bind(new.role.name()).bind(new.password_hash.clone());
            let insert = insert.bind(new.email.clone()).bind(self.db.now_ms());
            match insert.execute(&mut *tx).await {
                Err(error) if is_taken(&error) => return Ok(false),
                outcome => outcome?,
            };
            tx.commit().await?;
            Ok(true)
        };
        if !self.db.run("add a user", add).await? {
            return Ok(None);
        }
        self.user(id).await
    }

    /// The user with this id.
    pub async fn user(&self, id: Uuid) -> Result<Option<User>> {
        let look = || async move {
            let text = format!("SELECT {COLUMNS} FROM users WHERE id = ?");
            let query = self.db.dialect.query_of(text).bind(id.to_string());
            query.fetch_optional(&self.db.read).await?.as_ref().map(from_row).transpose()
        };
        self.db.run("look up a user", look).await
    }

    /// The user of this name, and its password's hash.
    pub async fn user_by_name(&self, name: &str) -> Result<Option<(User, String)>> {
        let look = || async move {
            let text = format!("SELECT {COLUMNS}, password_hash FROM users WHERE name = ?");
            let query = self.db.dialect.query_of(text).bind(name.to_owned());
            let Some(row) = query.fetch_optional(&self.db.read).await? else { return Ok(None) };
            let user = from_row(&row)?;
            // To MariaDB, spaces at the end are nothing: limits by name would not meet such a user.
            let is_it = user.name == name;
            Ok(if is_it { Some((user, row.try_get("password_hash")?)) } else { None })
        };
        self.db.run("look up a user", look).await
    }

    /// A page of all users, by name.
    pub async fn list_users(&self, after: Option<&str>, most: u32) -> Result<Vec<User>> {
        let look = || async move {
            let text = format!("SELECT {COLUMNS} FROM users WHERE name > ? ORDER BY name LIMIT ?");
            let after = after.unwrap_or_default().to_owned();
            let query = self.db.dialect.query_of(text).bind(after).bind(i64::from(most));
            query.fetch_all(&self.db.read).await?.iter().map(from_row).collect()
        };
        self.db.run("list users", look).await
    }

    /// Whether there is anybody.
    pub async fn has_users(&self) -> Result<bool> {
        Ok(!self.list_users(None, 1).await?.is_empty())
    }

    /// Changes a user; false if there is none, or its password is another by now. Who is disabled
    /// or gets another password is logged out everywhere, and API keys of a disabled user end for
    /// good.
    pub async fn change_user(&self, id: Uuid, change: &UserChange) -> Result<bool> {
        let update = || self.try_change_user(id, change);
        self.db.run("change a user", update).await
    }

    /// A user whom nobody else changes before the transaction ends, and its password's hash.
    pub(crate) async fn locked_user(
        &self,
        tx: &mut Tx,
        id: Uuid,
    ) -> Result<Option<(User, String)>, sqlx::Error> {
        let lock = self.db.dialect.for_update();
        let text = format!("SELECT {COLUMNS}, password_hash FROM users WHERE id = ?{lock}");
        let query = self.db.dialect.query_of(text).bind(id.to_string());
        let Some(row) = query.fetch_optional(&mut **tx).await? else { return Ok(None) };
        Ok(Some((from_row(&row)?, row.try_get("password_hash")?)))
    }

    async fn try_change_user(&self, id: Uuid, change: &UserChange) -> Result<bool, sqlx::Error> {
        let now = self.db.now_ms();
        let mut tx = self.db.begin().await?;
        let Some((_, current)) = self.locked_user(&mut tx, id).await? else { return Ok(false) };
        if change.if_password_hash.as_ref().is_some_and(|expected| *expected != current) {
            return Ok(false);
        }
        let mut sets = Sets::default();
        if let Some(role) = change.role {
            sets.text("role = ?", role.name().to_owned());
        }
        if let Some(hash) = &change.password_hash {
            sets.text("password_hash = ?", hash.clone());
        }
        if let Some(email) = &change.email {
            sets.text("email = ?", email.clone());
        }
        if let Some(events) = &change.mail_events {
            sets.text("mail_events = ?", events.as_ref().map(|events| events.join(" ")));
        }
        if let Some(quotas) = change.quotas {
            sets.number("max_unfinished_jobs = ?", quotas.unfinished_jobs.map(signed));
            sets.number("max_stored_bytes = ?", quotas.stored_bytes.map(signed));
            sets.number("max_daily_audio_ms = ?", quotas.daily_audio_ms.map(signed));
        }
        if let Some(disabled) = change.disabled {
            sets.number("disabled_ms = ?", disabled.then_some(now));
        }
        let id = id.to_string();
        let text = format!("UPDATE users SET {} WHERE id = ?", sets.after("id = id"));
        let update = sets.bind(self.db.dialect.query_of(text)).bind(id.clone());
        update.execute(&mut *tx).await?;
        if change.disabled == Some(true) {
            self.revoke_all(&mut tx, &id, None).await?;
        } else if change.password_hash.is_some() {
            self.revoke_all(&mut tx, &id, Some("refresh")).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

pub(crate) fn from_row(row: &AnyRow) -> Result<User, sqlx::Error> {
    let role: String = row.try_get("role")?;
    let events: Option<String> = row.try_get("mail_events")?;
    let quota = |column| {
        let quota: Option<i64> = row.try_get(column)?;
        Ok::<_, sqlx::Error>(quota.and_then(|quota| u64::try_from(quota).ok()))
    };
    Ok(User {
        id: parsed(row, "id")?,
        name: row.try_get("name")?,
        role: Role::named(&role).ok_or_else(|| strange("role", &role))?,
        email: row.try_get("email")?,
        mail_events: events.map(|events| events.split_whitespace().map(str::to_owned).collect()),
        created_ms: row.try_get("created_ms")?,
        disabled_ms: row.try_get("disabled_ms")?,
        quotas: Quotas {
            unfinished_jobs: quota("max_unfinished_jobs")?,
            stored_bytes: quota("max_stored_bytes")?,
            daily_audio_ms: quota("max_daily_audio_ms")?,
        },
    })
}

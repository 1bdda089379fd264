//! A ledger and its store belong together: both have the same mark.
//!
//! What a ledger does not name is removed from its store. With another ledger, or with an empty one
//! that somebody meant to fill, that would be everything; and two services with one ledger and a
//! store each would look for their objects in the wrong one.

use bytes::Bytes;
use sqlx::Row as _;
use tonemill_job::ObjectKey;
use tonemill_job::objects::{ObjectStore, StoreError, put_small, size_of};
use uuid::Uuid;

use crate::Ledger;
use crate::error::{LedgerError, Result};

/// Objects that are looked at to know a store again.
const SAMPLE: usize = 500;
const CONTENT_TYPE: &str = "text/plain";

/// How far a store is the ledger's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bond {
    /// They have the same mark.
    Whole,
    /// The ledger has a mark, and the store is to get it: whoever began to [bind](Ledger::bind)
    /// them was interrupted, or somebody removed the store's.
    Half {
        /// The ledger's.
        mark: String,
    },
    /// Neither has a mark yet.
    None,
}

/// Why a store is not taken for the ledger's.
#[derive(Debug, thiserror::Error)]
pub enum BondError {
    /// The ledger came from a backup, and is [held back](Ledger::recover) from its store.
    #[error("the ledger was restored, and is not in line with its store yet")]
    Restored,
    /// They have different marks, or only the store has one.
    #[error("the store belongs to another ledger")]
    OtherLedger,
    /// The store has no mark and none of the ledger's objects; the ledger's has `mark`.
    #[error("the objects of this ledger are in another store")]
    OtherStore {
        /// What the object [`ObjectKey::mark`] of that store says.
        mark: String,
    },
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ledger {
    /// Makes sure that `store` is this ledger's: it is if both have the same mark. If neither has
    /// one, both get one. Can end between any two steps, and be done by several replicas at once.
    pub async fn bind(&self, store: &dyn ObjectStore) -> Result<(), BondError> {
        let mark = match self.bond(store).await? {
            Bond::Whole => return Ok(()),
            Bond::Half { mark } => mark,
            Bond::None => self.set_mark(Uuid::new_v4()).await?,
        };
        write_mark(store, &mark).await
    }

    /// Looks whether `store` is this ledger's, or can become it, and changes neither.
    pub async fn bond(&self, store: &dyn ObjectStore) -> Result<Bond, BondError> {
        if self.is_restored().await? {
            return Err(BondError::Restored);
        }
        self.bond_of(store, false).await
    }

    /// The same, of a ledger that may be held back. If it is to be `taken`, a store that has
    /// another ledger's mark will do if it has objects of this one: one that was made of an
    /// earlier backup, and then of a later one, was given another mark with each.
    pub(crate) async fn bond_of(
        &self,
        store: &dyn ObjectStore,
        taken: bool,
    ) -> Result<Bond, BondError> {
        // First: a store that is marked by now has a ledger that was marked before it.
        let theirs = mark_of(store).await?;
        match (self.mark().await?, theirs) {
            (Some(ours), Some(theirs)) if ours == theirs => Ok(Bond::Whole),
            (Some(mark), Some(_)) if taken && self.knows(store).await? => Ok(Bond::Half { mark }),
            (_, Some(_)) => Err(BondError::OtherLedger),
            (Some(mark), None) => {
                if self.is_new().await? || self.knows(store).await? {
                    return Ok(Bond::Half { mark });
                }
                Err(BondError::OtherStore { mark })
            }
            (None, None) => Ok(Bond::None),
        }
    }

    /// Whether it came from a backup and is held back from its store.
    pub async fn is_restored(&self) -> Result<bool> {
        let look = || async {
            let query = self.db.query("SELECT one FROM stores WHERE restored_ms IS NOT NULL");
            Ok(query.fetch_optional(&self.db.read).await?.is_some())
        };
        self.db.run("look up its store", look).await
    }

    /// Lets a ledger that was made from another have that one's store, and gives both another mark:
    /// the other, should it still be there, is refused by the store from now on. Can end between
    /// any two steps, and be done again. `taken` says that a store with the mark of another will do
    /// if it has objects of this one.
    pub async fn take_over(&self, store: &dyn ObjectStore, taken: bool) -> Result<(), BondError> {
        self.bond_of(store, taken).await?;
        if self.mark().await?.is_none() {
            return Ok(());
        }
        // First: a ledger that has a mark knows a store without one by what is in it.
        store.delete(&ObjectKey::mark()).await?;
        let mark = Uuid::new_v4().to_string();
        let text = "UPDATE stores SET mark = ?, restored_ms = NULL";
        self.db.write("mark its store", || self.db.query(text).bind(mark.clone())).await?;
        write_mark(store, &mark).await
    }

    async fn mark(&self) -> Result<Option<String>> {
        let look = || async {
            let query = self.db.query("SELECT mark FROM stores");
            let row = query.fetch_optional(&self.db.read).await?;
            row.map(|row| row.try_get(0)).transpose()
        };
        self.db.run("look up its store", look).await
    }

    /// Sets the mark, if there is none; the mark.
    async fn set_mark(&self, mark: Uuid) -> Result<String> {
        let insert = || {
            let insert = self.db.dialect.insert_ignore("INTO stores (one, mark) VALUES (1, ?)");
            self.db.dialect.query_of(insert).bind(mark.to_string())
        };
        self.db.write("mark its store", insert).await?;
        let look = || async {
            let row = self.db.query("SELECT mark FROM stores").fetch_one(&self.db.read).await?;
            row.try_get(0)
        };
        self.db.run("look up its store", look).await
    }

    /// Whether there has been no job yet.
    async fn is_new(&self) -> Result<bool> {
        let look = || async {
            let query = self.db.query("SELECT id FROM jobs LIMIT 1");
            Ok(query.fetch_optional(&self.db.read).await?.is_none())
        };
        self.db.run("look for jobs", look).await
    }

    /// Whether one of the first objects in the store is this ledger's.
    async fn knows(&self, store: &dyn ObjectStore) -> Result<bool, BondError> {
        for prefix in [ObjectKey::UPLOADS, ObjectKey::OUTPUTS] {
            let objects = store.list(prefix, None, SAMPLE).await?;
            let keys: Vec<&ObjectKey> = objects.iter().map(|object| &object.key).collect();
            if !self.named_objects(&keys).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Refuses a store that has another mark than this, before there is a ledger of the backup that has
/// this one.
pub(crate) async fn check_mark(
    store: &dyn ObjectStore,
    mark: Option<&str>,
) -> Result<(), BondError> {
    match mark_of(store).await? {
        Some(theirs) if mark != Some(theirs.as_str()) => Err(BondError::OtherLedger),
        _ => Ok(()),
    }
}

async fn mark_of(store: &dyn ObjectStore) -> Result<Option<String>, StoreError> {
    let key = ObjectKey::mark();
    let Some(length) = size_of(store, &key).await? else { return Ok(None) };
    // Whoever writes it by hand ends the line.
    let bytes =
        if length == 0 { Bytes::new() } else { store.get(&key, 0..length.min(100)).await? };
    Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
}

async fn write_mark(store: &dyn ObjectStore, mark: &str) -> Result<(), BondError> {
    let bytes = Bytes::copy_from_slice(mark.as_bytes());
    let written = put_small(store, &ObjectKey::mark(), CONTENT_TYPE, bytes).await;
    // Another may have been here at the same time.
    match mark_of(store).await? {
        Some(theirs) if theirs == mark => Ok(()),
        Some(_) => Err(BondError::OtherLedger),
        None => Ok(written?),
    }
}

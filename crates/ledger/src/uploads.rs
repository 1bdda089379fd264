//! Uploads that come in several requests, or past us straight into the store.
//!
//! What is here was received: a request that dies in the middle leaves the upload as the last
//! [`Ledger::extend_upload`] wrote it down. One request writes to an upload at a time, under a lease;
//! two at once could each store the same part. An upload's bytes count against its user's quota
//! from the start, by what it says it will have. Its name becomes that of its job, so that there is
//! one. What came to an address can come there again for as long as that is good: until then the
//! upload is remembered, and then goes what came in vain.

use std::time::Duration;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row as _};
use tonemill_job::objects::{PartTag, PartsId};
use tonemill_job::{JobId, ObjectKey};
use uuid::Uuid;

use crate::Ledger;
use crate::database::Tx;
use crate::error::Result;
use crate::job::{parsed, readable, signed, strange, unsigned};
use crate::quota::OverQuota;

/// Most uploads of a user that are not jobs yet.
pub const MAX_UPLOADS: i64 = 200;

/// How long the address of a direct upload is good: the upload has to begin by then.
pub const ADDRESS_VALID: Duration = Duration::from_mins(15);

/// How an upload comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadKind {
    /// In several requests, by the protocol tus.
    Resumable,
    /// In one request to the store.
    Direct,
    /// Not any more: it was direct, and nobody wants it. What comes all the same still counts.
    GivenUp,
    /// Not any more: it was direct, and is a job. What comes all the same goes with its address,
    /// unless the job still needs what is there.
    Accepted,
}

impl UploadKind {
    const ALL: [Self; 4] = [Self::Resumable, Self::Direct, Self::GivenUp, Self::Accepted];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Resumable => "resumable",
            Self::Direct => "direct",
            Self::GivenUp => "given_up",
            Self::Accepted => "accepted",
        }
    }
}

/// An upload that is to come.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// Its name, which its job will have.
    pub id: JobId,
    /// Whose it is.
    pub user: Uuid,
    /// How it comes.
    pub kind: UploadKind,
    /// Where it will be.
    pub key: ObjectKey,
    /// The store's name for it, if it comes in parts.
    pub parts: Option<PartsId>,
    /// What it is called.
    pub file_name: String,
    /// What the client wants to be told again.
    pub metadata: String,
    /// How long it will be.
    pub total_bytes: u64,
    /// How long it may take, in milliseconds.
    pub lifetime_ms: i64,
}

/// An upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// See [`NewUpload`].
    pub id: JobId,
    /// See [`NewUpload`].
    pub user: Uuid,
    /// See [`NewUpload`].
    pub kind: UploadKind,
    /// See [`NewUpload`].
    pub key: ObjectKey,
    /// See [`NewUpload`].
    pub parts: Option<PartsId>,
    /// See [`NewUpload`].
    pub file_name: String,
    /// See [`NewUpload`].
    pub metadata: String,
    /// What its first bytes look like, when they are there.
    pub media: Option<String>,
    /// See [`NewUpload`].
    pub total_bytes: u64,
    /// How much of it is there.
    pub received_bytes: u64,
    /// The object with what is there of an incomplete last part.
    pub tail: Option<ObjectKey>,
    /// BLAKE3 of all of it, in hexadecimal, when it is finished.
    pub blake3: Option<String>,
    /// Whether it is whole.
    pub finished: bool,
    /// When it goes.
    pub expires_ms: i64,
}

/// A part of an upload that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// The store's name for it.
    pub tag: PartTag,
    /// BLAKE3's chaining value of its subtree, in hexadecimal.
    pub subtree_hash: String,
}

/// What came of the wish to begin an upload.
#[derive(Debug, Clone, PartialEq)]
pub enum UploadBegun {
    /// It may come.
    Begun,
    /// The user has too much already.
    OverQuota(OverQuota),
    /// The user has too many uploads already.
    TooMany,
    /// There is no such user, or not any more.
    NoUser,
}

/// How an upload grew.
#[derive(Debug, Default)]
pub struct Growth {
    /// How much was there before: what is written down grows from there or not at all.
    pub from_bytes: u64,
    /// How much is there now.
    pub to_bytes: u64,
    /// Parts that are new.
    pub parts: Vec<StoredPart>,
    /// The object with what is there of an incomplete last part.
    pub tail: Option<ObjectKey>,
    /// What the first bytes look like.
    pub media: Option<&'static str>,
}

const COLUMNS: &str = "id, user_id, kind, object_key, store_upload, file_name, metadata, media, \
    total_bytes, received_bytes, tail_key, blake3, finished_ms, expires_ms";

impl Ledger {
    /// Writes an upload down that is to come.
    pub async fn begin_upload(&self, new: &NewUpload) -> Result<UploadBegun> {
        let begin = || self.try_begin_upload(new);
        self.db.run("begin an upload", begin).await
    }

    async fn try_begin_upload(&self, new: &NewUpload) -> Result<UploadBegun, sqlx::Error> {
        let user = new.user.to_string();
        let mut tx = self.db.begin().await?;
        let lock = self.db.dialect.for_update();
        let Some((usage, quotas)) = self.quotas_of(&mut tx, &user, lock).await? else {
            return Ok(UploadBegun::NoUser);
        };
        if let Some(over) = quotas.exceeded_by(usage, new.total_bytes) {
            return Ok(UploadBegun::OverQuota(over));
        }
        let count = "SELECT COUNT(*) FROM uploads WHERE user_id = ? AND kind <> 'accepted'";
        let count = self.db.query(count);
        let count: i64 = count.bind(user.clone()).fetch_one(&mut *tx).await?.try_get(0)?;
        if count >= MAX_UPLOADS {
            return Ok(UploadBegun::TooMany);
        }
        let now = self.db.now_ms();
        let text = "INSERT INTO uploads (id, user_id, kind, object_key, store_upload, file_name, \
                    metadata, total_bytes, received_bytes, writer_until_ms, created_ms, \
                    expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?)";
        let insert = self.db.query(text).bind(new.id.to_string()).bind(user.clone());
        let insert = insert.bind(new.kind.name()).bind(new.key.to_string());
        let insert = insert.bind(new.parts.as_ref().map(ToString::to_string));
        let insert = insert.bind(new.file_name.clone()).bind(new.metadata.clone());
        let insert = insert.bind(signed(new.total_bytes)).bind(now);
        insert.bind(now.saturating_add(new.lifetime_ms)).execute(&mut *tx).await?;
        self.charge(&mut tx, &user, 0, signed(new.total_bytes)).await?;
        tx.commit().await?;
        Ok(UploadBegun::Begun)
    }

    /// A user's upload, if it has not expired and is no job.
    pub async fn upload(&self, user: Uuid, id: JobId) -> Result<Option<Upload>> {
        let look = || async move {
            let text = format!(
                "SELECT {COLUMNS} FROM uploads WHERE id = ? AND user_id = ? AND expires_ms > ? \
                 AND kind <> 'accepted'"
            );
            let query = self.db.dialect.query_of(text).bind(id.to_string());
            let query = query.bind(user.to_string()).bind(self.db.now_ms());
            query.fetch_optional(&self.db.read).await?.as_ref().map(upload).transpose()
        };
        self.db.run("look up an upload", look).await
    }

    /// The parts of an upload, in order.
    pub async fn upload_parts(&self, id: JobId) -> Result<Vec<StoredPart>> {
        let look = || async move {
            let text = "SELECT tag, subtree_hash FROM upload_parts WHERE upload_id = ? \
                        ORDER BY number";
            let rows = self.db.query(text).bind(id.to_string()).fetch_all(&self.db.read).await?;
            let part = |row: &AnyRow| {
                let subtree_hash = row.try_get("subtree_hash")?;
                Ok(StoredPart { tag: parsed(row, "tag")?, subtree_hash })
            };
            rows.iter().map(part).collect()
        };
        self.db.run("look up an upload", look).await
    }

    /// Lets `writer` write to an upload for the next `lease_ms`, unless another does.
    pub async fn lock_upload(&self, id: JobId, writer: Uuid, lease_ms: i64) -> Result<bool> {
        let now = self.db.now_ms();
        let text = "UPDATE uploads SET writer = ?, writer_until_ms = ? WHERE id = ? AND \
                    (writer IS NULL OR writer = ? OR writer_until_ms < ?)";
        let lock = || {
            let update = self.db.query(text).bind(writer.to_string()).bind(now + lease_ms);
            update.bind(id.to_string()).bind(writer.to_string()).bind(now)
        };
        Ok(self.db.write("lock an upload", lock).await? == 1)
    }

    /// Lets others write.
    pub async fn unlock_upload(&self, id: JobId, writer: Uuid) -> Result<()> {
        let text = "UPDATE uploads SET writer = NULL WHERE id = ? AND writer = ?";
        let unlock = || self.db.query(text).bind(id.to_string()).bind(writer.to_string());
        self.db.write("unlock an upload", unlock).await.map(drop)
    }

    /// Writes down that an upload grew; false if it is not as `growth` says it was, or `writer` may
    /// not write to it any more.
    pub async fn extend_upload(&self, id: JobId, writer: Uuid, growth: &Growth) -> Result<bool> {
        let extend = || async move {
            let mut tx = self.db.begin().await?;
            let text = "UPDATE uploads SET received_bytes = ?, tail_key = ?, \
                        media = COALESCE(media, ?) \
                        WHERE id = ? AND received_bytes = ? AND writer = ? AND finished_ms IS NULL";
            let update = self.db.query(text).bind(signed(growth.to_bytes));
            let update = update.bind(growth.tail.as_ref().map(ToString::to_string));
            let update = update.bind(growth.media.map(str::to_owned)).bind(id.to_string());
            let update = update.bind(signed(growth.from_bytes)).bind(writer.to_string());
            if update.execute(&mut *tx).await?.rows_affected() == 0 {
                return Ok(false);
            }
            for part in &growth.parts {
                let text = "INSERT INTO upload_parts (upload_id, number, tag, subtree_hash) \
                            VALUES (?, ?, ?, ?)";
                let insert = self.db.query(text).bind(id.to_string());
                let insert = insert.bind(i64::from(part.tag.number()));
                let insert = insert.bind(part.tag.to_string()).bind(part.subtree_hash.clone());
                insert.execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(true)
        };
        self.db.run("extend an upload", extend).await
    }

    /// Writes down that an upload is whole, and an object.
    pub async fn finish_upload(&self, id: JobId, blake3: Option<&str>, media: &str) -> Result<()> {
        let text = "UPDATE uploads SET finished_ms = ?, received_bytes = total_bytes, \
                    blake3 = ?, media = ? WHERE id = ? AND finished_ms IS NULL";
        let finish = || {
            let update = self.db.query(text).bind(self.db.now_ms());
            let update = update.bind(blake3.map(str::to_owned)).bind(media.to_owned());
            update.bind(id.to_string())
        };
        self.db.write("finish an upload", finish).await.map(drop)
    }

    /// Forgets an upload that becomes no job; false if it is not there any more.
    pub async fn drop_upload(&self, upload: &Upload) -> Result<bool> {
        let forget = || async move {
            let mut tx = self.db.begin().await?;
            let is_there = self.forget_upload(&mut tx, upload.id, upload.kind).await?;
            if is_there {
                let user = upload.user.to_string();
                self.charge(&mut tx, &user, 0, -signed(upload.total_bytes)).await?;
                tx.commit().await?;
            }
            Ok(is_there)
        };
        self.db.run("forget an upload", forget).await
    }

    /// Gives up an upload to an address: until that has expired it stays.
    pub async fn give_up_direct(&self, id: JobId) -> Result<()> {
        let give_up = || self.end_direct(id, UploadKind::GivenUp, "");
        self.db.write("give up an upload", give_up).await.map(drop)
    }

    /// Makes an upload the input of its job; false if it is not there any more.
    pub(crate) async fn hand_over(&self, tx: &mut Tx, id: JobId) -> Result<bool, sqlx::Error> {
        // From now on its bytes count as the job's.
        let update = self.end_direct(id, UploadKind::Accepted, ", total_bytes = 0");
        if update.execute(&mut **tx).await?.rows_affected() == 1 {
            return Ok(true);
        }
        self.forget_upload(tx, id, UploadKind::Resumable).await
    }

    /// Keeps a direct upload, as what has become of it, until its address has expired.
    fn end_direct(
        &self,
        id: JobId,
        kind: UploadKind,
        change: &str,
    ) -> Query<'static, Any, AnyArguments> {
        let text = format!(
            "UPDATE uploads SET kind = ?, expires_ms = created_ms + ?{change} \
             WHERE id = ? AND kind = ?"
        );
        let valid_ms = i64::try_from(ADDRESS_VALID.as_millis()).unwrap_or(i64::MAX / 2);
        let update = self.db.dialect.query_of(text).bind(kind.name()).bind(valid_ms);
        update.bind(id.to_string()).bind(UploadKind::Direct.name())
    }

    /// Some uploads that have expired, as far as they can be read.
    pub(crate) async fn expired_uploads(&self, most: i64) -> Result<Vec<Upload>> {
        let look = || async move {
            let text = format!("SELECT {COLUMNS} FROM uploads WHERE expires_ms <= ? LIMIT ?");
            let query = self.db.dialect.query_of(text).bind(self.db.now_ms()).bind(most);
            Ok(readable(&query.fetch_all(&self.db.read).await?, upload))
        };
        self.db.run("look up expired uploads", look).await
    }

    /// Forgets an upload that is still of this kind.
    async fn forget_upload(
        &self,
        tx: &mut Tx,
        id: JobId,
        kind: UploadKind,
    ) -> Result<bool, sqlx::Error> {
        let delete = self.db.query("DELETE FROM uploads WHERE id = ? AND kind = ?");
        let delete = delete.bind(id.to_string()).bind(kind.name());
        if delete.execute(&mut **tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let delete = self.db.query("DELETE FROM upload_parts WHERE upload_id = ?");
        delete.bind(id.to_string()).execute(&mut **tx).await?;
        Ok(true)
    }
}

fn upload(row: &AnyRow) -> Result<Upload, sqlx::Error> {
    let kind: String = row.try_get("kind")?;
    let kind = UploadKind::named(&kind).ok_or_else(|| strange("kind", &kind));
    let text = |column| row.try_get::<Option<String>, _>(column);
    let invalid = |error| sqlx::Error::Decode(error);
    let key: String = row.try_get("object_key")?;
    Ok(Upload {
        id: parsed(row, "id")?,
        user: parsed(row, "user_id")?,
        kind: kind?,
        key: ObjectKey::try_from(key).map_err(|e| invalid(Box::new(e)))?,
        parts: text("store_upload")?
            .map(PartsId::try_from)
            .transpose()
            .map_err(|e| invalid(Box::new(e)))?,
        file_name: row.try_get("file_name")?,
        metadata: row.try_get("metadata")?,
        media: text("media")?,
        total_bytes: unsigned(row, "total_bytes")?,
        received_bytes: unsigned(row, "received_bytes")?,
        tail: text("tail_key")?
            .map(ObjectKey::try_from)
            .transpose()
            .map_err(|e| invalid(Box::new(e)))?,
        blake3: text("blake3")?,
        finished: row.try_get::<Option<i64>, _>("finished_ms")?.is_some(),
        expires_ms: row.try_get("expires_ms")?,
    })
}

//! What a user may have at a time, and what it has.

use sqlx::{AnyConnection, Row as _};

use crate::Ledger;
use crate::database::Tx;
use crate::job::{signed, unsigned};

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 24 * 3600 * 1000;

/// What a user may have. `None` is as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Jobs that wait or run.
    pub unfinished_jobs: Option<u64>,
    /// Uploads and outputs in the store, in bytes.
    pub stored_bytes: Option<u64>,
    /// Audio that is converted in a day (UTC), in milliseconds.
    pub daily_audio_ms: Option<u64>,
}

/// What a user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// See [`Quotas::unfinished_jobs`].
    pub unfinished_jobs: u64,
    /// See [`Quotas::stored_bytes`].
    pub stored_bytes: u64,
    /// See [`Quotas::daily_audio_ms`].
    pub daily_audio_ms: u64,
    /// When a new day begins, in milliseconds from now.
    pub day_ends_in_ms: u64,
}

/// Which quota does not leave room for another job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverQuota {
    /// Too many jobs wait or run.
    UnfinishedJobs {
        /// How many may.
        limit: u64,
    },
    /// Too much is stored.
    StoredBytes {
        /// How much may be.
        limit: u64,
    },
    /// Enough was converted today.
    DailyAudio {
        /// How much may be, in milliseconds.
        limit_ms: u64,
        /// When a new day begins, in milliseconds from now.
        day_ends_in_ms: u64,
    },
}

impl Quotas {
    /// What would be exceeded by another upload of `bytes`.
    #[must_use]
    pub fn exceeded_by(&self, usage: Usage, bytes: u64) -> Option<OverQuota> {
        if let Some(limit) = self.unfinished_jobs
            && usage.unfinished_jobs >= limit
        {
            return Some(OverQuota::UnfinishedJobs { limit });
        }
        if let Some(limit) = self.stored_bytes
            && usage.stored_bytes.saturating_add(bytes) > limit
        {
            return Some(OverQuota::StoredBytes { limit });
        }
        if let Some(limit_ms) = self.daily_audio_ms
            && usage.daily_audio_ms >= limit_ms
        {
            let day_ends_in_ms = usage.day_ends_in_ms;
            return Some(OverQuota::DailyAudio { limit_ms, day_ends_in_ms });
        }
        None
    }
}

impl Ledger {
    /// A user's usage and quotas, with `lock` at the end of the statement.
    pub(crate) async fn quotas_of(
        &self,
        connection: &mut AnyConnection,
        user: &str,
        lock: &str,
    ) -> Result<Option<(Usage, Quotas)>, sqlx::Error> {
        let text = format!(
            "SELECT unfinished_jobs, stored_bytes, max_unfinished_jobs, max_stored_bytes, \
             max_daily_audio_ms FROM users WHERE id = ? AND disabled_ms IS NULL{lock}"
        );
        let query = self.db.dialect.query_of(text).bind(user.to_owned());
        let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(None) };
        let now = self.db.now_ms();
        let audio = "SELECT audio_ms FROM daily_audio WHERE user_id = ? AND day = ?";
        let audio = self.db.query(audio).bind(user.to_owned()).bind(now / DAY_MS);
        let audio = audio.fetch_optional(connection).await?;
        let usage = Usage {
            unfinished_jobs: unsigned(&row, "unfinished_jobs")?,
            stored_bytes: unsigned(&row, "stored_bytes")?,
            daily_audio_ms: audio.map_or(Ok(0), |row| unsigned(&row, "audio_ms"))?,
            day_ends_in_ms: u64::try_from(DAY_MS - now % DAY_MS).unwrap_or_default(),
        };
        let own = |column, default: Option<u64>| {
            let own: Option<i64> = row.try_get(column)?;
            Ok::<_, sqlx::Error>(own.and_then(|own| own.try_into().ok()).or(default))
        };
        let quotas = Quotas {
            unfinished_jobs: own("max_unfinished_jobs", self.quotas.unfinished_jobs)?,
            stored_bytes: own("max_stored_bytes", self.quotas.stored_bytes)?,
            daily_audio_ms: own("max_daily_audio_ms", self.quotas.daily_audio_ms)?,
        };
        Ok(Some((usage, quotas)))
    }

    /// Changes what counts against a user's quotas.
    pub(crate) async fn charge(
        &self,
        tx: &mut Tx,
        user: &str,
        unfinished_jobs: i64,
        stored_bytes: i64,
    ) -> Result<(), sqlx::Error> {
        let text = "UPDATE users SET unfinished_jobs = unfinished_jobs + ?, \
                    stored_bytes = stored_bytes + ? WHERE id = ?";
        let update = self.db.query(text).bind(unfinished_jobs).bind(stored_bytes);
        update.bind(user.to_owned()).execute(&mut **tx).await.map(drop)
    }

    /// Counts audio that was converted.
    pub(crate) async fn count_audio(
        &self,
        tx: &mut Tx,
        user: &str,
        duration_ms: u64,
    ) -> Result<(), sqlx::Error> {
        let day = self.db.now_ms() / DAY_MS;
        let insert = "INTO daily_audio (user_id, day, audio_ms) VALUES (?, ?, 0)";
        let insert = self.db.dialect.query_of(self.db.dialect.insert_ignore(insert));
        insert.bind(user.to_owned()).bind(day).execute(&mut **tx).await?;
        let add = "UPDATE daily_audio SET audio_ms = audio_ms + ? WHERE user_id = ? AND day = ?";
        let add = self.db.query(add).bind(signed(duration_ms)).bind(user.to_owned()).bind(day);
        add.execute(&mut **tx).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_hold_at_their_edge() {
        let quotas = Quotas {
            unfinished_jobs: Some(2),
            stored_bytes: Some(100),
            daily_audio_ms: Some(60_000),
        };
        let usage = Usage {
            unfinished_jobs: 1,
            stored_bytes: 90,
            daily_audio_ms: 59_999,
            day_ends_in_ms: 5,
        };
        assert_eq!(quotas.exceeded_by(usage, 10), None);
        assert_eq!(quotas.exceeded_by(usage, 11), Some(OverQuota::StoredBytes { limit: 100 }));
        let over = Usage { unfinished_jobs: 2, ..usage };
        assert_eq!(quotas.exceeded_by(over, 0), Some(OverQuota::UnfinishedJobs { limit: 2 }));
        let over = Usage { daily_audio_ms: 60_000, ..usage };
        let expected = OverQuota::DailyAudio { limit_ms: 60_000, day_ends_in_ms: 5 };
        assert_eq!(quotas.exceeded_by(over, 0), Some(expected));
        assert_eq!(Quotas::default().exceeded_by(over, u64::MAX), None);
    }
}

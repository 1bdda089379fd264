//! Lists of jobs, newest first, page by page.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use tonemill_job::JobId;
use tonemill_job::message::FailureKind;
use uuid::Uuid;

use crate::Ledger;
use crate::dialect::marks;
use crate::error::Result;
use crate::job::{COLUMNS, Job};
use crate::jobs::Owner;
use crate::state::JobState;

/// By how much an id may be older than its job, in milliseconds: as long as an upload takes, and as
/// far as clocks are apart. A day or two more costs nothing.
const MAX_OLDER_MS: i64 = 3 * 86_400_000;
/// By how much it may be younger: as far as clocks are apart.
const MAX_YOUNGER_MS: i64 = 86_400_000;

/// Which jobs are listed.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// In one of these states; all if there is none.
    pub states: Vec<JobState>,
    /// Failed for one of these reasons; for any, or not at all, if there is none.
    pub failures: Vec<FailureKind>,
    /// With this label.
    pub label: Option<String>,
    /// Accepted at this time or later, in milliseconds since 1970.
    pub created_from_ms: Option<i64>,
    /// Accepted before this time.
    pub created_before_ms: Option<i64>,
    /// Those that were accepted before this one: where the page before ended.
    pub before: Option<JobId>,
}

impl Ledger {
    /// The newest `most` jobs that the filter lets through, newest first.
    pub async fn list_jobs(&self, owner: Owner, filter: &JobFilter, most: u32) -> Result<Vec<Job>> {
        let list = || async move {
            if filter.states.is_empty() {
                return self.list_jobs_in(None, owner, filter, most).await;
            }
            // An index has the jobs of one state in order, so that none has to be read that is not
            // wanted.
            let states: BTreeSet<&str> = filter.states.iter().map(|state| state.name()).collect();
            let mut jobs = Vec::new();
            for state in states {
                jobs.extend(self.list_jobs_in(Some(state), owner, filter, most).await?);
            }
            jobs.sort_unstable_by_key(|job: &Job| Reverse(job.id));
            jobs.truncate(most as usize);
            Ok(jobs)
        };
        self.db.run("list jobs", list).await
    }

    async fn list_jobs_in(
        &self,
        state: Option<&str>,
        owner: Owner,
        filter: &JobFilter,
        most: u32,
    ) -> Result<Vec<Job>, sqlx::Error> {
        let mut wheres = vec!["state <> 'deleted'".to_owned()];
        let (mut texts, mut times) = (Vec::new(), Vec::new());
        let mut with_text = |condition: &str, value: String| {
            wheres.push(condition.to_owned());
            texts.push(value);
        };
        if let Some(state) = state {
            with_text("state = ?", state.to_owned());
        }
        if let Owner::User(user) = owner {
            with_text("user_id = ?", user.to_string());
        }
        if let Some(label) = &filter.label {
            with_text("label = ?", label.clone());
        }
        // Ids sort by age.
        if let Some(before) = filter.before {
            with_text("id < ?", before.to_string());
        }
        // Not exactly by that of the job, though.
        if let Some(from) = filter.created_from_ms {
            with_text("id >= ?", first_id(from.saturating_sub(MAX_OLDER_MS)));
        }
        if let Some(before) = filter.created_before_ms {
            with_text("id < ?", first_id(before.saturating_add(MAX_YOUNGER_MS)));
        }
        if !filter.failures.is_empty() {
            let marks = marks(filter.failures.len());
            wheres.push(format!("state = 'failed' AND failure_kind IN ({marks})"));
            texts.extend(filter.failures.iter().map(|kind| kind.name().to_owned()));
        }
        let mut with_time = |condition: &str, time: Option<i64>| {
            if let Some(time) = time {
                wheres.push(condition.to_owned());
                times.push(time);
            }
        };
        with_time("created_ms >= ?", filter.created_from_ms);
        with_time("created_ms < ?", filter.created_before_ms);
        let wheres = wheres.join(" AND ");
        let text = format!("SELECT {COLUMNS} FROM jobs WHERE {wheres} ORDER BY id DESC LIMIT ?");
        let mut query = self.db.dialect.query_of(text);
        for text in texts {
            query = query.bind(text);
        }
        for number in times.into_iter().chain([i64::from(most)]) {
            query = query.bind(number);
        }
        query.fetch_all(&self.db.read).await?.iter().map(Job::from_row).collect()
    }
}

/// The first id of a time (UUID version 7, RFC 9562 section 5.7).
fn first_id(ms: i64) -> String {
    const LAST_MS: i64 = (1 << 48) - 1;
    let ms = ms.clamp(0, LAST_MS) as u128;
    Uuid::from_u128(ms << 80).hyphenated().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_time_is_before_all_of_it() {
        let before = tonemill_job::message::now_ms() as i64;
        let id = JobId::new().to_string();
        assert!(first_id(before) <= id);
        assert!(id < first_id(before + 60_000));
        assert!(first_id(i64::MIN) < id && id < first_id(i64::MAX));
    }
}

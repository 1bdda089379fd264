//! The states of a job and every way from one to another.
//!
//! ```text
//!                  Dispatch           Start
//!   (accepted) waiting ------> queued ------> running
//!                 ^  ^           | |            | |
//!                 |  +--Requeue--+-|------------+ |   the queue forgot it
//!              Replay            +--Retry---------+   an attempt failed: the queue keeps it
//!                 |
//!          failed, cancelled <--- Fail, Cancel --- waiting, queued, running --- Finish ---> finished
//! ```
//!
//! Events come late, twice, or about a job that others have ended. Each transition is therefore one
//! statement that compares the state and sets the next, and says whether it did: the first of two
//! contradicting ones wins, and the second changes nothing. Any end may come from any state of an
//! unfinished job, because the queue may have lost the steps between.

use crate::database::{Database, Tx};
use crate::dialect::marks;
use crate::sets::Sets;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Accepted, and in the ledger alone.
    Waiting,
    /// In the queue, for a worker that has room.
    Queued,
    /// With a worker.
    Running,
    /// Its output is there.
    Finished,
    /// There is no output, and will be none unless it is replayed.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
    /// Of no interest to anybody: its objects and then its row go.
    Deleted,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Queued,
        Self::Running,
        Self::Finished,
        Self::Failed,
        Self::Cancelled,
        Self::Deleted,
    ];
    /// Those of a job that has still to be done.
    pub const UNFINISHED: [Self; 3] = [Self::Waiting, Self::Queued, Self::Running];
    /// Those of a job that is over.
    pub const ENDED: [Self; 3] = [Self::Finished, Self::Failed, Self::Cancelled];

    /// Its name in the ledger and for users.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Deleted => "deleted",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the job is over.
    #[must_use]
    pub fn is_ended(self) -> bool {
        !Self::UNFINISHED.contains(&self)
    }
}

/// A way from some states to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// The dispatcher puts it into the queue.
    Dispatch,
    /// The queue lost it, or it never got there.
    Requeue,
    /// A worker has begun; also after another one vanished.
    Start,
    /// An attempt failed, and the queue keeps the job for another.
    Retry,
    /// Its output is in the store.
    Finish,
    /// It cannot be done.
    Fail,
    /// Its user does not want it any more.
    Cancel,
    /// Somebody wants it tried again.
    Replay,
    /// Its user or its age wants it gone.
    Delete,
}

impl Transition {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Dispatch,
        Self::Requeue,
        Self::Start,
        Self::Retry,
        Self::Finish,
        Self::Fail,
        Self::Cancel,
        Self::Replay,
        Self::Delete,
    ];

    /// The states that it leads from.
    #[must_use]
    pub fn from(self) -> &'static [JobState] {
        match self {
            Self::Dispatch => &[JobState::Waiting],
            Self::Requeue => &[JobState::Queued, JobState::Running],
            Self::Start | Self::Retry | Self::Finish | Self::Fail | Self::Cancel => {
                &JobState::UNFINISHED
            }
            Self::Replay => &[JobState::Failed, JobState::Cancelled],
            Self::Delete => &JobState::ENDED,
        }
    }

    /// The state that it leads to.
    #[must_use]
    pub fn to(self) -> JobState {
        match self {
            Self::Dispatch | Self::Retry => JobState::Queued,
            Self::Requeue | Self::Replay => JobState::Waiting,
            Self::Start => JobState::Running,
            Self::Finish => JobState::Finished,
            Self::Fail => JobState::Failed,
            Self::Cancel => JobState::Cancelled,
            Self::Delete => JobState::Deleted,
        }
    }
}

/// A transition of one job, with the columns that change along with it.
#[derive(Debug)]
pub(crate) struct Change {
    transition: Transition,
    sets: Sets,
}

impl Change {
    pub(crate) fn new(transition: Transition) -> Self {
        Self { transition, sets: Sets::default() }
    }

    pub(crate) fn text(mut self, column: &'static str, text: impl Into<Option<String>>) -> Self {
        self.sets.text(format!("{column} = ?"), text);
        self
    }

    pub(crate) fn number(mut self, column: &'static str, number: impl Into<Option<i64>>) -> Self {
        self.sets.number(format!("{column} = ?"), number);
        self
    }

    /// Compares and sets; false if the job is in no state that this leads from.
    pub(crate) async fn apply(
        self,
        database: &Database,
        tx: &mut Tx,
        job: &str,
    ) -> Result<bool, sqlx::Error> {
        let from = self.transition.from();
        let text = format!(
            "UPDATE jobs SET {} WHERE id = ? AND state IN ({})",
            self.sets.after("state = ?, version = version + 1"),
            marks(from.len())
        );
        let query = database.dialect.query_of(text).bind(self.transition.to().name());
        let mut query = self.sets.bind(query).bind(job.to_owned());
        for state in from {
            query = query.bind(state.name());
        }
        Ok(query.execute(&mut **tx).await?.rows_affected() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_but_the_last_can_be_left_and_reached() {
        for state in JobState::ALL {
            assert_eq!(JobState::named(state.name()), Some(state));
            let leaves = Transition::ALL.iter().any(|t| t.from().contains(&state));
            assert_eq!(leaves, state != JobState::Deleted, "{state:?}");
            assert!(Transition::ALL.iter().any(|t| t.to() == state), "{state:?}");
        }
        assert_eq!(JobState::named("done"), None);
    }

    #[test]
    fn what_is_over_goes_on_only_when_somebody_says_so() {
        for transition in Transition::ALL {
            let leaves_end = transition.from().iter().any(|state| state.is_ended());
            let is_asked_for = matches!(transition, Transition::Replay | Transition::Delete);
            assert_eq!(leaves_end, is_asked_for, "{transition:?}");
        }
    }
}

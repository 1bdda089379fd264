//! The ledger: the book of record. Users, what they may do, their jobs, and what becomes of them.
//!
//! It is the truth. The queue carries jobs and may lose them all; the object store holds bytes, and
//! which of them count is written here. One schema and one set of statements for SQLite (embedded),
//! MySQL/MariaDB and PostgreSQL; `dialect` has all that differs.
//!
//! In the order in which to read:
//!
//! 1. [`state`]: the states of a job, and every way from one to another.
//! 2. [`accept`]: a job is accepted, within the [`quota`], and gets its turn.
//! 3. [`dispatcher`]: jobs go into the queue, by their turns, when there is room.
//! 4. [`recorder`]: what the workers tell is written down, once (`events`); [`deliveries`] are owed, and
//!    objects that nobody needs go (`removal`).
//! 5. [`reconciler`]: what the queue forgot goes into it again (`requeue`); [`sweep`]: what nobody needs
//!    goes. One replica does each, its `leader`.
//! 6. [`alerts`]: administrators are told what is wrong with the system.
//! 7. [`jobs`], `list`, [`users`], [`credentials`], [`signing_keys`], [`uploads`], [`webhooks`], [`links`]: what
//!    the API asks for.
//! 8. [`backup`]: all of it in one file, and back; [`card`] and [`recovery`]: what was not in the
//!    file comes back from the store. [`audit`]: whether it all fits together.
//!
//! `database` runs all of it, `clock` tells one time to all replicas, `measures` tells how it goes.

#![forbid(unsafe_code)]

pub mod accept;
pub mod alerts;
pub mod audit;
pub mod backup;
mod bond;
pub mod card;
mod clock;
mod condition;
pub mod credentials;
mod database;
pub mod deliveries;
mod dialect;
pub mod dispatcher;
mod error;
mod events;
pub mod job;
pub mod jobs;
mod leader;
pub mod links;
mod list;
mod measures;
mod migrations;
pub mod quota;
pub mod reconciler;
pub mod recorder;
pub mod recovery;
mod removal;
mod requeue;
mod secrets;
mod sets;
pub mod signing_keys;
pub mod state;
pub mod sweep;
mod token;
pub mod uploads;
pub mod users;
pub mod webhooks;

use tokio::sync::{Notify, broadcast};
use tonemill_job::JobId;
use uuid::Uuid;

pub use accept::{Acceptance, Idempotency};
pub use bond::{Bond, BondError};
pub use condition::{Condition, Server};
pub use error::{LedgerError, LedgerErrorKind, Result};
pub use job::{Job, JobDetail, NewJob, Output, Unsendable};
pub use jobs::{Attempt, Owner, TransitionOutcome};
pub use list::JobFilter;
pub use quota::{OverQuota, Quotas, Usage};
pub use state::{JobState, Transition};

use crate::database::Database;
use crate::deliveries::default_events;

/// Changes of jobs that a listener may be behind by.
const CHANGES: usize = 1024;

/// How the ledger is reached, and what it allows by default.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// `sqlite:…`, `mysql://…`, `mariadb://…` or `postgres://…`.
    pub url: String,
    /// Most connections to a server. Default: 10.
    pub connections: u32,
    /// What a user may have that has no quotas of its own.
    pub quotas: Quotas,
    /// What a user is mailed about that has not said: some of [`deliveries::JOB_EVENTS`]. Default:
    /// the ends of jobs.
    pub mail_events: Vec<String>,
}

impl LedgerConfig {
    /// The ledger at `url`, without quotas.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections: 10,
            quotas: Quotas::default(),
            mail_events: default_events(),
        }
    }
}

/// Whether a URL is one of a kind of database that a ledger can be in.
#[must_use]
pub fn is_ledger_url(url: &str) -> bool {
    dialect::Dialect::of(url).is_some()
}

/// The book of record.
#[derive(Debug)]
pub struct Ledger {
    db: Database,
    quotas: Quotas,
    /// The name of this process among the replicas.
    replica: String,
    /// A job may be ready to be dispatched.
    wake: Notify,
    /// A delivery may be owed.
    owed: Notify,
    /// What users are mailed about who have not said, separated by spaces.
    mail_events: String,
    changes: broadcast::Sender<JobId>,
}

impl Ledger {
    /// Connects, and makes or updates the tables.
    pub async fn open(config: LedgerConfig) -> Result<Self> {
        Ok(Self::over(Database::open(&config.url, config.connections).await?, &config))
    }

    /// Connects, to look: the tables stay as they are, missing or of another version
    /// ([`Ledger::condition`] says which), nothing is made that is not there, and whatever would
    /// write fails.
    pub async fn open_to_look(config: LedgerConfig) -> Result<Self> {
        Ok(Self::over(Database::open_to_look(&config.url, config.connections).await?, &config))
    }

    fn over(db: Database, config: &LedgerConfig) -> Self {
        Self {
            db,
            quotas: config.quotas,
            replica: Uuid::now_v7().simple().to_string(),
            wake: Notify::new(),
            owed: Notify::new(),
            mail_events: config.mail_events.join(" "),
            changes: broadcast::Sender::new(CHANGES),
        }
    }

    /// The time of all replicas, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.db.now_ms()
    }

    /// Whether the database answers.
    pub async fn check(&self) -> Result<()> {
        let look = || async move {
            self.db.query("SELECT name FROM leaders LIMIT 1").fetch_optional(&self.db.read).await
        };
        self.db.run("answer", look).await.map(drop)
    }

    /// The jobs that this process changes, as it does. Other processes change jobs, too.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<JobId> {
        self.changes.subscribe()
    }

    /// Ends all connections, after what is under way.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// Until something may be owed to somebody that was not before, by this process.
    pub async fn notifier_woken(&self) {
        self.owed.notified().await;
    }

    fn wake_notifier(&self) {
        self.owed.notify_one();
    }

    fn wake_dispatcher(&self) {
        self.wake.notify_one();
    }

    fn tell_changed(&self, job: JobId) {
        // Nobody may listen.
        let _ = self.changes.send(job);
    }
}

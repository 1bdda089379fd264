//! Bringing a ledger that came from a backup in line with its store, before any service has it.
//!
//! The store went on since. What the backup does not say, the store does:
//!
//! | in the ledger | in the store | then the job |
//! |---|---|---|
//! | finished | its output | is as it was |
//! | unfinished | its upload | is done, or done again |
//! | unfinished | an output alone | was finished since: it has this output |
//! | failed, cancelled | its upload | is as it was |
//! | failed | its upload, a later attempt's output | was tried again since: it is done again |
//! | failed, cancelled | an output alone | was tried again and finished since |
//! | any of these | not even its card | was deleted since, or was too old: it goes |
//! | nothing | a card and its upload | was accepted since: it comes back |
//! | nothing | a card and an output alone | was finished since as well: it has this output |
//!
//! An upload goes when it is written down that its job is finished. An output beside it may be one
//! that its worker has not held against the upload yet, or has and found wrong: it counts for
//! nothing. Of those whose upload is gone the last attempt's does: none begins after the one that
//! was written down.
//!
//! Of a job that is deleted the card goes last. One without its objects says that the store is not
//! whole: another is named, or a copy of it is not done yet. So does one of which most jobs have
//! nothing. What goes does so last, when all else has its place. What nobody can place is left, and
//! the ledger is held back until an operator says otherwise: the sweep would take it. At the end
//! ledger and store get another mark: whoever still has the ledger of before is not to sweep. All
//! of it can end between any two steps, and be done again.

mod left;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tonemill_job::message::{Finished, VERSION, What, now_ms};
use tonemill_job::objects::{ListedObject, ObjectStore, StoreError, size_of};
use tonemill_job::{JobEvent, JobId, ObjectKey};

use self::left::{Left, attempt_of, look, outputs};
use crate::accept::Acceptance;
use crate::bond::BondError;
use crate::card::Card;
use crate::error::{LedgerError, Result};
use crate::job::{COLUMNS, Job, readable};
use crate::jobs::{Owner, TransitionOutcome};
use crate::state::JobState;
use crate::{Ledger, users};

/// Jobs, or cards, that are looked at in one step.
const PAGE: usize = 200;
/// Questions to the store on their way at a time.
const AT_ONCE: usize = 16;
/// What is said of a job that has a card and nothing else.
const ONLY_CARD: &str = "its card is in the store, and neither upload nor MP3: is the store whole?";

/// What is said of a job of which nothing is left, as of most.
const MOSTLY_NOTHING: &str = "nothing of it is in the store, as of most jobs: is the store whole?";

/// What an operator has decided.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decided {
    /// What has no place may go.
    pub let_go: bool,
    /// The store is the ledger's although it has another mark, if it has objects of it.
    pub take_store: bool,
}

/// What an output says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// How long it plays.
    pub duration_seconds: f64,
    /// BLAKE3 of its audio frames, in hexadecimal.
    pub audio_blake3: String,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Jobs of the backup that are finished by what is in the store.
    pub finished: Vec<JobId>,
    /// Jobs of the backup of which nothing is left: they go.
    pub gone: Vec<JobId>,
    /// Jobs that were accepted since the backup, and are there again.
    pub brought_back: Vec<JobId>,
    /// Jobs of which something is in the store that could not be placed, and why.
    pub left: Vec<(JobId, String)>,
}

/// Why a ledger and its store are not in line.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The store is not the ledger's.
    #[error(transparent)]
    Bond(#[from] BondError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was not restored, or is in line already: a service may be at work with it.
    #[error("the ledger is not held back from its store: it is in line with it")]
    InLine,
    /// Somebody else changes the ledger meanwhile.
    #[error("the job {0} was changed meanwhile: {1:?}")]
    NotAlone(JobId, TransitionOutcome),
}

impl Ledger {
    /// Brings a restored ledger in line with its store. If all has its place then, or what has none
    /// may go, the ledger is not held back any more. `examine` reads an output of this length;
    /// `None` if it is no MP3 of ours.
    pub async fn recover(
        &self,
        store: &dyn ObjectStore,
        examine: impl AsyncFn(&ObjectKey, u64) -> Result<Option<Sound>, StoreError>,
        Decided { let_go, take_store }: Decided,
    ) -> Result<Recovered, RecoveryError> {
        if !self.is_restored().await? {
            return Err(RecoveryError::InLine);
        }
        self.bond_of(store, take_store).await?;
        let mut recovery = Recovery {
            ledger: self,
            store,
            examine,
            let_go,
            known: 0,
            nothing_left: Vec::new(),
            recovered: Recovered::default(),
        };
        recovery.known_jobs().await?;
        recovery.cards().await?;
        recovery.forget().await?;
        let recovered = recovery.recovered;
        if recovered.left.is_empty() || let_go {
            self.take_over(store, take_store).await?;
        }
        Ok(recovered)
    }

    /// A page of the jobs that are there, by id.
    pub(crate) async fn page_of_jobs(&self, after: Option<JobId>) -> Result<Vec<Job>> {
        let look = || async move {
            let text = format!(
                "SELECT {COLUMNS} FROM jobs WHERE id > ? AND state <> 'deleted' ORDER BY id LIMIT \
                 {PAGE}"
            );
            let after = after.map(|job| job.to_string()).unwrap_or_default();
            let rows = self.db.dialect.query_of(text).bind(after).fetch_all(&self.db.read).await?;
            Ok(readable(&rows, Job::from_row))
        };
        self.db.run("look up jobs", look).await
    }
}

struct Recovery<'a, E> {
    ledger: &'a Ledger,
    store: &'a dyn ObjectStore,
    examine: E,
    let_go: bool,
    /// Jobs of the backup that were looked at.
    known: usize,
    /// Those that have not even a card in the store, and whether they are over.
    nothing_left: Vec<(JobId, bool)>,
    recovered: Recovered,
}

impl<E> Recovery<'_, E>
where
    E: AsyncFn(&ObjectKey, u64) -> Result<Option<Sound>, StoreError>,
{
    async fn known_jobs(&mut self) -> Result<(), RecoveryError> {
        let mut last = None;
        loop {
            let page = self.ledger.page_of_jobs(last).await?;
            let Some(job) = page.last() else { return Ok(()) };
            last = Some(job.id);
            let store = self.store;
            let looks = page.into_iter().map(|job| async move {
                let left = look(store, &job).await?;
                Ok::<_, StoreError>((job, left))
            });
            let looks = stream::iter(looks).buffered(AT_ONCE);
            for (job, left) in looks.try_collect::<Vec<_>>().await? {
                self.known_job(&job, left).await?;
            }
        }
    }

    async fn known_job(&mut self, job: &Job, left: Left) -> Result<(), RecoveryError> {
        self.known += 1;
        match job.state {
            // Its upload was not needed any more even then.
            JobState::Failed | JobState::Cancelled if job.input.is_none() => Ok(()),
            _ if !left.input && left.outputs.is_empty() => self.nothing_left_of(job).await,
            JobState::Finished => {
                let due = job.output.as_ref().map(|output| output.bytes);
                if let (Some(output), Some(due)) = (left.outputs.first(), due)
                    && output.bytes != due
                {
                    self.leave(job.id, format!("its MP3 has {} bytes, not {due}", output.bytes));
                }
                Ok(())
            }
            // Attempts go on counting.
            JobState::Failed if left.input && left.last_attempt() > job.attempts => {
                self.try_again(job).await
            }
            _ if left.input => Ok(()),
            _ => {
                let Some(end) = self.end_of(job.id, &left.outputs).await? else {
                    self.leave(job.id, "its output cannot be read");
                    return Ok(());
                };
                if job.state.is_ended() {
                    self.try_again(job).await?;
                }
                self.ledger.record(&[end]).await?;
                self.recovered.finished.push(job.id);
                Ok(())
            }
        }
    }

    /// Has a job wait again that was over.
    async fn try_again(&self, job: &Job) -> Result<(), RecoveryError> {
        match self.ledger.replay(Owner::Anyone, job.id).await? {
            TransitionOutcome::Done => Ok(()),
            // Somebody else changes the ledger.
            outcome => Err(RecoveryError::NotAlone(job.id, outcome)),
        }
    }

    /// Jobs that the ledger does not know, by their cards.
    async fn cards(&mut self) -> Result<(), RecoveryError> {
        let mut after = None;
        loop {
            let page = self.store.list(ObjectKey::CARDS, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            let keys: Vec<&ObjectKey> = page.iter().map(|object| &object.key).collect();
            let named = self.ledger.named_objects(&keys).await?;
            for key in keys.into_iter().filter(|key| !named.contains(key)) {
                let name = key.as_str().strip_prefix(ObjectKey::CARDS);
                if let Some(Ok(job)) = name.map(str::parse::<JobId>) {
                    self.card(job).await?;
                }
            }
        }
    }

    async fn card(&mut self, job: JobId) -> Result<(), RecoveryError> {
        let Some(card) = Card::read(self.store, job).await? else {
            self.leave(job, "its card cannot be read");
            return Ok(());
        };
        let end = match size_of(self.store, &card.input).await? {
            Some(bytes) if bytes == card.input_bytes => None,
            Some(bytes) => {
                self.leave(job, format!("its upload has {bytes} bytes, not {}", card.input_bytes));
                return Ok(());
            }
            None => {
                let outputs = outputs(self.store, job).await?;
                let end = self.end_of(job, &outputs).await?;
                if end.is_none() {
                    let why = "its output cannot be read";
                    self.leave(job, if outputs.is_empty() { ONLY_CARD } else { why });
                    return Ok(());
                }
                end
            }
        };
        let Some(user) = self.user_of(&card).await? else {
            let why = format!("there is no user {:?}: add it", card.user_name);
            self.leave(job, why);
            return Ok(());
        };
        match self.accept(&card, user).await? {
            Acceptance::Accepted => {}
            Acceptance::NoUser => {
                let why = format!("{:?} is disabled: enable it", card.user_name);
                self.leave(job, why);
                return Ok(());
            }
            other => {
                self.leave(job, format!("it is not accepted: {other:?}"));
                return Ok(());
            }
        }
        if let Some(end) = end {
            self.ledger.record(&[end]).await?;
        }
        self.recovered.brought_back.push(job);
        Ok(())
    }

    async fn user_of(&self, card: &Card) -> Result<Option<users::User>> {
        if let Some(user) = self.ledger.user(card.user).await? {
            return Ok(Some(user));
        }
        // Added again, under its name.
        Ok(self.ledger.user_by_name(&card.user_name).await?.map(|(user, _)| user))
    }

    async fn accept(&self, card: &Card, user: users::User) -> Result<Acceptance> {
        let mut job = card.job_of(user.id);
        // What the ledger still takes for an upload of several requests was whole, and is the
        // job's.
        job.is_upload = true;
        let mut request = card.request.as_ref();
        loop {
            match self.ledger.accept_again(&job, request).await? {
                Acceptance::NoUpload if job.is_upload => job.is_upload = false,
                // Another job has its key.
                Acceptance::Known(_) if request.is_some() => request = None,
                acceptance => return Ok(acceptance),
            }
        }
    }

    /// What the worker said whose output is the first of these that is one; `None` if none is.
    async fn end_of(
        &self,
        job: JobId,
        outputs: &[ListedObject],
    ) -> Result<Option<JobEvent>, StoreError> {
        for ListedObject { key, bytes, .. } in outputs {
            let Some(sound) = (self.examine)(key, *bytes).await? else { continue };
            let finished = Finished {
                output: key.clone(),
                bytes: *bytes,
                duration_seconds: sound.duration_seconds,
                audio_blake3: sound.audio_blake3,
                truncated: false,
                warnings: vec!["what its worker said of it is lost".to_owned()],
                report: serde_json::Value::Null,
            };
            return Ok(Some(JobEvent {
                v: VERSION,
                job,
                attempt: attempt_of(key),
                worker: "recovery".to_owned(),
                at_ms: now_ms(),
                traceparent: None,
                what: What::Finished(Box::new(finished)),
            }));
        }
        Ok(None)
    }

    async fn nothing_left_of(&mut self, job: &Job) -> Result<(), RecoveryError> {
        if !self.let_go && size_of(self.store, &ObjectKey::card(job.id)).await?.is_some() {
            self.leave(job.id, ONLY_CARD);
        } else {
            self.nothing_left.push((job.id, job.state.is_ended()));
        }
        Ok(())
    }

    /// Lets jobs go of which nothing is left, if the store is whole as far as one can see.
    async fn forget(&mut self) -> Result<(), RecoveryError> {
        let nothing_left = std::mem::take(&mut self.nothing_left);
        if !self.let_go {
            if nothing_left.len() * 2 > self.known {
                for (job, _) in &nothing_left {
                    self.leave(*job, MOSTLY_NOTHING);
                }
            }
            if !self.recovered.left.is_empty() {
                return Ok(());
            }
        }
        for (job, is_ended) in nothing_left {
            if !is_ended {
                self.ledger.cancel(Owner::Anyone, job).await?;
            }
            self.ledger.delete_job(Owner::Anyone, job).await?;
            self.recovered.gone.push(job);
        }
        Ok(())
    }

    fn leave(&mut self, job: JobId, why: impl Into<String>) {
        self.recovered.left.push((job, why.into()));
    }
}

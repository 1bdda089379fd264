//! A ledger from a backup, and a store that went on since.

use std::time::Duration;

use tonemill_job::message::{FailureKind, What};
use tonemill_job::objects::{ListedObject, StoreError};
use tonemill_job::{JobId, ObjectKey};
use tonemill_ledger::backup::Since;
use tonemill_ledger::card::Card;
use tonemill_ledger::recovery::{Decided, Recovered, RecoveryError, Sound};
use tonemill_ledger::sweep::{Retention, Sweeper};
use tonemill_ledger::uploads::{NewUpload, UploadKind};
use tonemill_ledger::users::{NewUser, Role, User, UserChange};
use tonemill_ledger::{Acceptance, BondError, Idempotency, JobState, NewJob, Owner, Quotas};

use crate::backup::opened;
use crate::bed::{Bed, PASSWORD_HASH, failure, finished, new_job};

pub const NOTHING: Decided = Decided { let_go: false, take_store: false };
pub const LET_GO: Decided = Decided { let_go: true, take_store: false };

impl Bed {
    /// Accepts a job as the service does, with its upload and its card.
    pub async fn accepted(&self, user: &User) -> NewJob {
        self.accept_as(NewJob { input_bytes: 5, ..new_job(user) }, user, None).await
    }

    async fn accept_as(&self, job: NewJob, user: &User, key: Option<&str>) -> NewJob {
        let request =
            key.map(|key| Idempotency { key: key.to_owned(), request_hash: "h".to_owned() });
        self.put(&job.input).await;
        let accepted = self.ledger.accept(&job, request.as_ref()).await.unwrap();
        assert_eq!(accepted, Acceptance::Accepted);
        Card::of(&job, &user.name, request).put(&*self.store).await.unwrap();
        job
    }

    /// Finishes a job as workers and the recorder do; its output.
    pub async fn finish(&self, job: JobId, attempt: u32) -> ObjectKey {
        let What::Finished(mut facts) = finished(job, attempt) else { panic!("it is finished") };
        let output = facts.output.clone();
        facts.bytes = 5;
        self.put(&output).await;
        for unneeded in self.record(job, attempt, What::Finished(facts)).await {
            self.store.delete(&unneeded).await.unwrap();
        }
        output
    }

    /// What a job has in the store goes.
    async fn remove(&self, job: JobId) {
        let prefixes = [ObjectKey::uploads_of(job), ObjectKey::outputs_of(job)];
        for prefix in prefixes {
            for ListedObject { key, .. } in self.store.list(&prefix, None, 10).await.unwrap() {
                self.store.delete(&key).await.unwrap();
            }
        }
        self.store.delete(&ObjectKey::card(job)).await.unwrap();
    }

    /// Another ledger, as this one was when `bytes` were made, with the same store.
    pub async fn as_of(bytes: &[u8], before: &Self, mut bed: Self) -> Self {
        bed.ledger.restore(opened(bytes).unwrap(), Since::Something).await.unwrap();
        bed.store = before.store.clone();
        bed
    }

    pub async fn recover(&self, decided: Decided) -> Recovered {
        let recovered = self.ledger.recover(&*self.store, examine, decided).await.unwrap();
        assert_eq!(self.ledger.audit_rows().await.unwrap(), [""; 0]);
        recovered
    }
}

/// Takes every output but that of the ninth attempt.
#[allow(clippy::unused_async, reason = "who really examines reads the store")]
pub async fn examine(key: &ObjectKey, bytes: u64) -> Result<Option<Sound>, StoreError> {
    assert_eq!(bytes, 5);
    let audio_blake3 = "cd".repeat(32);
    Ok((!key.as_str().contains("/9-")).then_some(Sound { duration_seconds: 1.5, audio_blake3 }))
}

/// Jobs that a backup knows, and what became of each by then.
struct Known {
    done: NewJob,
    gone: NewJob,
    waits: NewJob,
    ends: NewJob,
    retried: NewJob,
    again: NewJob,
    cancelled: NewJob,
    /// On its way in, by several requests.
    tus: NewJob,
}

impl Known {
    async fn of(bed: &Bed, user: &User) -> Self {
        let known = Self {
            done: bed.accepted(user).await,
            gone: bed.accepted(user).await,
            waits: bed.accepted(user).await,
            ends: bed.accepted(user).await,
            retried: bed.accepted(user).await,
            again: bed.accepted(user).await,
            cancelled: bed.accepted(user).await,
            tus: NewJob { input_bytes: 5, is_upload: true, ..new_job(user) },
        };
        bed.finish(known.gone.id, 1).await;
        for failed in [&known.retried, &known.again] {
            let failure = failure(FailureKind::BadInput);
            bed.record(failed.id, 1, What::Failed { failure }).await;
        }
        bed.ledger.cancel(Owner::Anyone, known.cancelled.id).await.unwrap();
        let upload = NewUpload {
            id: known.tus.id,
            user: user.id,
            kind: UploadKind::Resumable,
            key: known.tus.input.clone(),
            parts: None,
            file_name: known.tus.file_name.clone(),
            metadata: String::new(),
            total_bytes: 5,
            lifetime_ms: 1_000_000,
        };
        bed.ledger.begin_upload(&upload).await.unwrap();
        known
    }
}

pub async fn what_the_store_has_comes_back(bed: Bed) {
    let old = Bed::sqlite().await;
    let user = old.user("ada").await;
    old.ledger.bind(&*old.store).await.unwrap();
    let known = Known::of(&old, &user).await;
    let done = old.finish(known.done.id, 1).await;
    let bytes = old.back_up().await;

    // Then it went on.
    old.remove(known.gone.id).await;
    let ended = old.finish(known.ends.id, 2).await;
    old.ledger.replay(Owner::Anyone, known.retried.id).await.unwrap();
    let retried = old.finish(known.retried.id, 2).await;
    let new = old.accept_as(NewJob { input_bytes: 5, ..new_job(&user) }, &user, Some("key")).await;
    let new_done = old.accepted(&user).await;
    let new_output = old.finish(new_done.id, 1).await;
    let deleted = old.accepted(&user).await;
    old.remove(deleted.id).await;
    old.accept_as(known.tus.clone(), &user, None).await;
    // Of a worker whose end nobody was told of.
    old.put(&ObjectKey::output(known.cancelled.id, 1)).await;

    let bed = Bed::as_of(&bytes, &old, bed).await;
    let mut recovered = bed.recover(NOTHING).await;
    assert_eq!(recovered.finished, [known.ends.id, known.retried.id]);
    assert_eq!(recovered.gone, [known.gone.id]);
    let mut back = [new.id, new_done.id, known.tus.id];
    back.sort_unstable();
    recovered.brought_back.sort_unstable();
    assert_eq!((&recovered.brought_back[..], recovered.left.len()), (&back[..], 0));
    for (job, output) in [
        (&known.done, done),
        (&known.ends, ended),
        (&known.retried, retried),
        (&new_done, new_output),
    ] {
        let job = bed.job(job.id).await;
        assert_eq!((job.state, job.output.unwrap().key), (JobState::Finished, output));
    }
    let job = bed.job(known.ends.id).await;
    assert_eq!((job.attempts, job.output.unwrap().duration_ms), (2, 1500));
    for (job, state) in [
        (&known.waits, JobState::Waiting),
        (&new, JobState::Waiting),
        (&known.tus, JobState::Waiting),
        (&known.again, JobState::Failed),
        (&known.cancelled, JobState::Cancelled),
    ] {
        let found = bed.job(job.id).await;
        assert_eq!((found.state, found.input.as_ref()), (state, Some(&job.input)));
    }
    assert!(bed.ledger.job(Owner::Anyone, known.gone.id).await.unwrap().is_none());
    assert!(bed.ledger.upload(user.id, known.tus.id).await.unwrap().is_none());
    let request = bed.ledger.known_request(user.id, "key").await.unwrap().unwrap();
    assert_eq!(request.job, new.id);
    is_in_line(&bed, &old).await;
}

/// What it knows is safe from now on.
async fn is_in_line(bed: &Bed, old: &Bed) {
    bed.ledger.bind(&*bed.store).await.unwrap();
    // The ledger of before, should it come to life again, is not to sweep.
    let before = old.ledger.bind(&*old.store).await;
    assert!(matches!(before, Err(BondError::OtherLedger)), "{before:?}");
    let once_more = bed.ledger.recover(&*bed.store, examine, NOTHING).await;
    assert!(matches!(once_more, Err(RecoveryError::InLine)), "{once_more:?}");
    let zero = Duration::ZERO;
    let hasty = Retention { nameless: zero, unfinished: zero, ..Retention::default() };
    let swept = Sweeper::new(hasty).sweep(&bed.ledger, &*bed.store).await.unwrap();
    assert_eq!(
        (swept.purged, swept.orphans),
        (1, 1),
        "the deleted job, the output of the cancelled"
    );
    assert_eq!(bed.ledger.audit_objects(&*bed.store).await.unwrap().wrong, []);
}

pub async fn what_has_no_place_is_left(bed: Bed) {
    let old = Bed::sqlite().await;
    let user = old.user("ada").await;
    old.ledger.bind(&*old.store).await.unwrap();
    let unreadable = old.accepted(&user).await;
    // Quotas were held when its jobs were accepted.
    let quotas = Quotas { unfinished_jobs: Some(2), ..Quotas::default() };
    let limited = UserChange { quotas: Some(quotas), ..UserChange::default() };
    old.ledger.change_user(user.id, &limited).await.unwrap();
    let bob = old.user("bob").await;
    let off = UserChange { disabled: Some(true), ..UserChange::default() };
    old.ledger.change_user(bob.id, &off).await.unwrap();
    let bytes = old.back_up().await;
    let on = UserChange { disabled: Some(false), ..UserChange::default() };
    old.ledger.change_user(bob.id, &on).await.unwrap();
    let key = ObjectKey::output(unreadable.id, 9);
    old.remove(unreadable.id).await;
    old.put(&key).await;
    let eve = old.user("eve").await;
    let (of_eve, fits, too_many) =
        (old.accepted(&eve).await, old.accepted(&user).await, new_job(&user));
    let disabled = old.accepted(&bob).await;
    // Another wrote it since, or it is not all there yet.
    let short = old.accept_as(NewJob { input_bytes: 6, ..new_job(&eve) }, &eve, None).await;
    let too_many = NewJob { input_bytes: 5, ..too_many };
    old.put(&too_many.input).await;
    Card::of(&too_many, "ada", None).put(&*old.store).await.unwrap();
    // A card that says nothing, and one that speaks of another's upload.
    let damaged = JobId::new();
    old.put(&ObjectKey::card(damaged)).await;
    old.put(&ObjectKey::upload(damaged)).await;
    let forged = NewJob { input: fits.input.clone(), ..new_job(&user) };
    Card::of(&forged, "ada", None).put(&*old.store).await.unwrap();

    let bed = Bed::as_of(&bytes, &old, bed).await;
    let recovered = bed.recover(NOTHING).await;
    assert_eq!(recovered.brought_back, [fits.id, too_many.id]);
    let left: Vec<JobId> = recovered.left.iter().map(|(job, _)| *job).collect();
    let due = [unreadable.id, of_eve.id, disabled.id, short.id, damaged, forged.id];
    assert!(left.len() == due.len() && due.iter().all(|job| left.contains(job)), "{recovered:?}");
    let why = |job: JobId| &recovered.left.iter().find(|(left, _)| *left == job).unwrap().1;
    assert!(why(of_eve.id).contains("no user \"eve\""), "{}", why(of_eve.id));
    assert!(why(disabled.id).contains("\"bob\" is disabled"), "{}", why(disabled.id));
    assert!(why(short.id).contains("5 bytes, not 6"), "{}", why(short.id));
    let held = bed.ledger.bind(&*bed.store).await;
    assert!(matches!(held, Err(BondError::Restored)), "{held:?}");

    // What can be done about it, is.
    let (name, password_hash) = ("eve".to_owned(), PASSWORD_HASH.to_owned());
    let new = NewUser { name, role: Role::User, password_hash, email: None };
    let eve = bed.ledger.add_user(&new).await.unwrap().unwrap();
    bed.ledger.change_user(bob.id, &on).await.unwrap();
    let recovered = bed.recover(NOTHING).await;
    let of_eves = [of_eve.id, disabled.id];
    assert_eq!((&recovered.brought_back[..], recovered.left.len()), (&of_eves[..], 4));
    assert_eq!(bed.job(of_eve.id).await.user, eve.id);
    assert!(matches!(bed.ledger.bind(&*bed.store).await, Err(BondError::Restored)));
    assert_eq!(bed.recover(LET_GO).await.left.len(), 4);
    bed.ledger.bind(&*bed.store).await.unwrap();
}

/// Whoever does it may die between any two steps.
pub async fn a_recovery_can_be_done_again(bed: Bed) {
    let old = Bed::sqlite().await;
    let user = old.user("ada").await;
    old.ledger.bind(&*old.store).await.unwrap();
    let ends = old.accepted(&user).await;
    let bytes = old.back_up().await;
    old.finish(ends.id, 1).await;
    let new = old.accepted(&user).await;
    let output = old.finish(new.id, 1).await;
    let bed = Bed::as_of(&bytes, &old, bed).await;
    // It was accepted, and that it is finished was not written down.
    bed.ledger.accept(&new, None).await.unwrap();
    let recovered = bed.recover(NOTHING).await;
    assert_eq!(recovered.finished, [ends.id, new.id]);
    assert_eq!(bed.job(new.id).await.output.unwrap().key, output);

    // Another's store, and one that is not there, are not gone through.
    let bed = Bed::as_of(&bytes, &old, Bed::sqlite().await).await;
    let other = Bed::sqlite().await;
    other.ledger.bind(&*other.store).await.unwrap();
    let refused = bed.ledger.recover(&*other.store, examine, LET_GO).await;
    assert!(matches!(refused, Err(RecoveryError::Bond(BondError::OtherLedger))), "{refused:?}");
    let empty = Bed::sqlite().await;
    let refused = bed.ledger.recover(&*empty.store, examine, LET_GO).await;
    assert!(
        matches!(refused, Err(RecoveryError::Bond(BondError::OtherStore { .. }))),
        "{refused:?}"
    );
    assert_eq!(bed.state(ends.id).await, JobState::Waiting);
}

pub async fn cards_go_with_their_jobs(bed: Bed) {
    let user = bed.user("u").await;
    let (stays, goes, nobodys) =
        (bed.accepted(&user).await, bed.accepted(&user).await, new_job(&user));
    Card::of(&nobodys, "u", None).put(&*bed.store).await.unwrap();
    bed.finish(stays.id, 1).await;
    bed.ledger.cancel(Owner::Anyone, goes.id).await.unwrap();
    bed.ledger.delete_job(Owner::Anyone, goes.id).await.unwrap();
    let zero = Duration::ZERO;
    let mut sweeper = Sweeper::new(Retention {
        nameless: zero,
        unfinished: zero,
        sweep_every: zero,
        ..Retention::default()
    });
    let is_there = async |job: JobId| bed.store.head(&ObjectKey::card(job)).await.is_ok();
    while is_there(goes.id).await || is_there(nobodys.id).await {
        sweeper.sweep(&bed.ledger, &*bed.store).await.unwrap();
    }
    assert!(is_there(stays.id).await);
}

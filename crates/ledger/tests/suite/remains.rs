//! What of a store counts when a ledger from a backup is brought in line with it, and which store.

use tonemill_job::message::{FailureKind, What};
use tonemill_job::{JobId, ObjectKey};
use tonemill_ledger::recovery::{Decided, Recovered, RecoveryError};
use tonemill_ledger::{BondError, JobState};

use crate::backup::opened;
use crate::bed::{Bed, failure};
use crate::recovery::{LET_GO, NOTHING, examine};

const TAKE_STORE: Decided = Decided { let_go: false, take_store: true };

/// Its worker may not have held it against the upload, or have found it wrong: nobody was told.
pub async fn outputs_beside_their_uploads_count_for_nothing(bed: Bed) {
    let old = Bed::sqlite().await;
    let user = old.user("ada").await;
    old.ledger.bind(&*old.store).await.unwrap();
    let (waits, failed, retried) =
        (old.accepted(&user).await, old.accepted(&user).await, old.accepted(&user).await);
    for failed in [&failed, &retried] {
        let failure = failure(FailureKind::BadInput);
        old.record(failed.id, 1, What::Failed { failure }).await;
    }
    let bytes = old.back_up().await;
    let new = old.accepted(&user).await;
    for (job, attempt) in [(&waits, 1), (&failed, 1), (&retried, 2), (&new, 1)] {
        old.put(&ObjectKey::output(job.id, attempt)).await;
    }
    let bed = Bed::as_of(&bytes, &old, bed).await;
    let recovered = bed.recover(NOTHING).await;
    let brought_back = vec![new.id];
    assert_eq!(recovered, Recovered { brought_back, ..Recovered::default() });
    for (job, state) in [
        (&waits, JobState::Waiting),
        (&failed, JobState::Failed),
        (&retried, JobState::Waiting),
        (&new, JobState::Waiting),
    ] {
        let found = bed.job(job.id).await;
        assert_eq!((found.state, found.input.as_ref()), (state, Some(&job.input)));
    }
}

/// As in a copy of a bucket that is not done yet: jobs have their cards, and no objects.
pub async fn what_has_a_card_was_not_deleted(bed: Bed) {
    let old = Bed::sqlite().await;
    let user = old.user("ada").await;
    old.ledger.bind(&*old.store).await.unwrap();
    let (waits, done) = (old.accepted(&user).await, old.accepted(&user).await);
    let output = old.finish(done.id, 1).await;
    let bytes = old.back_up().await;
    let new = old.accepted(&user).await;
    for key in [&waits.input, &output, &new.input] {
        old.store.delete(key).await.unwrap();
    }
    let bed = Bed::as_of(&bytes, &old, bed).await;
    let recovered = bed.recover(NOTHING).await;
    let left: Vec<JobId> = recovered.left.iter().map(|(job, _)| *job).collect();
    assert_eq!((&left[..], recovered.gone.len()), (&[waits.id, done.id, new.id][..], 0));
    assert!(matches!(bed.ledger.bind(&*bed.store).await, Err(BondError::Restored)));
    // The rest of it comes.
    for key in [&waits.input, &new.input] {
        bed.put(key).await;
    }
    let recovered = bed.recover(NOTHING).await;
    assert_eq!((&recovered.brought_back[..], recovered.left.len()), (&[new.id][..], 1));
    assert_eq!(bed.recover(LET_GO).await.gone, [done.id]);
    bed.ledger.bind(&*bed.store).await.unwrap();
}

/// As in a copy of a bucket that has begun: there is next to nothing.
pub async fn a_store_that_may_not_be_whole_takes_no_jobs_along(bed: Bed) {
    let old = Bed::sqlite().await;
    let user = old.user("ada").await;
    old.ledger.bind(&*old.store).await.unwrap();
    let mut outputs = Vec::new();
    for _ in 0..4 {
        let job = old.accepted(&user).await.id;
        outputs.push((job, old.finish(job, 1).await));
        old.store.delete(&ObjectKey::card(job)).await.unwrap();
    }
    let bytes = old.back_up().await;
    for (_, output) in &outputs {
        old.store.delete(output).await.unwrap();
    }
    let bed = Bed::as_of(&bytes, &old, bed).await;
    let left = async |many: usize| {
        let recovered = bed.recover(NOTHING).await;
        assert_eq!((recovered.left.len(), recovered.gone.len()), (many, 0), "{recovered:?}");
    };
    left(4).await;
    bed.put(&outputs[0].1).await;
    left(3).await;
    // As few as this may have been deleted, but not while something else has no place.
    bed.put(&outputs[1].1).await;
    bed.put_bytes(&outputs[2].1, b"another length").await;
    left(1).await;
    bed.store.delete(&outputs[2].1).await.unwrap();
    let recovered = bed.recover(NOTHING).await;
    let gone = outputs[2..].iter().map(|(job, _)| *job).collect();
    assert_eq!(recovered, Recovered { gone, ..Recovered::default() });
    assert_eq!(bed.state(outputs[0].0).await, JobState::Finished);
}

/// Each recovery gives the store another mark than the backup has.
pub async fn a_backup_can_be_restored_again(bed: Bed) {
    let old = Bed::sqlite().await;
    let user = old.user("ada").await;
    old.ledger.bind(&*old.store).await.unwrap();
    let job = old.accepted(&user).await;
    let bytes = old.back_up().await;
    opened(&bytes).unwrap().check_store(&*old.store).await.unwrap();
    let first = Bed::as_of(&bytes, &old, Bed::sqlite().await).await;
    first.recover(NOTHING).await;

    let refused = opened(&bytes).unwrap().check_store(&*old.store).await;
    assert!(matches!(refused, Err(BondError::OtherLedger)), "{refused:?}");
    let bed = Bed::as_of(&bytes, &old, bed).await;
    let refused = bed.ledger.recover(&*bed.store, examine, LET_GO).await;
    assert!(matches!(refused, Err(RecoveryError::Bond(BondError::OtherLedger))), "{refused:?}");
    // Nor is just any store taken.
    let other = Bed::sqlite().await;
    other.ledger.bind(&*other.store).await.unwrap();
    let refused = bed.ledger.recover(&*other.store, examine, TAKE_STORE).await;
    assert!(matches!(refused, Err(RecoveryError::Bond(BondError::OtherLedger))), "{refused:?}");
    assert_eq!(bed.recover(TAKE_STORE).await, Recovered::default());
    bed.ledger.bind(&*bed.store).await.unwrap();
    let before = first.ledger.bind(&*first.store).await;
    assert!(matches!(before, Err(BondError::OtherLedger)), "{before:?}");
    assert_eq!(bed.state(job.id).await, JobState::Waiting);
}

//! Which store belongs to which ledger.

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tonemill_job::{JobId, Lane, ObjectKey};
use tonemill_ledger::sweep::{self, Retention, Sweeper};
use tonemill_ledger::{BondError, Owner};

use crate::bed::Bed;

const NOTHING: Retention = Retention {
    jobs: Duration::ZERO,
    nameless: Duration::ZERO,
    unfinished: Duration::ZERO,
    sweep_every: Duration::ZERO,
};

async fn mark(bed: &Bed, text: &str) {
    let mut upload = bed.store.create(&ObjectKey::mark(), "text/plain", 0).await.unwrap();
    upload.write(Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
    upload.finish(Bytes::new()).await.unwrap();
}

/// Replicas start together; each is started again.
pub async fn a_store_has_one_ledger(bed: Bed) {
    let bind = || bed.ledger.bind(&*bed.store);
    let all = tokio::join!(bind(), bind(), bind(), bind());
    assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok() && all.3.is_ok(), "{all:?}");
    bind().await.unwrap();

    let upload = ObjectKey::upload(JobId::new());
    bed.put(&upload).await;
    let other = Bed::sqlite().await;
    let refused = other.ledger.bind(&*bed.store).await;
    assert!(matches!(refused, Err(BondError::OtherLedger)), "{refused:?}");
    let mut sweeper = Sweeper::new(NOTHING);
    for _ in 0..3 {
        let refused = sweeper.sweep(&other.ledger, &*bed.store).await;
        assert!(matches!(refused, Err(BondError::OtherLedger)), "{refused:?}");
    }
    assert!(bed.store.head(&upload).await.is_ok(), "it is nobody's for the other ledger alone");
    other.ledger.bind(&*other.store).await.unwrap();
    let refused = other.ledger.bind(&*bed.store).await;
    assert!(matches!(refused, Err(BondError::OtherLedger)), "{refused:?}");
}

/// The store went to another ledger while a service with this one was at work, as after a recovery.
pub async fn a_store_that_is_anothers_by_now_is_left_alone(bed: Bed) {
    bed.ledger.bind(&*bed.store).await.unwrap();
    let user = bed.user("u").await;
    let job = bed.accept(&user, Lane::Normal).await;
    let input = bed.job(job).await.input.unwrap();
    bed.put(&input).await;
    bed.ledger.cancel(Owner::Anyone, job).await.unwrap();
    bed.ledger.delete_job(Owner::Anyone, job).await.unwrap();
    bed.store.delete(&ObjectKey::mark()).await.unwrap();
    mark(&bed, "another").await;
    // It ends by itself, and with it the service.
    sweep::run(&bed.ledger, &*bed.store, NOTHING, &CancellationToken::new()).await;
    assert!(bed.store.head(&input).await.is_ok());
}

pub async fn a_ledger_has_one_store(bed: Bed) {
    bed.ledger.bind(&*bed.store).await.unwrap();
    // As when the service dies before it has marked the store.
    bed.store.delete(&ObjectKey::mark()).await.unwrap();
    bed.ledger.bind(&*bed.store).await.unwrap();
    assert!(bed.store.head(&ObjectKey::mark()).await.is_ok());

    let user = bed.user("u").await;
    let job = bed.accept(&user, Lane::Normal).await;
    bed.store.delete(&ObjectKey::mark()).await.unwrap();
    let Err(BondError::OtherStore { mark: told }) = bed.ledger.bind(&*bed.store).await else {
        panic!("an empty store is taken for the one with the job's upload")
    };
    // Known again by what is in it.
    let input = bed.job(job).await.input.unwrap();
    bed.put(&input).await;
    bed.ledger.bind(&*bed.store).await.unwrap();
    for key in [ObjectKey::mark(), input] {
        bed.store.delete(&key).await.unwrap();
    }
    bed.ledger.bind(&*bed.store).await.unwrap_err();
    // An operator who knows better.
    mark(&bed, &format!("{told}\n")).await;
    bed.ledger.bind(&*bed.store).await.unwrap();
}

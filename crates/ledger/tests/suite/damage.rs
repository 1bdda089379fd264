//! Rows that this version cannot read: a later one wrote them, or something has damaged them. What
//! is wrong with one job is its own misfortune.

use tonemill_job::message::{FailureKind, What};
use tonemill_job::{JobId, Lane, ObjectKey};
use tonemill_ledger::reconciler::Missing;
use tonemill_ledger::sweep::{Retention, Sweeper};
use tonemill_ledger::uploads::{NewUpload, UploadKind};
use tonemill_ledger::users::User;
use tonemill_ledger::{JobFilter, JobState, Owner};

use crate::bed::{Bed, hook};
use crate::fairness::dispatch;

async fn set(bed: &Bed, job: JobId, column: &str, text: &str) {
    bed.sql(&format!("UPDATE jobs SET {column} = '{text}' WHERE id = '{job}'")).await;
}

async fn unfinished(bed: &Bed, user: &User) -> u64 {
    bed.ledger.usage(user.id).await.unwrap().unwrap().0.unfinished_jobs
}

pub async fn a_job_that_cannot_be_sent_fails_and_stops_no_other(bed: Bed) {
    let user = bed.user("u").await;
    bed.ledger.add_webhook(user.id, &hook(&["job.failed"])).await.unwrap().unwrap();
    let later = bed.accept(&user, Lane::Normal).await;
    set(&bed, later, "options", r#"{"channels":"surround"}"#).await;
    let cut = bed.accept(&user, Lane::Normal).await;
    set(&bed, cut, "options", r#"{"channels":"#).await;
    let unreadable = bed.accept(&user, Lane::Normal).await;
    set(&bed, unreadable, "input_key", "NO KEY").await;
    let good = bed.accept(&user, Lane::Normal).await;

    // There is room for one at a time, and they come first.
    dispatch(&bed, 1).await;
    assert_eq!(bed.receive_all().await, [good]);
    assert_eq!(unfinished(&bed, &user).await, 1);
    for job in [later, cut] {
        assert_eq!(bed.state(job).await, JobState::Failed);
        let detail = bed.ledger.job_detail(Owner::User(user.id), job).await.unwrap().unwrap();
        let failure = detail.failure.unwrap();
        assert_eq!((failure.kind, failure.stage.as_str()), (FailureKind::Bug, "dispatch"));
        assert!(failure.chain[0].starts_with("the options cannot be read"), "{failure:?}");
        assert_eq!(bed.owed(job).await.len(), 1);
    }
    assert_eq!(bed.job(later).await.options["channels"], "surround", "it can still be looked at");

    // Nothing is lost: who knows how to do it can try again.
    set(&bed, unreadable, "input_key", "uploads/a/b").await;
    assert_eq!(bed.state(unreadable).await, JobState::Failed);
    set(&bed, later, "options", r#"{"channels":"mono"}"#).await;
    bed.ledger.replay(Owner::User(user.id), later).await.unwrap();
    dispatch(&bed, 1).await;
    assert_eq!(bed.receive_all().await, [later]);

    set(&bed, later, "state", "dreaming").await;
    let wrong = bed.ledger.audit_rows().await.unwrap();
    assert!(wrong.iter().any(|wrong| wrong.starts_with("1 jobs are in a state")), "{wrong:?}");
}

pub async fn what_cannot_be_read_is_listed_watched_and_reconciled(bed: Bed) {
    let user = bed.user("u").await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let job = bed.accept(&user, Lane::Normal).await;
        bed.record(job, 1, What::Started).await;
        jobs.push(job);
    }
    bed.sql("UPDATE jobs SET dispatched_ms = 1").await;
    set(&bed, jobs[0], "options", "7").await;
    set(&bed, jobs[0], "history", "{").await;
    let listed = bed.ledger.list_jobs(Owner::User(user.id), &JobFilter::default(), 10).await;
    assert_eq!(listed.unwrap().len(), 3);
    set(&bed, jobs[1], "input_key", "NO KEY").await;
    let found = bed.ledger.jobs_by_id(&jobs).await.unwrap();
    assert_eq!(found.len(), 2, "those that can be read");

    let mut missing = Missing::default();
    missing.look(&bed.ledger, &*bed.queue).await;
    assert_eq!(missing.look(&bed.ledger, &*bed.queue).await, 3);
    let history = bed.job(jobs[0]).await.history;
    assert_eq!((history.attempts, history.suspect), (1, true), "the worst is believed");
}

pub async fn what_cannot_be_read_keeps_nothing_else_from_going(bed: Bed) {
    let user = bed.user("u").await;
    for number in 0..3 {
        let job = bed.accept(&user, Lane::Normal).await;
        bed.ledger.cancel(Owner::Anyone, job).await.unwrap();
        if number == 0 {
            set(&bed, job, "input_key", "NO KEY").await;
        }
        let id = JobId::new();
        let upload = NewUpload {
            id,
            user: user.id,
            kind: UploadKind::Resumable,
            key: ObjectKey::upload(id),
            parts: None,
            file_name: "talk.mp4".to_owned(),
            metadata: String::new(),
            total_bytes: 5,
            lifetime_ms: -1,
        };
        bed.ledger.begin_upload(&upload).await.unwrap();
        if number == 0 {
            bed.sql("UPDATE uploads SET kind = 'by_post'").await;
        }
    }
    bed.sql("UPDATE jobs SET ended_ms = 1").await;
    let swept = Sweeper::new(Retention::default()).sweep(&bed.ledger, &*bed.store).await.unwrap();
    assert_eq!((swept.expired, swept.uploads, swept.purged), (2, 2, 2));
}

//! What the workers tell, and what users ask for.

use tonemill_job::message::{FailureKind, What};
use tonemill_job::{JobEvent, Lane};
use tonemill_ledger::{JobFilter, JobState, NewJob, Owner, TransitionOutcome};

use crate::bed::{Bed, event, failure, finished, new_job};

pub async fn a_job_lives(bed: Bed) {
    let user = bed.user("u").await;
    let options = tonemill_job::JobOptions {
        bitrate_kbps: Some(128),
        tags: [("title".to_owned(), "Ω \" \\ 🎵".to_owned())].into(),
        ..Default::default()
    };
    let new = NewJob {
        options,
        label: "Wöche".to_owned(),
        file_name: "a 🎬 \u{1}?.mp4".to_owned(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        input_blake3: Some("cd".repeat(32)),
        lane: Lane::High,
        ..new_job(&user)
    };
    let mut changes = bed.ledger.changes();
    bed.ledger.accept(&new, None).await.unwrap();
    let job = bed.job(new.id).await;
    assert_eq!((job.state, job.version, job.attempts), (JobState::Waiting, 1, 0));
    assert_eq!((&job.label, &job.file_name), (&new.label, &new.file_name));
    assert_eq!(
        (&job.input, &job.input_blake3, job.lane),
        (&Some(new.input.clone()), &new.input_blake3, Lane::High)
    );
    let message = job.message().unwrap();
    assert_eq!((message.job, &message.input, &message.options), (new.id, &new.input, &new.options));
    assert_eq!(message.traceparent, new.traceparent);

    bed.record(new.id, 1, What::Started).await;
    let job = bed.job(new.id).await;
    assert_eq!((job.state, job.version, job.attempts), (JobState::Running, 2, 1));
    assert_eq!(job.worker.as_deref(), Some("worker-1"));
    assert_eq!(changes.recv().await.unwrap(), new.id);

    let unneeded = bed.record(new.id, 1, finished(new.id, 1)).await;
    assert_eq!(unneeded, std::slice::from_ref(&new.input), "nobody needs the upload");
    let job = bed.job(new.id).await;
    assert_eq!((job.state, job.version, &job.input), (JobState::Finished, 3, &None));
    let output = job.output.unwrap();
    assert_eq!((output.bytes, output.duration_ms, output.truncated), (400, 12_500, true));
    assert!(job.created_ms <= job.started_ms.unwrap() && job.started_ms <= job.ended_ms);
    let detail = bed.ledger.job_detail(Owner::User(user.id), new.id).await.unwrap().unwrap();
    assert_eq!(detail.warnings, ["the end is missing"]);
    assert_eq!(detail.report.unwrap()["frames"], 7);
    let attempts = bed.ledger.attempts(new.id).await.unwrap();
    assert_eq!((attempts.len(), attempts[0].outcome.as_deref()), (1, Some("finished")));

    let stranger = bed.user("stranger").await;
    let theirs = Owner::User(stranger.id);
    assert_eq!(bed.ledger.job(theirs, new.id).await.unwrap(), None);
    assert_eq!(bed.ledger.job_detail(theirs, new.id).await.unwrap(), None);
    assert_eq!(bed.ledger.delete_job(theirs, new.id).await.unwrap(), TransitionOutcome::NoJob);
}

pub async fn everything_may_come_twice(bed: Bed) {
    let user = bed.user("u").await;
    let job = bed.accept(&user, Lane::Normal).await;
    let retry = What::Retrying { failure: failure(FailureKind::Transient), not_before_ms: 5 };
    let events = [
        event(job, 1, What::Started),
        event(job, 1, retry),
        event(job, 2, What::Started),
        event(job, 2, finished(job, 2)),
    ];
    let mut once = None;
    for (count, event) in events.iter().enumerate() {
        for _ in 0..3 {
            bed.ledger.record(std::slice::from_ref(event)).await.unwrap();
        }
        assert_eq!(bed.job(job).await.version, count as u64 + 2, "{event:?}");
        if count == 1 {
            once = Some(bed.job(job).await.history);
        }
    }
    assert_eq!(once.unwrap().transient_failures, 1);
    // All of it again, in one batch, changes nothing and takes nothing away.
    let before = bed.job(job).await;
    assert_eq!(bed.ledger.record(&events).await.unwrap(), []);
    assert_eq!(bed.job(job).await, before);
    let (usage, _) = bed.ledger.usage(user.id).await.unwrap().unwrap();
    let counted = (usage.unfinished_jobs, usage.stored_bytes, usage.daily_audio_ms);
    assert_eq!(counted, (0, 400, 12_500));
    let attempts = bed.ledger.attempts(job).await.unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|a| a.outcome.as_deref().unwrap()).collect();
    assert_eq!(outcomes, ["retrying", "finished"]);
}

pub async fn late_events_change_nothing(bed: Bed) {
    let user = bed.user("u").await;
    // Of two ends the first counts; the other's output goes.
    let job = bed.accept(&user, Lane::Normal).await;
    bed.record(job, 1, finished(job, 1)).await;
    let winner = bed.job(job).await.output.unwrap().key;
    let second = finished(job, 1);
    let What::Finished(loser) = &second else { unreachable!() };
    let loser = loser.output.clone();
    assert_eq!(bed.record(job, 1, second).await, [loser]);
    bed.record(job, 2, What::Failed { failure: failure(FailureKind::Bug) }).await;
    bed.record(job, 2, What::Started).await;
    let kept = bed.job(job).await;
    assert_eq!((kept.state, kept.output.unwrap().key), (JobState::Finished, winner));

    // Cancelled is cancelled, whatever comes of it.
    let job = bed.accept(&user, Lane::Normal).await;
    bed.record(job, 1, What::Started).await;
    assert_eq!(
        bed.ledger.cancel(Owner::User(user.id), job).await.unwrap(),
        TransitionOutcome::Done
    );
    assert_eq!(bed.record(job, 1, finished(job, 1)).await.len(), 1);
    assert_eq!(bed.state(job).await, JobState::Cancelled);

    // A wish from before a replay does not end it.
    assert_eq!(
        bed.ledger.replay(Owner::User(user.id), job).await.unwrap(),
        TransitionOutcome::Done
    );
    bed.record(job, 2, What::Started).await;
    bed.record(job, 2, What::Cancelled).await;
    assert_eq!(bed.state(job).await, JobState::Waiting);
    // An old attempt's failure is not the new one's.
    bed.record(job, 1, What::Started).await;
    assert_eq!(bed.state(job).await, JobState::Waiting);

    // What was cancelled before it began has used up its attempt's number all the same.
    let job = bed.accept(&user, Lane::Normal).await;
    assert_eq!(
        bed.ledger.cancel(Owner::User(user.id), job).await.unwrap(),
        TransitionOutcome::Done
    );
    assert_eq!(
        bed.ledger.replay(Owner::User(user.id), job).await.unwrap(),
        TransitionOutcome::Done
    );
    bed.record(job, 1, What::Cancelled).await;
    assert_eq!(bed.job(job).await.message().unwrap().history.attempts, 1);
    bed.record(job, 2, What::Started).await;
    assert_eq!(bed.state(job).await, JobState::Running);
    bed.record(job, 1, What::Cancelled).await;
    assert_eq!(bed.state(job).await, JobState::Running, "it comes twice, and late");

    // About nobody's job.
    let nobody = tonemill_job::JobId::new();
    assert_eq!(bed.record(nobody, 1, finished(nobody, 1)).await.len(), 1);
    bed.record(nobody, 1, What::Failed { failure: failure(FailureKind::Bug) }).await;
}

pub async fn an_attempt_that_failed_leaves_its_history(bed: Bed) {
    let user = bed.user("u").await;
    let job = bed.accept(&user, Lane::Normal).await;
    let kinds = [FailureKind::Transient, FailureKind::Crash, FailureKind::Crash];
    for (attempt, kind) in (1..).zip(kinds) {
        bed.record(job, attempt, What::Started).await;
        let what = What::Retrying { failure: failure(kind), not_before_ms: 70_000 };
        // The worker's clock stands in 1970: 60 s from then are 60 s from now.
        let event = JobEvent { at_ms: 10_000, ..event(job, attempt, what) };
        bed.ledger.record(&[event]).await.unwrap();
    }
    let queued = bed.job(job).await;
    assert_eq!(queued.state, JobState::Queued);
    let pause_ms = queued.not_before_ms - bed.ledger.now_ms();
    assert!((1..=60_000).contains(&pause_ms), "{pause_ms}");
    let history = queued.message().unwrap().history;
    assert_eq!((history.attempts, history.transient_failures), (3, 1));
    assert_eq!((history.crashes_alone, history.suspect), (1, true));

    bed.record(job, 4, What::Failed { failure: failure(FailureKind::Crash) }).await;
    assert_eq!(bed.state(job).await, JobState::Failed);
    let failed = |kind| JobFilter { failures: vec![kind], ..JobFilter::default() };
    let crashed = bed.ledger.list_jobs(Owner::Anyone, &failed(FailureKind::Crash), 10).await;
    assert_eq!(crashed.unwrap().len(), 1);
    let bugs = bed.ledger.list_jobs(Owner::Anyone, &failed(FailureKind::Bug), 10).await;
    assert_eq!(bugs.unwrap(), []);
    let detail = bed.ledger.job_detail(Owner::Anyone, job).await.unwrap().unwrap();
    assert_eq!(detail.failure.unwrap().advice, "send sound");

    // Its replay is a new start, but its attempts go on counting.
    assert_eq!(bed.ledger.replay(Owner::Anyone, job).await.unwrap(), TransitionOutcome::Done);
    let history = bed.job(job).await.message().unwrap().history;
    assert_eq!((history.attempts, history.crashes_alone, history.suspect), (4, 0, false));
    assert_eq!(history.forgiven, 4);
    let what = What::Retrying { failure: failure(FailureKind::Crash), not_before_ms: 0 };
    bed.record(job, 5, What::Started).await;
    bed.record(job, 5, what).await;
    let history = bed.job(job).await.message().unwrap().history;
    assert_eq!((history.attempts, history.forgiven, history.suspect), (5, 4, true));
    let (usage, _) = bed.ledger.usage(user.id).await.unwrap().unwrap();
    assert_eq!(usage.unfinished_jobs, 1);
}

pub async fn transitions_meet_states(bed: Bed) {
    let user = bed.user("u").await;
    let mine = Owner::User(user.id);
    let job = bed.accept(&user, Lane::Normal).await;
    let waiting = TransitionOutcome::NotNow(JobState::Waiting);
    assert_eq!(bed.ledger.delete_job(mine, job).await.unwrap(), waiting);
    assert_eq!(bed.ledger.replay(mine, job).await.unwrap(), waiting);
    assert_eq!(bed.ledger.cancel(mine, job).await.unwrap(), TransitionOutcome::Done);
    let cancelled = TransitionOutcome::NotNow(JobState::Cancelled);
    assert_eq!(bed.ledger.cancel(mine, job).await.unwrap(), cancelled);
    assert_eq!(bed.ledger.replay(mine, job).await.unwrap(), TransitionOutcome::Done);
    bed.record(job, 1, finished(job, 1)).await;
    let over = TransitionOutcome::NotNow(JobState::Finished);
    assert_eq!(bed.ledger.replay(mine, job).await.unwrap(), over);
    assert_eq!(bed.ledger.delete_job(mine, job).await.unwrap(), TransitionOutcome::Done);
    assert_eq!(bed.ledger.job(Owner::Anyone, job).await.unwrap(), None);
    assert_eq!(bed.ledger.delete_job(mine, job).await.unwrap(), TransitionOutcome::NoJob);
    let (usage, _) = bed.ledger.usage(user.id).await.unwrap().unwrap();
    assert_eq!((usage.unfinished_jobs, usage.stored_bytes), (0, 0));
}

pub async fn pages_and_filters(bed: Bed) {
    let (user, other) = (bed.user("u").await, bed.user("o").await);
    let mine = Owner::User(user.id);
    let mut jobs = Vec::new();
    for number in 0..7 {
        let label = if number % 2 == 0 { "even" } else { "odd" };
        let new = NewJob { label: label.to_owned(), ..new_job(&user) };
        bed.ledger.accept(&new, None).await.unwrap();
        jobs.insert(0, new.id);
    }
    bed.accept(&other, Lane::Normal).await;
    bed.ledger.cancel(mine, jobs[0]).await.unwrap();

    let list = async |owner, filter: JobFilter, most| {
        let jobs = bed.ledger.list_jobs(owner, &filter, most).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(list(mine, JobFilter::default(), 100).await, jobs);
    assert_eq!(list(Owner::Anyone, JobFilter::default(), 100).await.len(), 8);
    let after = JobFilter { before: Some(jobs[2]), ..JobFilter::default() };
    assert_eq!(list(mine, after, 3).await, jobs[3..6]);
    let odd = JobFilter { label: Some("odd".to_owned()), ..JobFilter::default() };
    assert_eq!(list(mine, odd, 100).await, [jobs[1], jobs[3], jobs[5]]);
    let states = vec![JobState::Cancelled, JobState::Failed];
    let over = JobFilter { states, ..JobFilter::default() };
    assert_eq!(list(mine, over, 100).await, [jobs[0]]);
    let hour = 3_600_000;
    let now = bed.ledger.now_ms();
    let future = JobFilter { created_from_ms: Some(now + hour), ..JobFilter::default() };
    assert_eq!(list(mine, future, 100).await, []);
    let past = JobFilter {
        created_from_ms: Some(now - hour),
        created_before_ms: Some(now + hour),
        ..JobFilter::default()
    };
    assert_eq!(list(mine, past, 100).await, jobs);
    let found = bed.ledger.jobs_by_id(&jobs[..3]).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(bed.ledger.jobs_by_id(&[]).await.unwrap(), []);
}

//! The checker turns red when a book is wrong or an object is not what it should be: a checker that
//! cannot fail proves nothing.

use std::fs;
use std::time::Duration;

use crate::checker::Verdict;
use crate::clips;
use crate::system::{LEASE, System};

/// What is done to the ledger, how it is undone, and a word of what the checker says of it.
const FORGERIES: [(&str, &str, &str); 8] = [
    (
        "UPDATE jobs SET state = 'cancelled' WHERE label = 'upload-1'",
        "UPDATE jobs SET state = 'finished' WHERE label = 'upload-1'",
        "is cancelled, not finished",
    ),
    (
        "UPDATE jobs SET attempts = 2 WHERE label = 'upload-1'",
        "UPDATE jobs SET attempts = 1 WHERE label = 'upload-1'",
        "is finished by",
    ),
    (
        "UPDATE jobs SET label = 'upload-2' WHERE label = 'upload-1'",
        "UPDATE jobs SET label = 'upload-1' WHERE id = (SELECT MIN(id) FROM jobs)",
        "labels for",
    ),
    (
        "UPDATE jobs SET output_bytes = output_bytes + 1 WHERE label = 'upload-1'",
        "UPDATE jobs SET output_bytes = output_bytes - 1 WHERE label = 'upload-1'",
        "charged, not",
    ),
    (
        "UPDATE users SET unfinished_jobs = 1",
        "UPDATE users SET unfinished_jobs = 0",
        "charged for 1 jobs",
    ),
    (
        "UPDATE users SET stored_bytes = stored_bytes + 1",
        "UPDATE users SET stored_bytes = stored_bytes - 1",
        "charged for 0 jobs",
    ),
    (
        "INSERT INTO attempts (job_id, attempt, worker, ended_ms, outcome) \
         SELECT id, 2, worker, ended_ms, 'finished' FROM jobs WHERE label = 'upload-1'",
        "DELETE FROM attempts WHERE attempt = 2",
        "is finished by",
    ),
    (
        "UPDATE idempotency_keys SET job_id = 'x' WHERE idempotency_key = 'upload-1'",
        "UPDATE idempotency_keys SET job_id = (SELECT id FROM jobs WHERE label = 'upload-1') \
         WHERE idempotency_key = 'upload-1'",
        "keys name",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_found() {
    let mut system = System::start(None).await;
    system.parts.add_worker(&[]);
    // One after the other, so that the first is the first by its id.
    system.submit(1, clips::all()).await;
    system.submit(2, clips::all()).await;
    system.wait().await;
    system.check(LEASE).await.assert_sound(&system);
    let mut ledger = system.ledger().await;
    for (forge, undo, due) in FORGERIES {
        assert_eq!(ledger.change(forge, &[]).await, 1, "{forge}");
        assert_found(&system.check(LEASE).await, due);
        assert_eq!(ledger.change(undo, &[]).await, 1, "{undo}");
    }

    let output =
        ledger.texts("SELECT output_key FROM jobs WHERE label = 'upload-1'").await.remove(0);
    let path = system.parts.s3.object_path(&output);
    let bytes = fs::read(&path).expect("an output");
    let mut other = bytes.clone();
    other[1000] ^= 1;
    fs::write(&path, other).expect("our file");
    assert_found(&system.check(LEASE).await, "is not what");
    fs::write(&path, bytes).expect("our file");
    system.check(LEASE).await.assert_sound(&system);

    // A job that nobody accepted, in a queue that no worker reads.
    system.parts.workers[0].drain().await;
    let client = redis::Client::open(system.parts.redis.url()).expect("an address");
    let mut direct = client.get_multiplexed_async_connection().await.expect("a connection");
    let mut add = redis::cmd("XADD");
    add.arg("{tonemill}:jobs:low").arg("*").arg("job").arg("{}");
    add.query_async::<()>(&mut direct).await.expect("it is added");
    assert_found(&system.check(Duration::ZERO).await, "left in Redis");
}

fn assert_found(verdict: &Verdict, due: &str) {
    let is_found = verdict.violations.iter().any(|wrong| wrong.contains(due));
    assert!(is_found, "{due} is not among {:?}", verdict.violations);
}

//! Proves, or refutes, after whatever was done to the system: every job that was accepted is over,
//! and finished unless it was to fail; its output is the one that the ledger names, the bytes of an
//! undisturbed conversion, and can be downloaded; the ledger's books are right; and nothing is left
//! in Redis or in the bucket that does not belong there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sqlx::Row as _;
use sqlx::any::AnyRow;
use tonemill_job::ObjectKey;

use crate::jobs::age;
use crate::ledger::Ledger;
use crate::system::{System, running};

/// How far apart APIs may be that tell the time by the database's clock.
const SKEW_MS: i64 = 1000;

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong.
    pub violations: Vec<String>,
    /// Attempts that were begun beyond one per job.
    pub extra_attempts: usize,
}

impl Verdict {
    /// Panics with all that is wrong.
    #[track_caller]
    pub fn assert_sound(self, system: &System) -> Self {
        let wrong = self.violations.join("\n");
        assert!(wrong.is_empty(), "{wrong}\n\nlogs:\n{}", system.parts.log());
        self
    }

    fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }
}

/// A row of the ledger.
struct Row {
    id: String,
    state: String,
    attempts: i64,
    label: String,
    user: String,
    worker: Option<String>,
    input: Option<String>,
    output: Option<String>,
    output_bytes: Option<i64>,
    stored_bytes: i64,
}

impl Row {
    const ALL: &'static str = "SELECT id, state, attempts, label, user_id, worker, input_key, \
                               output_key, output_bytes, stored_bytes FROM jobs ORDER BY id";

    fn read(row: &AnyRow) -> Self {
        Self {
            id: row.get(0),
            state: row.get(1),
            attempts: row.get(2),
            label: row.get(3),
            user: row.get(4),
            worker: row.get(5),
            input: row.get(6),
            output: row.get(7),
            output_bytes: row.get(8),
            stored_bytes: row.get(9),
        }
    }
}

impl System {
    /// Checks everything but what only a sweep takes away. Nothing may be under way, but what is on
    /// its way to the ledger has `patience`.
    pub async fn check(&self, patience: Duration) -> Verdict {
        let mut verdict = Verdict::default();
        self.check_redis(patience, &mut verdict).await;
        let mut ledger = self.ledger().await;
        let rows: Vec<Row> = ledger.rows(Row::ALL).await.iter().map(Row::read).collect();
        self.check_names(&rows, &mut ledger, &mut verdict).await;
        check_users(&rows, &mut ledger, &mut verdict).await;
        check_attempts(&rows, &mut ledger, &mut verdict).await;
        for row in &rows {
            self.check_output(row, &mut verdict).await;
        }
        verdict
    }

    /// Nothing waits, nothing runs, nothing is told that nobody has heard.
    async fn check_redis(&self, patience: Duration, verdict: &mut Verdict) {
        let end = Instant::now() + patience;
        loop {
            let depth = self.depth().await;
            let waiting: u64 = depth.lanes.iter().map(|lane| lane.waiting).sum();
            if waiting + running(&depth) + depth.delayed + depth.events == 0 {
                return;
            }
            if Instant::now() > end {
                return verdict.wrong(format!("left in Redis: {depth:?}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What was accepted is there, and nothing else; each key and each label stands for one job.
    async fn check_names(&self, rows: &[Row], ledger: &mut Ledger, verdict: &mut Verdict) {
        let known: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        for job in self.jobs.keys().filter(|job| !known.contains(job.as_str())) {
            verdict.wrong(format!("{job} was accepted and is not in the ledger"));
        }
        for job in known.iter().filter(|job| !self.jobs.contains_key(**job)) {
            verdict.wrong(format!("{job} is in the ledger and was not accepted"));
        }
        let labels: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        if labels.len() != rows.len() {
            verdict.wrong(format!("{} labels for {} jobs", labels.len(), rows.len()));
        }
        let keys = ledger.texts("SELECT job_id FROM idempotency_keys").await;
        let named: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        if named != known || keys.len() != known.len() {
            verdict.wrong(format!(
                "{} keys name {} jobs of {}",
                keys.len(),
                named.len(),
                rows.len()
            ));
        }
    }

    /// A job that is finished has what the ledger says of its output.
    async fn check_output(&self, row: &Row, verdict: &mut Verdict) {
        let Some(clip) = self.jobs.get(&row.id) else { return };
        let id = &row.id;
        let Some(output) = row.output.as_ref().filter(|_| row.state == "finished") else {
            return verdict.wrong(format!("{id} ({}) is {}, not finished", clip.name, row.state));
        };
        if let Some(input) = &row.input {
            verdict.wrong(format!("{id} is finished and still has its upload, {input}"));
        }
        let due = clip.reference.len() as i64;
        if row.output_bytes != Some(due) || row.stored_bytes != due {
            let (output, stored) = (row.output_bytes, row.stored_bytes);
            verdict.wrong(format!("{id}: {output:?} bytes, {stored} charged, not {due}"));
        }
        let key: ObjectKey = output.clone().try_into().expect("a key");
        if self.bucket().read(&key).await.as_deref() != Some(&clip.reference[..]) {
            verdict.wrong(format!("{output} is not what {} becomes", clip.name));
        }
        match self.client.get(format!("/v1/jobs/{id}/output")).try_send().await {
            Ok(reply) if reply.status == 200 && reply.body == clip.reference => {}
            Ok(reply) => {
                let (status, bytes) = (reply.status, reply.body.len());
                verdict.wrong(format!("{id} downloads as {bytes} bytes with {status}"));
            }
            Err(error) => verdict.wrong(format!("{id} cannot be downloaded: {error}")),
        }
    }

    /// Has an API sweep what is old, which all is made to be: then the outputs that the ledger
    /// names are in the bucket, and nothing else. How many objects and halves of objects went.
    pub async fn sweep(&mut self, verdict: &mut Verdict) -> usize {
        for (api, _) in &mut self.parts.apis {
            api.kill();
        }
        self.parts.apis.clear();
        // s3s-fs cannot list what was begun, so the service cannot sweep it.
        let mut swept = self.bucket().sweep_unfinished().await;
        let mut ledger = self.ledger().await;
        let named = ledger.texts("SELECT output_key FROM jobs WHERE state = 'finished'").await;
        let named: BTreeSet<String> = named.into_iter().collect();
        let before = self.objects().await;
        swept += before.difference(&named).count();
        for key in &before {
            age(&self.parts.s3.object_path(key));
        }
        // Who sweeps is known for half a minute after its death.
        ledger.change("UPDATE leaders SET until_ms = 1", &[]).await;
        self.parts.add_api(&[]);
        self.client.address = self.parts.apis[0].1;
        let start = Instant::now();
        loop {
            let left = self.objects().await;
            if left == named {
                return swept;
            }
            if start.elapsed() > crate::PATIENCE || !left.is_superset(&named) {
                let (more, less) = (left.difference(&named), named.difference(&left));
                let (more, less): (Vec<_>, Vec<_>) = (more.collect(), less.collect());
                verdict.wrong(format!("after the sweep there are {more:?} and not {less:?}"));
                return swept;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn objects(&self) -> BTreeSet<String> {
        let bucket = self.bucket();
        let keys = [bucket.keys(ObjectKey::UPLOADS).await, bucket.keys(ObjectKey::OUTPUTS).await];
        keys.concat().iter().map(ToString::to_string).collect()
    }
}

/// What counts against the users' quotas is what their jobs say.
async fn check_users(rows: &[Row], ledger: &mut Ledger, verdict: &mut Verdict) {
    for user in ledger.rows("SELECT id, unfinished_jobs, stored_bytes FROM users").await {
        let (id, unfinished, stored): (String, i64, i64) = (user.get(0), user.get(1), user.get(2));
        let due: i64 = rows.iter().filter(|row| row.user == id).map(|row| row.stored_bytes).sum();
        if unfinished != 0 || stored != due {
            let of_due = format!("{stored} bytes of {due}");
            verdict.wrong(format!("a user is charged for {unfinished} jobs and {of_due}"));
        }
    }
}

/// The attempt that ended a job is the job's last that counts, and the only one with that end.
async fn check_attempts(rows: &[Row], ledger: &mut Ledger, verdict: &mut Verdict) {
    struct Attempt {
        number: i64,
        worker: String,
        started: Option<i64>,
        ended: Option<i64>,
        outcome: Option<String>,
    }
    let mut attempts: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
    let all = "SELECT job_id, attempt, worker, started_ms, ended_ms, outcome FROM attempts";
    for row in ledger.rows(all).await {
        attempts.entry(row.get(0)).or_default().push(Attempt {
            number: row.get(1),
            worker: row.get(2),
            started: row.get(3),
            ended: row.get(4),
            outcome: row.get(5),
        });
    }
    for row in rows {
        let attempts = attempts.remove(&row.id).unwrap_or_default();
        let ends: Vec<&Attempt> =
            attempts.iter().filter(|a| a.outcome.as_ref() == Some(&row.state)).collect();
        let last = attempts.iter().map(|a| a.number).max().unwrap_or(0).max(row.attempts);
        verdict.extra_attempts += (last - 1).max(0) as usize;
        match ends[..] {
            [end] if end.number == row.attempts && Some(&end.worker) == row.worker.as_ref() => {}
            _ => {
                let ends: Vec<_> = ends.iter().map(|end| (end.number, &end.worker)).collect();
                let due = (row.attempts, &row.worker);
                verdict.wrong(format!("{} is {} by {ends:?}, not {due:?}", row.id, row.state));
            }
        }
        for attempt in &attempts {
            let latest = attempt.ended.map_or(i64::MAX, |end| end + SKEW_MS);
            let in_order = attempt.started.is_none_or(|start| start <= latest);
            if !in_order || attempt.outcome.is_some() != attempt.ended.is_some() {
                verdict.wrong(format!("attempt {} of {} makes no sense", attempt.number, row.id));
            }
        }
    }
    for job in attempts.keys() {
        verdict.wrong(format!("an attempt at {job}, which is no job"));
    }
}

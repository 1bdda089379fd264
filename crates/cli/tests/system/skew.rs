//! Version skew: an update that rolls through a running system, and back. `$TONEMILL_OLD` is the
//! program of another version (`make skew` builds it). It makes the ledger, and goes on with it
//! while and after this version adds its migrations; messages, events, leases, log-ins, uploads and
//! deliveries of each version meet the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonemill_testbed::mariadb::MariaDb;
use tonemill_testbed::postgres::Postgres;
use tonemill_testbed::sink::Sink;

use crate::client::Client;
use crate::clips::{self, Clip};
use crate::jobs::id_of;
use crate::separate::Separate;
use crate::service::PASSWORD;
use crate::support::daemon::Daemon;
use crate::system::{LEASE, System};
use crate::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program of another version: make skew"]
async fn an_update_rolls_over_sqlite() {
    roll(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program of another version: make skew"]
async fn an_update_rolls_over_mariadb() {
    let database = tokio::task::block_in_place(MariaDb::start);
    roll(Some(&database.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program of another version: make skew"]
async fn an_update_rolls_over_postgres() {
    let database = tokio::task::block_in_place(Postgres::start);
    roll(Some(&database.url())).await;
}

/// Starts something of the other version.
fn of_old<T>(system: &mut System, start: impl FnOnce(&mut Separate) -> T) -> T {
    let old = std::env::var_os("TONEMILL_OLD").expect("TONEMILL_OLD, a program: run make skew");
    system.parts.program = Some(PathBuf::from(old));
    let started = start(&mut system.parts);
    system.parts.program = None;
    started
}

/// The old API is the first, the new one the second.
async fn roll(database: Option<&str>) {
    let (mut system, sink) = (System::unstarted(database).await, Sink::start().await);
    let mails = tempfile::tempdir().expect("a folder");
    let folder = mails.path().to_str().expect("a plain name").to_owned();
    // The webhook is on this machine, and nobody is mailed.
    system.parts.variables.push(("TONEMILL_WEBHOOK_INTERNAL_HOSTS", "localhost".to_owned()));
    system.parts.variables.push(("TONEMILL_MAIL_FOLDER", folder));
    let (migrations, mut told_by_old) = begin(&mut system, &sink).await;
    let migrated = update(&mut system).await;
    migrate_further(&system).await;
    println!("skew: {migrations} migrations of the old version, {migrated} of both");
    messages_cross(&mut system).await;
    leases_cross(&mut system).await;
    requests_cross(&system).await;
    uploads_cross(&mut system).await;

    // Both versions of everything, and an old API that starts on a ledger of the new version.
    let mut told_by_new = system.parts.notifier(&[]);
    of_old(&mut system, |parts| parts.restart_api(0));
    system.client.address = system.parts.apis[0].1;
    system.parts.add_worker(&[]);
    of_old(&mut system, |parts| parts.add_worker(&[]));
    submit_to_both(&mut system, 20).await;
    system.wait().await;

    // And back: the old version alone.
    told_by_new.drain().await;
    system.parts.apis.remove(1).0.drain().await;
    end_workers(&mut system).await;
    of_old(&mut system, |parts| parts.add_worker(&[]));
    system.submit(5, clips::all()).await;
    system.wait().await;

    assert_told(&system, &sink).await;
    told_by_old.drain().await;
    let mut verdict = system.check(LEASE * 4).await;
    system.sweep(&mut verdict).await;
    let extra = verdict.assert_sound(&system).extra_attempts;
    // Those of the two workers that were killed, which had one job each.
    assert_eq!(extra, 2, "extra attempts:\n{}", system.parts.log());
    println!("skew: {} jobs, each once; {extra} attempts of killed workers", system.jobs.len());
    system.end().await;
}

/// The old version alone makes the ledger; its migrations, and its notifier, which goes on.
async fn begin(system: &mut System, sink: &Sink) -> (i64, Daemon) {
    let notifier = of_old(system, |parts| {
        parts.add_api(&[]);
        parts.add_worker(&[]);
        parts.notifier(&[])
    });
    system.log_in().await;
    let hook = json!({"url": sink.url("/told")});
    system.client.post("/v1/webhooks").json(&hook).send().await.expect(201);
    system.submit(5, clips::all()).await;
    system.wait().await;
    (migrations(system).await, notifier)
}

/// A new API adds its migrations while the old one takes uploads and its worker works; how many
/// there are then.
async fn update(system: &mut System) -> i64 {
    let (mut uploads, old) = (JoinSet::new(), system.client.clone());
    for clip in clips::all().iter().cycle().take(10) {
        uploads.spawn(system.upload(old.clone(), clip));
    }
    system.parts.add_api(&[]);
    system.jobs.extend(uploads.join_all().await);
    system.wait().await;
    migrations(system).await
}

/// What a version after this one may do to the ledger: both go on, and start again, beside it.
async fn migrate_further(system: &System) {
    let mut ledger = system.ledger().await;
    ledger.change("ALTER TABLE jobs ADD COLUMN of_a_later_version INTEGER", &[]).await;
    let told = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                execution_time) SELECT 9000, 'later', success, checksum, 0 \
                FROM _sqlx_migrations WHERE version = 1";
    assert_eq!(ledger.change(told, &[]).await, 1);
}

async fn migrations(system: &System) -> i64 {
    system.ledger().await.number("SELECT COUNT(*) FROM _sqlx_migrations").await
}

async fn submit_to_both(system: &mut System, jobs: usize) {
    let apis = [system.at(0), system.at(1)];
    system.submit_to(&apis, jobs, clips::all()).await;
}

async fn end_workers(system: &mut System) {
    for mut worker in std::mem::take(&mut system.parts.workers) {
        worker.drain_worker().await;
    }
}

/// A worker of each version alone does the jobs of both APIs.
async fn messages_cross(system: &mut System) {
    end_workers(system).await;
    system.parts.add_worker(&[]);
    submit_to_both(system, 10).await;
    system.wait().await;
    end_workers(system).await;
    of_old(system, |parts| parts.add_worker(&[]));
    submit_to_both(system, 10).await;
    system.wait().await;
}

/// Who is killed leaves its job to a worker of the other version, both ways.
async fn leases_cross(system: &mut System) {
    for is_heir_old in [false, true] {
        // The one there is is old, then new.
        submit(system, 0, &clips::long(60)).await;
        system.wait_until_running(1).await;
        system.parts.workers.remove(0).kill();
        if is_heir_old {
            of_old(system, |parts| parts.add_worker(&[]));
        } else {
            system.parts.add_worker(&[]);
        }
        submit_to_both(system, 4).await;
        system.wait().await;
    }
    end_workers(system).await;
}

async fn submit(system: &mut System, api: usize, clip: &Arc<Clip>) {
    let client = system.at(api);
    let (job, clip) = system.upload(client, clip).await;
    system.jobs.insert(job, clip);
}

/// Who logged in at one API is known to the other; both say the same of every job.
async fn requests_cross(system: &System) {
    for [here, there] in [[0, 1], [1, 0]] {
        let client = system.parts.nobody(here).log_in("admin", PASSWORD).await;
        let there = Client { address: system.parts.apis[there].1, ..client.clone() };
        for job in system.jobs.keys().step_by(7) {
            let [here, there] = [client.job(job).await, there.job(job).await];
            for field in ["state", "label", "attempts", "output", "input_bytes"] {
                assert_eq!(here[field], there[field], "{field} of {job}");
            }
        }
    }
}

/// Resumable uploads that begin at one API and go on at the other.
async fn uploads_cross(system: &mut System) {
    let clip = &clips::all()[0];
    let (first, second) = clip.bytes.split_at(clip.bytes.len() / 2);
    for [here, there] in [[0, 1], [1, 0]] {
        let (here, there) = (system.at(here), system.at(there));
        let length = clip.bytes.len().to_string();
        let begin = tus(here.post("/v1/uploads")).header("upload-length", &length);
        let path = begin.send().await.expect(201).header("location").expect("a path").to_owned();
        append(&here, &path, 0, first).await;
        append(&there, &path, first.len(), second).await;
        let id = path.rsplit('/').next().expect("a name");
        let key = format!("resumed-{id}");
        let job = here.post("/v1/jobs").header("idempotency-key", &key);
        let job = job.json(&json!({"upload": id, "label": key})).send().await.expect(201);
        system.jobs.insert(id_of(&job), Arc::clone(clip));
    }
}

async fn append(client: &Client, path: &str, offset: usize, bytes: &[u8]) {
    let request = tus(client.patch(path)).header("upload-offset", &offset.to_string());
    let request = request.header("content-type", "application/offset+octet-stream");
    request.body(bytes.to_vec()).send().await.expect(204);
}

fn tus(request: crate::client::Request) -> crate::client::Request {
    request.header("tus-resumable", "1.0.0")
}

/// The webhook is told of each job's end, under one name, whoever recorded it and whoever calls.
async fn assert_told(system: &System, sink: &Sink) {
    let told = until("a call for each job", async || {
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for call in sink.calls("/told") {
            let body: Value = serde_json::from_str(&call.body).expect("JSON");
            let job = body["data"]["job"]["id"].as_str().expect("a job").to_owned();
            told.entry(job).or_default().insert(call.headers["webhook-id"].clone());
        }
        (told.len() >= system.jobs.len()).then_some(told)
    })
    .await;
    assert!(told.keys().eq(system.jobs.keys()), "{told:?}");
    assert!(told.values().all(|names| names.len() == 1), "a second name: {told:?}");
}

//! Backups as operators make them, and the day on which they need one: Redis empty, the ledger from
//! last night, the bucket as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use tonemill_job::ObjectKey;
use tonemill_job::objects::{ObjectStore as _, S3Store, put_small};
use tonemill_testbed::postgres::Postgres;

use crate::PATIENCE;
use crate::bucket::s3_config;
use crate::client::Client;
use crate::jobs::{assert_same, clip, convert};
use crate::separate::Separate;
use crate::service::{PASSWORD, Service};
use crate::support::process::{Finished, program, start};

impl Separate {
    /// `tonemill admin` at its parts.
    pub async fn operate(&self, arguments: &[&str]) -> Finished {
        let mut command = program();
        command.arg("admin").args(arguments).envs(self.s3.variables());
        command.env("TONEMILL_DATABASE_URL", &self.database);
        command.env("TONEMILL_REDIS_URL", self.redis.url());
        let run = move || start(&mut command).finish(PATIENCE);
        tokio::task::spawn_blocking(run).await.expect("no panic")
    }

    async fn end_all(&mut self) {
        for worker in &mut self.workers {
            worker.drain().await;
        }
        for (api, _) in &mut self.apis {
            api.kill();
        }
        self.workers.clear();
        self.apis.clear();
    }

    async fn start_again(&mut self) -> Client {
        self.add_api(&[]);
        self.nobody(0).log_in("admin", PASSWORD).await
    }
}

/// Deletes a finished job, and waits until nothing of it is left in the bucket.
async fn delete(client: &Client, all: &Separate, job: &str) {
    client.delete(format!("/v1/jobs/{job}")).send().await.expect(204);
    let store = S3Store::new(s3_config(&all.s3)).await.expect("a store");
    let job = job.parse().expect("a job");
    let card = ObjectKey::card(job);
    crate::until("an end of its objects", async || {
        let outputs = store.list(&ObjectKey::outputs_of(job), None, 10).await.expect("a list");
        (outputs.is_empty() && store.head(&card).await.is_err()).then_some(())
    })
    .await;
}

pub fn names(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        value.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

fn sorted<const N: usize>(mut jobs: [&str; N]) -> Vec<&str> {
    jobs.sort_unstable();
    jobs.to_vec()
}

/// Jobs that the backup knows.
struct Night {
    done: String,
    deleted: String,
    bad: String,
    low: String,
    waits: String,
}

impl Night {
    /// The last two are not begun yet.
    async fn of(all: &mut Separate, client: &Client, video: &[u8]) -> Self {
        let (done, deleted) = (client.submit(video, "").await, client.submit(video, "").await);
        let bad = client.submit(&video[..4000], "").await;
        client.finished(&done).await;
        client.finished(&deleted).await;
        client.ended(&bad).await;
        all.workers[0].drain().await;
        all.workers.clear();
        let low = client.submit(video, "bitrate_kbps=64&label=low").await;
        let waits = client.submit(video, "lane=low").await;
        Self { done, deleted, bad, low, waits }
    }
}

/// The rehearsal. What comes back goes on in another database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_day_after() {
    let mut all = Separate::start(None, 1, 1);
    let client = all.nobody(0).log_in("admin", PASSWORD).await;
    let (video, mp3) = (clip(), convert(&clip(), &[]));
    let key = client.with_a_key().await;
    let night = Night::of(&mut all, &client, &video).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("last-night.gz");
    let file = file.to_str().unwrap();
    all.operate(&["backup", file]).await.succeeded();
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);

    // The day.
    all.add_worker(&[]);
    let low_done = client.finished(&night.low).await;
    let new = client.submit(&video, "label=new").await;
    let new_done = client.finished(&new).await;
    let new_deleted = client.submit(&video, "").await;
    client.finished(&new_deleted).await;
    client.finished(&night.waits).await;
    let deleted = [&night.deleted, &new_deleted, &night.waits];
    for job in deleted {
        delete(&client, &all, job).await;
    }
    all.workers[0].drain().await;
    all.workers.clear();
    let new_waits = client.submit(&video, "vbr_level=9&label=new%20and%20waits").await;
    all.end_all().await;
    all.redis.kill();
    all.redis.restart_empty();

    // The day after.
    let database = Postgres::start();
    all.database = database.url();
    let told = all.operate(&["restore", file, "--json"]).await.succeeded().json_lines();
    assert_eq!(told[0]["header"]["rows"]["jobs"], 5);
    assert_eq!(names(&told[1]["finished"]), [night.low.as_str()]);
    assert_eq!(names(&told[1]["brought_back"]), sorted([&new, &new_waits]));
    assert_eq!(names(&told[1]["gone"]), sorted([&night.deleted, &night.waits]));
    assert_eq!(told[1]["left"].as_array().unwrap().len(), 0);
    let after = all.start_again().await;
    all.add_worker(&[]);
    for (job, mp3) in [
        (&night.done, &mp3),
        (&night.low, &convert(&video, &["--bitrate", "64"])),
        (&new, &mp3),
        (&new_waits, &convert(&video, &["--vbr", "9"])),
    ] {
        assert_same(&after.mp3(job).await, mp3);
    }
    for job in deleted {
        after.get(format!("/v1/jobs/{job}")).send().await.problem(404);
    }
    assert_eq!(after.job(&night.bad).await["state"], "failed");
    assert_alike(&low_done, &after.job(&night.low).await);
    assert_alike(&new_done, &after.job(&new).await);
    // Log-ins have ended; keys are as they were.
    let address = after.address;
    Client { address, ..client }.get("/v1/me").send().await.problem(401);
    let done = format!("/v1/jobs/{}", night.done);
    Client { address, ..key }.get(done).send().await.expect(200);
    let verified = all.operate(&["verify", "--json"]).await.succeeded().json();
    assert_eq!(verified["wrong"].as_array().unwrap().len(), 0);
    all.end_all().await;
    once_more(&mut all, file, &night.done, &mp3).await;
}

/// The store has another mark since the first time.
async fn once_more(all: &mut Separate, file: &str, done: &str, mp3: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("again.db");
    all.database = format!("sqlite://{}?mode=rwc", database.display());
    let refused = all.operate(&["restore", file]).await.ended_with(3);
    assert!(refused.stderr.contains("--take-store"), "{}", refused.stderr);
    assert!(!database.exists());
    all.operate(&["restore", file, "--take-store"]).await.succeeded();
    let after = all.start_again().await;
    assert_same(&after.mp3(done).await, mp3);
    all.end_all().await;
}

/// A job is what it was: what its MP3 says of itself is what its worker had said.
fn assert_alike(before: &Value, now: &Value) {
    for same in ["label", "file_name", "input_blake3", "options", "lane"] {
        assert_eq!(now[same], before[same], "{same}");
    }
    for same in ["bytes", "duration_seconds", "audio_blake3"] {
        assert_eq!(now["output"][same], before["output"][same], "{same}");
    }
}

/// Of a job that cannot be placed nothing is removed before somebody has decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_before_somebody_decides() {
    let mut all = Separate::start(None, 1, 1);
    let client = all.nobody(0).log_in("admin", PASSWORD).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("early.gz");
    let file = file.to_str().unwrap();
    all.operate(&["backup", file]).await.succeeded();
    let user = serde_json::json!({"name": "eve", "password": PASSWORD});
    client.post("/v1/users").json(&user).send().await.expect(201);
    let eve = all.nobody(0).log_in("eve", PASSWORD).await;
    let job = eve.submit(&clip(), "").await;
    eve.finished(&job).await;
    all.end_all().await;

    all.database = format!("sqlite://{}?mode=rwc", folder.path().join("new.db").display());
    let restored = all.operate(&["restore", file]).await.ended_with(1);
    let said = String::from_utf8(restored.stdout).unwrap();
    assert!(said.contains(&format!("{job} has no place: there is no user \"eve\"")), "{said}");
    let mut api = program();
    api.args(["api", "--listen", "127.0.0.1:0"]).envs(all.s3.variables());
    api.env("TONEMILL_DATABASE_URL", &all.database).env("TONEMILL_REDIS_URL", all.redis.url());
    let refused = tokio::task::spawn_blocking(move || start(&mut api).finish(PATIENCE));
    let refused = refused.await.unwrap().ended_with(3);
    assert!(refused.stderr.contains("tonemill admin recover"), "{}", refused.stderr);
    let mails = folder.path().join("mails");
    let mut notifier = all.notifier(&[("TONEMILL_MAIL_FOLDER", mails.to_str().unwrap())]);
    assert_eq!(notifier.end(PATIENCE).await.code(), Some(3), "{}", notifier.log());
    all.operate(&["reconcile"]).await.ended_with(3);
    all.operate(&["doctor"]).await.ended_with(1);
    assert_cut_mp3s_are_none(&all, &job).await;
    all.operate(&["recover"]).await.ended_with(1);

    let new = ["users", "add", "eve", "--email", "eve@example.org", "--json"];
    let added = all.operate(&new).await.succeeded().json();
    // Of what nobody is mailed about, nobody is.
    all.operate(&["recover", "--mail-events", "job.failed"]).await.succeeded();
    all.operate(&["recover"]).await.ended_with(2);
    assert!(all.operate(&["deliveries", "list"]).await.succeeded().stdout.is_empty());
    all.add_api(&[]);
    let eve = all.nobody(0).log_in("eve", added["password"].as_str().unwrap()).await;
    assert_same(&eve.mp3(&job).await, &convert(&clip(), &[]));
    all.end_all().await;
}

/// Half of an MP3, as of a copy that was interrupted, is not taken for it.
async fn assert_cut_mp3s_are_none(all: &Separate, job: &str) {
    let store = S3Store::new(s3_config(&all.s3)).await.expect("a store");
    let outputs = ObjectKey::outputs_of(job.parse().unwrap());
    let key = store.list(&outputs, None, 1).await.unwrap().remove(0).key;
    let bytes = store.head(&key).await.unwrap().bytes;
    let mp3 = store.get(&key, 0..bytes).await.unwrap();
    for (mp3, why) in [
        (mp3.slice(..mp3.len() / 2), "its output cannot be read"),
        (mp3.clone(), "there is no user"),
    ] {
        store.delete(&key).await.unwrap();
        put_small(&store, &key, "audio/mpeg", mp3).await.unwrap();
        let said = all.operate(&["recover"]).await.ended_with(1).stdout;
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(&format!("{job} has no place: {why}")), "{said}");
    }
}

/// One that was stopped goes on elsewhere as if nothing had been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_moves_goes_on() {
    let mut service = Service::embedded();
    let client = service.admin().await;
    let job = client.submit(&clip(), "").await;
    let mp3 = client.mp3(&job).await;
    let file = service.scratch("move.gz");
    let file = file.to_str().unwrap();
    service.operate(&["restore", file]).await.ended_with(1);
    service.process.drain().await;
    service.operate(&["backup", file]).await.succeeded();
    service.operate(&["backup", file]).await.ended_with(2);
    service.operate(&["restore", file, "--move"]).await.ended_with(2);
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = fs::remove_file(service.data().join(name));
    }
    service.operate(&["restore", file, "--move"]).await.succeeded();
    service.restart();
    let client = Client { address: service.address, ..client };
    assert_same(&client.output(&job).await.body, &mp3);
    // A folder that is in use is left alone.
    service.operate(&["restore", file, "--move"]).await.ended_with(3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_made_before_the_service_starts() {
    let mut all = Separate::without_processes(None);
    let server = tonemill_testbed::mariadb::MariaDb::start();
    all.database = server.url();
    all.operate(&["migrate", "--check"]).await.ended_with(1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.gz");
    all.operate(&["backup", file.to_str().unwrap()]).await.ended_with(3);
    let one = || all.operate(&["migrate"]);
    let done = tokio::join!(one(), one(), one(), one());
    for done in [done.0, done.1, done.2, done.3] {
        let said = String::from_utf8(done.succeeded().stdout).unwrap();
        assert!(said.starts_with("the tables "), "{said}");
    }
    let again = all.operate(&["migrate", "--json"]).await.succeeded().json();
    assert_eq!((&again["from"], &again["current"]), (&again["to"], &Value::Bool(true)));
    all.operate(&["migrate", "--check"]).await.succeeded();
    all.database = format!("mysql://nobody@127.0.0.1:{}/none", server.port());
    all.operate(&["migrate"]).await.ended_with(3);
}

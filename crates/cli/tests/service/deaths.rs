//! The API is killed at each step of an upload, whichever way it comes, and started again; the
//! client goes on. Every request becomes one job, and nothing else is left of it (fault tests 8 and
//! 9).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;
use tonemill_testbed::postgres::Postgres;

use crate::client::Client;
use crate::jobs::{assert_same, clip, convert, padded};
use crate::ledger::Ledger;
use crate::separate::Separate;
use crate::steps::{At, Surroundings, Trap, watched};
use crate::ways::{Upload, Way};
use crate::{seeded, size};

/// What comes in two parts.
const LONG: usize = (8 << 20) + 400_000;
/// How long the API may take after its answer to come to a step.
const AFTERWARDS: Duration = Duration::from_secs(3);

struct Scene {
    all: Separate,
    trap: Trap,
    _surroundings: Surroundings,
    client: Client,
    uploads: Vec<Upload>,
    kills: usize,
}

impl Scene {
    async fn new(database: Option<&str>) -> Self {
        let mut all = Separate::without_processes(database);
        let trap = Trap::new();
        let surroundings = Surroundings::of(&mut all, &trap).await;
        all.add_api(&[]);
        all.add_worker(&[]);
        let admin = all.nobody(0).log_in("admin", crate::service::PASSWORD).await;
        let key = json!({"label": "uploader", "scopes": ["read", "write"]});
        let key = admin.post("/v1/keys").json(&key).send().await.expect(201).json();
        let client = admin.with(key["key"].as_str().unwrap());
        Self { all, trap, _surroundings: surroundings, client, uploads: Vec::new(), kills: 0 }
    }

    /// Uploads a video that way; the API is killed where it is caught, and the client goes on. The
    /// steps that were taken until then, or all of them.
    async fn upload(&mut self, way: Way, video: &Bytes, at: At) -> Vec<&'static str> {
        let label = format!("{way:?}-{}", self.uploads.len());
        let mut upload = Upload::new(way, video.clone(), label);
        let front = watched(self.all.apis[0].1, &self.trap).await;
        let client = Client { address: front.address(), ..self.client.clone() };
        self.trap.set(at);
        tokio::select! {
            () = self.trap.sprung() => {}
            job = upload.go_on(&client) => {
                let job = job.unwrap_or_else(|error| panic!("{}: {error}", upload.label));
                self.afterwards(&job, at).await;
            }
        }
        let steps = if at == At::Never {
            self.trap.open()
        } else {
            // What was held must not pass.
            self.all.apis[0].0.kill();
            let steps = self.trap.open();
            self.all.restart_api(0);
            self.kills += 1;
            steps
        };
        drop(front);
        self.client.address = self.all.apis[0].1;
        let job = upload.go_on(&self.client).await;
        let job = job.unwrap_or_else(|error| panic!("{}: {error}", upload.label));
        self.trap.forget(&job);
        self.uploads.push(upload);
        steps
    }

    /// What the API does when the client has its answer.
    async fn afterwards(&self, job: &str, at: At) {
        if at == At::Never {
            crate::until("the queue", async || self.trap.has_seen("queue: done").then_some(()))
                .await;
            self.client.finished(job).await;
        } else {
            // Or there was no such step this time.
            let _ = timeout(AFTERWARDS, self.trap.sprung()).await;
        }
    }

    /// All that was accepted has come to one good end.
    async fn check(&mut self) {
        let start = Instant::now();
        let mut jobs = BTreeMap::new();
        for upload in &self.uploads {
            let job = upload.job.clone().expect("it was accepted");
            let ended = self.client.ended(&job).await;
            assert_eq!(ended["state"], "finished", "{}: {ended:#}", upload.label);
            assert_eq!(ended["label"], upload.label.as_str());
            jobs.insert(job, ended["attempts"].as_u64().unwrap());
        }
        let took = start.elapsed();
        let due = convert(&clip(), &[]);
        for job in jobs.keys() {
            assert_same(&self.client.output(job).await.body, &due);
        }
        assert_eq!(jobs.len(), self.uploads.len(), "two requests have one job");
        let mut ledger = Ledger::open(&self.all.database).await;
        assert_eq!(ledger.number("SELECT COUNT(*) FROM jobs").await, jobs.len() as i64);
        assert_eq!(
            ledger.number("SELECT CAST(SUM(unfinished_jobs) AS BIGINT) FROM users").await,
            0
        );
        assert_eq!(off(&mut ledger).await, 0, "users whose quotas are off");
        let kills = self.kills;
        let attempts: u64 = jobs.values().sum();
        println!(
            "{} jobs, {kills} kills, {attempts} attempts; all ended {took:.1?} after the last kill",
            jobs.len()
        );
    }

    /// What the dead have left is swept when it is old; jobs and outputs stay.
    async fn check_sweep(&mut self) {
        if std::env::var_os("TONEMILL_S3").is_some() {
            println!(
                "what is left is an hour old before it is swept, which only a folder can be told"
            );
            return;
        }
        let bucket = self.all.s3.folder().join(&self.all.s3.bucket);
        let before = files(&bucket.join("uploads")).len();
        let mut ledger = Ledger::open(&self.all.database).await;
        let begun = ledger.change("UPDATE uploads SET expires_ms = 1", &[]).await;
        files(&bucket).iter().for_each(age);
        self.all.apis[0].0.kill();
        ledger.change("UPDATE leaders SET until_ms = 1", &[]).await;
        self.all.restart_api(0);
        let due = self.uploads.len();
        crate::until("a store without remains", async || {
            let uploads = ledger.number("SELECT COUNT(*) FROM uploads").await;
            let is_clean = files(&bucket.join("uploads")).is_empty() && uploads == 0;
            is_clean.then_some(())
        })
        .await;
        assert_eq!(files(&bucket.join("outputs")).len(), due);
        // Also of those whose API died before it could put it: they were asked for again.
        assert_eq!(files(&bucket.join("cards")).len(), due);
        assert_eq!(off(&mut ledger).await, 0, "users whose quotas are off");
        println!("swept: {before} objects of the dead, {begun} uploads that nobody went on with");
    }
}

/// Users who are charged for something else than what they have.
async fn off(ledger: &mut Ledger) -> i64 {
    let off = "SELECT COUNT(*) FROM users WHERE stored_bytes <> \
               (SELECT COALESCE(SUM(stored_bytes), 0) FROM jobs WHERE user_id = users.id) + \
               (SELECT COALESCE(SUM(total_bytes), 0) FROM uploads WHERE user_id = users.id)";
    ledger.number(off).await
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Two days; what goes meanwhile is as good.
fn age(file: &PathBuf) {
    let then = SystemTime::now() - Duration::from_hours(48);
    if let Ok(file) = File::options().write(true).open(file) {
        file.set_modified(then).expect("our file");
    }
}

/// At each step, or at a few that chance takes in the quick tier.
async fn at_each_step(database: Option<&str>) {
    let (mut chance, seed) = seeded();
    println!("seed {seed}");
    let mut scene = Scene::new(database).await;
    let (short, long) = (Bytes::from(clip()), Bytes::from(padded(LONG)));
    for way in Way::ALL {
        for video in [&short, &long] {
            // Past the API, all lengths are the same to it; a form comes as a body does.
            let is_told_apart = way == Way::Resumable || way == Way::Raw || size(1, 0) == 1;
            if video.len() == LONG && (way == Way::Direct || !is_told_apart) {
                continue;
            }
            let steps = scene.upload(way, video, At::Never).await;
            let mut numbers: Vec<usize> = (0..steps.len()).collect();
            chance.shuffle(&mut numbers);
            numbers.truncate(size(steps.len(), if video.len() == LONG { 1 } else { 2 }));
            let mut caught = Vec::new();
            for number in numbers {
                let taken = scene.upload(way, video, At::Step(number)).await;
                caught.push(taken.get(number).map_or("nowhere", |step| step));
            }
            println!("{way:?}, {} bytes: {} steps: {steps:?}", video.len(), steps.len());
            println!("  caught at: {caught:?}");
        }
    }
    scene.check().await;
    scene.check_sweep().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_each_step_of_every_way() {
    let database = Postgres::start();
    at_each_step(Some(&database.url())).await;
    if size(1, 0) == 1 {
        at_each_step(None).await;
    }
}

/// Fault tests 8 and 9. How long the ends take is the time for which the dead one still held its
/// office, and the events that it was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_and_after_the_queue() {
    let mut scene = Scene::new(None).await;
    let video = Bytes::from(clip());
    for n in 0..size(100, 3) {
        // Accepted, and not queued.
        let steps = scene.upload(Way::Raw, &video, At::Behind("", "queue: add")).await;
        assert!(!steps.contains(&"queue: done"), "{steps:?}");
        // Queued, and not answered.
        let way = [Way::Raw, Way::Form][n % 2];
        let steps = scene.upload(way, &video, At::Behind("answer", "queue: done")).await;
        assert!(steps.contains(&"queue: done"), "{steps:?}");
    }
    scene.check().await;
    scene.check_sweep().await;
}

//! `kill -9`, over and over, while clients upload: every job that was accepted ends, once (fault tests
//! 8 and 9, with everything in one process).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::clips::{self, Clip};
use crate::jobs::assert_same;
use crate::ledger::Ledger;
use crate::service::Service;
use crate::{pause, seeded, size};

/// A client that uploads clip after clip, each until it has the service's word for it.
struct Uploader {
    client: Client,
    address: watch::Receiver<SocketAddr>,
    tries: Arc<AtomicU32>,
}

impl Uploader {
    async fn upload(&self, key: String, clip: &Clip) -> String {
        let start = Instant::now();
        loop {
            self.tries.fetch_add(1, Ordering::Relaxed);
            let client = Client { address: *self.address.borrow(), ..self.client.clone() };
            let request = client.post(format!("/v1/jobs?label={key}"));
            let request = request.header("idempotency-key", &key).body(clip.bytes.clone());
            match request.try_send().await {
                Ok(reply) if reply.status <= 201 => return crate::jobs::id_of(&reply),
                // Its request before is under way, or the service is.
                Ok(reply) if [409, 503].contains(&reply.status) => {}
                Ok(reply) => panic!("{}: {}", reply.status, reply.text()),
                Err(_) => {}
            }
            pause("the service's word", start).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_job_ends_once() {
    let (mut chance, seed) = seeded();
    let kills = size(100, 10);
    let (uploaders, each) = (4, size(150, 8));
    let mut service = Service::embedded();
    let client = client_with_a_key(&service).await;
    let (new_address, address) = watch::channel(service.address);
    let tries = Arc::new(AtomicU32::new(0));
    let mut clients = JoinSet::new();
    for number in 0..uploaders {
        let (address, tries) = (address.clone(), Arc::clone(&tries));
        let uploader = Uploader { client: client.clone(), address, tries };
        clients.spawn(async move {
            let mut jobs = Vec::new();
            for n in 0..each {
                let clip = Arc::clone(&clips::all()[(number + n) % clips::all().len()]);
                jobs.push((uploader.upload(format!("{number}-{n}"), &clip).await, clip));
            }
            jobs
        });
    }
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(chance.u64(20..600))).await;
        service.restart();
        new_address.send_replace(service.address);
    }
    let jobs: BTreeMap<String, Arc<Clip>> =
        clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(jobs.len(), uploaders * each, "seed {seed}: two requests have one job");
    let client = Client { address: service.address, ..client };
    check(&mut service, &client, &jobs, seed).await;
    let tries = tries.load(Ordering::Relaxed);
    println!("seed {seed}: {} jobs, {kills} kills, {tries} requests", jobs.len());
}

async fn client_with_a_key(service: &Service) -> Client {
    let admin = service.admin().await;
    let key = json!({"label": "uploader", "scopes": ["read", "write"]});
    let key = admin.post("/v1/keys").json(&key).send().await.expect(201).json();
    admin.with(key["key"].as_str().unwrap())
}

async fn check(
    service: &mut Service,
    client: &Client,
    jobs: &BTreeMap<String, Arc<Clip>>,
    seed: u64,
) {
    let mut attempts = 0;
    for (job, clip) in jobs {
        let ended = client.ended(job).await;
        assert_eq!(ended["state"], "finished", "seed {seed}: {ended:#}");
        attempts += ended["attempts"].as_u64().unwrap();
        assert_same(&client.output(job).await.body, &clip.reference);
    }
    let mut ledger = Ledger::of(service).await;
    assert_eq!(ledger.number("SELECT COUNT(*) FROM jobs").await, jobs.len() as i64);
    let twice = "SELECT COUNT(*) FROM (SELECT label FROM jobs GROUP BY label HAVING COUNT(*) > 1)";
    assert_eq!(ledger.number(twice).await, 0, "seed {seed}: a request became two jobs");
    let unfinished = "SELECT SUM(unfinished_jobs) FROM users";
    assert_eq!(ledger.number(unfinished).await, 0, "seed {seed}: the quotas are off");
    let stored =
        "SELECT (SELECT SUM(stored_bytes) FROM users) - (SELECT SUM(stored_bytes) FROM jobs)";
    assert_eq!(ledger.number(stored).await, 0, "seed {seed}: the quotas are off");
    println!("seed {seed}: {attempts} attempts");

    // What the dead have left is swept when it is old.
    let outputs = service.files("objects/outputs");
    assert_eq!(folders(&outputs), jobs.keys().cloned().collect(), "seed {seed}");
    for folder in ["objects", "unfinished"] {
        service.files(folder).iter().for_each(age);
    }
    service.restart();
    crate::until("a store without remains", async || {
        let clean = service.files("objects/outputs").len() == jobs.len()
            && service.files("objects/uploads").is_empty()
            && service.files("unfinished").is_empty();
        clean.then_some(())
    })
    .await;
    let client = Client { address: service.address, ..client.clone() };
    for (job, clip) in jobs {
        assert_same(&client.output(job).await.body, &clip.reference);
    }
}

/// The jobs that have files.
fn folders(files: &[PathBuf]) -> BTreeSet<String> {
    let folder = |file: &PathBuf| file.parent()?.file_name()?.to_str().map(str::to_owned);
    files.iter().filter_map(folder).collect()
}

/// Two days.
fn age(file: &PathBuf) {
    let file = File::open(file).expect("a file");
    let then = SystemTime::now() - Duration::from_hours(48);
    file.set_modified(then).expect("our file");
}

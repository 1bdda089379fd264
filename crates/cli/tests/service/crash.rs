//! `kill -9`, over and over, while clients upload: every job that was accepted ends, once (fault
//! tests 8 and 9, with everything in one process).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Client, Reply, Request};
use crate::clips::{self, Clip};
use crate::jobs::{age, assert_same, clip, id_of, padded};
use crate::ledger::Ledger;
use crate::service::Service;
use crate::{pause, seeded, size};

#[derive(Clone, Copy, PartialEq)]
enum Is {
    InDanger,
    Safe,
}

/// A client that uploads clip after clip, each until it has the service's word for it and
/// then its end, for as long as the service is killed.
struct Uploader {
    number: usize,
    client: Client,
    service: watch::Receiver<(SocketAddr, Is)>,
    requests: Arc<AtomicU32>,
}

impl Uploader {
    async fn run(self) -> Vec<(String, Arc<Clip>)> {
        let mut jobs = Vec::new();
        while jobs.is_empty() || self.service.borrow().1 == Is::InDanger {
            let clip = &clips::all()[(self.number + jobs.len()) % clips::all().len()];
            let key = format!("{}-{}", self.number, jobs.len());
            let request = |client: &Client| {
                let request = client.post(format!("/v1/jobs?label={key}"));
                request.header("idempotency-key", &key).body(clip.bytes.clone())
            };
            let job = id_of(&self.answer(request, 201).await);
            self.finished(&job).await;
            jobs.push((job, Arc::clone(clip)));
        }
        jobs
    }

    async fn finished(&self, job: &str) {
        let start = Instant::now();
        loop {
            let request = |client: &Client| client.get(format!("/v1/jobs/{job}"));
            let job = self.answer(request, 200).await.json();
            match job["state"].as_str() {
                Some("finished") => return,
                Some("failed" | "cancelled") => panic!("{job:#}"),
                _ => pause("its end", start).await,
            }
        }
    }

    /// Asks until there is a good answer.
    async fn answer(&self, request: impl Fn(&Client) -> Request, most: u16) -> Reply {
        let start = Instant::now();
        let mut client = self.client.clone();
        loop {
            client.address = self.service.borrow().0;
            self.requests.fetch_add(1, Ordering::Relaxed);
            match request(&client).try_send().await {
                Ok(reply) if reply.status <= most => return reply,
                // Its request before is under way, or the service is.
                Ok(reply) if [409, 503].contains(&reply.status) => {}
                Ok(reply) => panic!("{}: {}", reply.status, reply.text()),
                Err(_) => {}
            }
            pause("a good answer", start).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_job_ends_once() {
    let (mut chance, seed) = seeded();
    let kills = size(100, 10);
    let mut service = Service::with(&["--requests", "1000000"]);
    let client = service.admin().await.with_a_key().await;
    let (news, at) = watch::channel((service.address, Is::InDanger));
    let requests = Arc::new(AtomicU32::new(0));
    let mut clients = JoinSet::new();
    for number in 0..4 {
        let (client, service, requests) = (client.clone(), at.clone(), Arc::clone(&requests));
        clients.spawn(Uploader { number, client, service, requests }.run());
    }
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(chance.u64(20..size(1500, 600) as u64))).await;
        service.restart();
        news.send_replace((service.address, Is::InDanger));
    }
    news.send_replace((service.address, Is::Safe));
    let accepted = clients.join_all().await.concat();
    let jobs: BTreeMap<String, Arc<Clip>> = accepted.iter().cloned().collect();
    assert_eq!(jobs.len(), accepted.len(), "seed {seed}: two requests have one job");
    let client = Client { address: service.address, ..client };
    check(&mut service, &client, &jobs, seed).await;
    let requests = requests.load(Ordering::Relaxed);
    println!("seed {seed}: {} jobs, {kills} kills, {requests} requests", jobs.len());
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
    let outputs = folders(&service.files("objects/outputs"));
    let strange: Vec<_> = outputs.iter().filter(|job| !jobs.contains_key(*job)).collect();
    assert!(strange.is_empty(), "seed {seed}: outputs of no job: {strange:?}");
    for folder in ["objects", "unfinished"] {
        service.files(folder).iter().for_each(|file| age(file));
    }
    service.process.kill();
    // Who sweeps is known for half a minute after its death.
    ledger.change("UPDATE leaders SET until_ms = 1", &[]).await;
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

/// Fault test 18 in one process: a file that crashes whoever decodes it takes the service with it,
/// until it is decoded in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_that_crashes_the_service_among_others() {
    let poison = padded(clip().len() + 64);
    let bytes = poison.len();
    let faults = format!("fetch=segv@bytes:{bytes};decode=segv@bytes:{bytes}");
    let mut service = Service::with_faults(faults);
    let client = service.admin().await.with_a_key().await;
    let mut crashes = 0;
    let mut jobs = Vec::new();
    for (n, video) in [clip(), poison, clip(), clip()].into_iter().enumerate() {
        let request = |client: &Client| {
            let request = client.post("/v1/jobs").header("idempotency-key", &n.to_string());
            request.body(video.clone())
        };
        jobs.push(id_of(&survive(&mut service, &client, &mut crashes, request).await));
    }
    for (n, job) in jobs.iter().enumerate() {
        let start = Instant::now();
        let ended = loop {
            let request = |client: &Client| client.get(format!("/v1/jobs/{job}"));
            let job = survive(&mut service, &client, &mut crashes, request).await.json();
            if !job["ended_at"].is_null() {
                break job;
            }
            pause("its end", start).await;
        };
        let due = if n == 1 { "failed" } else { "finished" };
        assert_eq!(ended["state"], due, "{crashes} crashes: {ended:#}");
        if n == 1 {
            assert_eq!(ended["failure"]["kind"], "crash", "{ended:#}");
        }
    }
    assert_eq!(crashes, 1, "crashes of the service");
}

/// Asks until there is an answer; a service that has crashed is started again, as whoever starts
/// services does.
async fn survive(
    service: &mut Service,
    client: &Client,
    crashes: &mut u32,
    request: impl Fn(&Client) -> Request,
) -> Reply {
    let start = Instant::now();
    loop {
        if service.process.ended().is_some() {
            *crashes += 1;
            service.restart();
        }
        let client = Client { address: service.address, ..client.clone() };
        if let Ok(reply) = request(&client).try_send().await {
            assert!(reply.status <= 201, "{}", reply.text());
            return reply;
        }
        pause("an answer", start).await;
    }
}

/// The jobs that have files. What only tried out whether one can write is of no attempt, and no
/// job.
fn folders(files: &[PathBuf]) -> BTreeSet<String> {
    let is_trial = |file: &PathBuf| file.file_name()?.to_str().map(|name| name.starts_with("0-"));
    let folder = |file: &PathBuf| file.parent()?.file_name()?.to_str().map(str::to_owned);
    files.iter().filter(|file| is_trial(file) != Some(true)).filter_map(folder).collect()
}

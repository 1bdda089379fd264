//! Nobody waits behind another's thousand files: what the others wait does not grow with what one
//! user has submitted before them.
//!
//! Told by order, not by time: how many of the big user's jobs finish between the moment in which
//! another user's job is accepted and its end.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::events::Events;
use crate::jobs::{clip, id_of};
use crate::ledger::Ledger;
use crate::separate::Separate;
use crate::service::PASSWORD;
use crate::size;
use crate::ways::patiently;

/// Jobs that each of the others submits, one after the other.
const EACH: usize = 2;

/// Jobs of all users in the queue, which is first come, first served: its window, and what runs.
fn queue() -> i64 {
    let cores = std::thread::available_parallelism().expect("Linux").get();
    let running = 4 * i64::try_from(cores).expect("a number");
    running + (3 * running).max(16)
}

/// Users with a name and a key each; a key needs no password, which takes a while to check.
async fn users(service: &Separate, count: usize) -> Vec<Client> {
    let admin = service.nobody(0).log_in("admin", PASSWORD).await;
    let add = async |number: usize| {
        let name = format!("user{number}");
        let user = json!({"name": name, "password": PASSWORD});
        admin.post("/v1/users").json(&user).send().await.expect(201);
        let user = service.nobody(0).log_in(&name, PASSWORD).await;
        let key = json!({"label": "k", "scopes": ["read", "write"]});
        let key = user.post("/v1/keys").json(&key).send().await.expect(201).json();
        user.with(key["key"].as_str().unwrap())
    };
    let mut users = Vec::new();
    for number in 0..count {
        users.push(add(number).await);
    }
    users
}

/// Submits, again if the service has too much to do; the job.
async fn submit(user: &Client, video: &Bytes, label: &str) -> String {
    let path = format!("/v1/jobs?label={label}&bitrate_kbps=32&quality=9");
    let reply = patiently(|| user.post(path.as_str()).body(video.clone())).await;
    id_of(&reply.expect("an answer").expect(201))
}

/// The big user's, as fast as they are taken.
async fn submit_many(user: &Client, count: usize) {
    let mut clients = JoinSet::new();
    for number in 0..4 {
        let user = user.clone();
        clients.spawn(async move {
            let video = Bytes::from(clip());
            for _ in (number..count).step_by(4) {
                submit(&user, &video, "big").await;
            }
        });
    }
    clients.join_all().await;
}

/// Each of the users submits a few jobs; from accept to end, the times that these took.
async fn ask(users: &[Client], label: &str) -> Vec<Duration> {
    let video = Bytes::from(clip());
    let lives = users.iter().map(async |user| {
        let mut took = Vec::new();
        for _ in 0..EACH {
            let job = submit(user, &video, label).await;
            // Told, not asked for: a hundred who ask all the time are in each other's way.
            Events::of(user, &job, None).await.all().await;
            let job = user.finished(&job).await;
            let time = |name: &str| job[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
            let wait = time("ended_at").duration_since(time("created_at"));
            took.push(wait.try_into().unwrap_or_default());
        }
        took
    });
    let mut took = join_all(lives).await.concat();
    took.sort_unstable();
    took
}

fn told(what: &str, took: &[Duration]) {
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    let (median, p95, most) = (at(50), at(95), at(100));
    println!("{what}: median {median:.3?}, p95 {p95:.3?}, most {most:.3?} of {}", took.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_behind_a_thousand_files() {
    let (count, backlog) = (size(100, 20), size(10_000, 300));
    let mut service = Separate::without_processes(None);
    service.detours.push(("TONEMILL_REQUESTS", "1000000".to_owned()));
    service.add_api(&[]);
    service.add_worker(&[]);
    let users = users(&service, count).await;
    let (big, others) = users.split_first().expect("users");
    told("idle", &ask(others, "idle").await);
    // They would keep up with what is submitted.
    service.workers[0].drain().await;
    submit_many(big, backlog).await;
    let mut ledger = Ledger::open(&service.database).await;
    let waiting = "SELECT COUNT(*) FROM jobs WHERE label = 'big' AND state = 'waiting'";
    let before = ledger.number(waiting).await;
    service.add_worker(&[]);
    let took = ask(others, "busy").await;
    let after = ledger.number(waiting).await;
    told(&format!("with {before} jobs of one user waiting, {after} in the end"), &took);
    assert!(after > 0, "the big user's jobs were too few to be in anybody's way");

    // Of the big user's jobs, those that ended while another user's waited.
    let overtaken = "SELECT COALESCE(MAX(overtaken), 0) FROM (SELECT (SELECT COUNT(*) FROM jobs AS \
                     big WHERE big.label = 'big' AND big.ended_ms > other.created_ms AND \
                     big.ended_ms < other.ended_ms) AS overtaken FROM jobs AS other \
                     WHERE other.label = 'busy') AS each_job";
    let most = ledger.number(overtaken).await;
    println!("at most {most} of the big user's jobs ended while another's waited");
    // Those in the queue already, and as many for jobs that run beside each other and end in any
    // order: it does not matter how many wait.
    assert!(most <= 2 * queue(), "{most} jobs of one user came first");
}

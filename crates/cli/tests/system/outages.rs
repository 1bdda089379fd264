//! A database that goes away in the middle of everything: users are told to come again, workers go on,
//! and when it is back so is the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tonemill_testbed::mariadb::MariaDb;
use tonemill_testbed::postgres::Postgres;

use crate::client::{Client, Request};
use crate::clips;
use crate::service::PASSWORD;
use crate::system::{LEASE, System, running};
use crate::{at_once, report, size, until};

/// Longest time that anybody waits for an answer: the ledger's patience, and something on top.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);
/// How soon the service is itself again.
const RECOVERY: Duration = Duration::from_secs(15);

enum Database {
    MariaDb(MariaDb),
    Postgres(Postgres),
}

#[derive(Debug, Clone, Copy)]
enum Outage {
    /// It is there and does nothing.
    Paused,
    /// SIGKILL, and another start on the same data.
    Killed,
}

impl Database {
    fn name(&self) -> &'static str {
        match self {
            Self::MariaDb(_) => "MariaDB",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    fn url(&self) -> String {
        match self {
            Self::MariaDb(server) => server.url(),
            Self::Postgres(server) => server.url(),
        }
    }

    fn go_away(&mut self, outage: Outage) {
        match (self, outage) {
            (Self::MariaDb(server), Outage::Paused) => server.pause(),
            (Self::MariaDb(server), Outage::Killed) => server.kill(),
            (Self::Postgres(server), Outage::Paused) => server.pause(),
            (Self::Postgres(server), Outage::Killed) => server.kill(),
        }
    }

    fn come_back(&mut self, outage: Outage) {
        match (self, outage) {
            (Self::MariaDb(server), Outage::Paused) => server.resume(),
            (Self::MariaDb(server), Outage::Killed) => server.restart(),
            (Self::Postgres(server), Outage::Paused) => server.resume(),
            (Self::Postgres(server), Outage::Killed) => server.restart(),
        }
    }
}

/// Fault test 16.
#[test]
fn the_database_goes_away() {
    let start: [fn() -> Database; 2] =
        [|| Database::MariaDb(MariaDb::start()), || Database::Postgres(Postgres::start())];
    let outages = [Outage::Paused, Outage::Killed];
    let cases = start.iter().flat_map(|start| outages.map(|outage| (*start, outage)));
    at_once(cases.map(|(start, outage)| move || async move { ride_out(start(), outage).await }));
}

async fn ride_out(mut database: Database, outage: Outage) {
    let name = database.name();
    let mut system = System::start(Some(&database.url())).await;
    system.parts.add_worker(&[]);
    system.submit(size(60, 10), clips::all()).await;
    // Is under way when the database goes.
    system.submit(1, &[clips::long(100)]).await;
    let job = system.jobs.keys().next().expect("a job").clone();
    system.wait_until_running(1).await;
    let away = Instant::now();
    database.go_away(outage);
    let users = Users::ask_all_the_time(&system.client, &job);
    let mut uploads = JoinSet::new();
    for clip in clips::all() {
        uploads.spawn(system.upload(system.client.clone(), clip));
    }
    // Workers do what they have and what waits in the queue.
    until("an end of all work", async || {
        let depth = system.depth().await;
        let waiting: u64 = depth.lanes.iter().map(|lane| lane.waiting).sum();
        (waiting + running(&depth) == 0 && depth.events > 0).then_some(())
    })
    .await;
    // How long it is away is what is chosen here: longer than the ledger's patience.
    let chosen = Duration::from_secs(size(60, 12) as u64);
    tokio::time::sleep(chosen.saturating_sub(away.elapsed())).await;
    database.come_back(outage);
    let away = away.elapsed().as_secs_f64();
    let back = Instant::now();
    until("an answer", async || {
        let answer = system.client.get("/v1/jobs").try_send().await;
        answer.is_ok_and(|reply| reply.status == 200).then_some(())
    })
    .await;
    let recovered = back.elapsed();
    let (refused, longest) = users.stop().await;
    system.jobs.extend(uploads.join_all().await);
    system.wait().await;
    let took = back.elapsed().as_secs_f64();
    let mut verdict = system.check(LEASE * 4).await;
    let swept = system.sweep(&mut verdict).await;
    let extra = verdict.assert_sound(&system).extra_attempts;
    assert!(recovered < RECOVERY, "{name}, {outage:?}: {recovered:?}");
    assert_eq!(extra, 0, "{name}, {outage:?}:\n{}", system.parts.log());
    let (jobs, recovered) = (system.jobs.len(), recovered.as_secs_f64());
    let answers = format!("{refused} answers of 503, none of 500, after {longest:.1} s at most");
    let after = format!("back after {recovered:.1} s, {jobs} jobs done after {took:.1} s");
    let figures = format!("{answers}; {after}; {swept} leftovers swept");
    report(16, &format!("{name} {outage:?} for {away:.0} s: {figures}"));
    system.end().await;
}

/// Users who want this and that, and ask again when they have their answer.
struct Users {
    stop: Arc<AtomicBool>,
    users: Vec<JoinHandle<(usize, Duration)>>,
}

impl Users {
    fn ask_all_the_time(client: &Client, job: &str) -> Self {
        let wishes: [fn(&Client, &str) -> Request; 4] = [
            |client, _| client.get("/v1/jobs"),
            |client, job| client.get(format!("/v1/jobs/{job}")),
            |client, _| client.post("/v1/login").json(&log_in()),
            |client, _| client.get("/readyz"),
        ];
        let stop = Arc::new(AtomicBool::new(false));
        let user = |wish| tokio::spawn(ask(client.clone(), job.to_owned(), wish, stop.clone()));
        Self { users: wishes.map(user).into(), stop }
    }

    /// How many answers were "not now", and the longest wait for any.
    async fn stop(self) -> (usize, f64) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut refused, mut longest) = (0, Duration::ZERO);
        for user in self.users {
            let (count, wait) = user.await.expect("good answers only");
            assert!(count > 0, "somebody was never refused");
            refused += count;
            longest = longest.max(wait);
        }
        (refused, longest.as_secs_f64())
    }
}

fn log_in() -> Value {
    json!({"name": "admin", "password": PASSWORD})
}

async fn ask(
    client: Client,
    job: String,
    wish: fn(&Client, &str) -> Request,
    stop: Arc<AtomicBool>,
) -> (usize, Duration) {
    let (mut refused, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let reply = wish(&client, &job).send().await;
        longest = longest.max(asked.elapsed());
        assert!(longest < LONGEST_ANSWER, "an answer after {longest:?}");
        match reply.status {
            200 => {}
            503 => {
                assert!(reply.number("retry-after") > 0);
                refused += 1;
            }
            status => panic!("{status}: {}", reply.text()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (refused, longest)
}

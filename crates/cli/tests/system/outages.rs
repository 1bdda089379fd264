//! A database that goes away in the middle of everything: users are told to come again, workers go
//! on, and when it is back so is the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Any, AnyPool, Transaction};
use tokio::task::{JoinHandle, JoinSet};
use tonemill_testbed::fault_proxy::{Fault, FaultProxy};
use tonemill_testbed::mariadb::MariaDb;
use tonemill_testbed::postgres::Postgres;

use crate::client::{Client, Request};
use crate::clips;
use crate::service::PASSWORD;
use crate::system::{LEASE, System, running};
use crate::{at_once, is_full, report, size, until};

/// Longest time that anybody waits for an answer: the ledger's patience, and something on top.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);
/// How soon the service is itself again.
const RECOVERY: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outage {
    /// It is there and does nothing.
    Paused,
    /// SIGKILL, and another start on the same data.
    Killed,
    /// As when its machine dies and another takes its address: connections that are open are silent
    /// for good, and new ones work again.
    Severed,
}

enum Server {
    MariaDb(MariaDb),
    Postgres(Postgres),
}

/// A database, and the wire to it.
struct Database {
    server: Server,
    wire: FaultProxy,
}

impl Database {
    async fn new(server: Server) -> Self {
        let port = match &server {
            Server::MariaDb(server) => server.port(),
            Server::Postgres(server) => server.port(),
        };
        Self { server, wire: FaultProxy::tcp(([127, 0, 0, 1], port).into()).await }
    }

    fn name(&self) -> &'static str {
        match self.server {
            Server::MariaDb(_) => "MariaDB",
            Server::Postgres(_) => "PostgreSQL",
        }
    }

    /// Where it is; at the end of the wire if that is to be cut.
    fn url(&self, outage: Outage) -> String {
        let (url, port) = match &self.server {
            Server::MariaDb(server) => (server.url(), server.port()),
            Server::Postgres(server) => (server.url(), server.port()),
        };
        let at = |port: u16| format!("127.0.0.1:{port}");
        match outage {
            Outage::Severed => url.replace(&at(port), &at(self.wire.address().port())),
            Outage::Paused | Outage::Killed => url,
        }
    }

    /// Locks all users, so that every acceptance of a job waits, with its connection to the
    /// database, for as long as what comes back from here lives.
    async fn hold_users(&self) -> Transaction<'static, Any> {
        sqlx::any::install_default_drivers();
        let pool = AnyPool::connect(&self.url(Outage::Paused)).await.expect("a database");
        let mut holding = pool.begin().await.expect("a database");
        let lock = sqlx::query("SELECT id FROM users FOR UPDATE");
        lock.fetch_all(&mut *holding).await.expect("users");
        holding
    }

    fn go_away(&mut self, outage: Outage) {
        match (&mut self.server, outage) {
            (_, Outage::Severed) => self.wire.set(Fault::BlackHole),
            (Server::MariaDb(server), Outage::Paused) => server.pause(),
            (Server::MariaDb(server), Outage::Killed) => server.kill(),
            (Server::Postgres(server), Outage::Paused) => server.pause(),
            (Server::Postgres(server), Outage::Killed) => server.kill(),
        }
    }

    fn come_back(&mut self, outage: Outage) {
        match (&mut self.server, outage) {
            (_, Outage::Severed) => self.wire.plan(|_| Fault::None),
            (Server::MariaDb(server), Outage::Paused) => server.resume(),
            (Server::MariaDb(server), Outage::Killed) => server.restart(),
            (Server::Postgres(server), Outage::Paused) => server.resume(),
            (Server::Postgres(server), Outage::Killed) => server.restart(),
        }
    }
}

/// Fault test 16.
#[test]
fn the_database_goes_away() {
    let start: [fn() -> Server; 2] =
        [|| Server::MariaDb(MariaDb::start()), || Server::Postgres(Postgres::start())];
    let outages = [Outage::Paused, Outage::Killed, Outage::Severed];
    let all = outages.into_iter().enumerate().flat_map(|(n, outage)| {
        // In the quick tier each outage happens to one of them.
        let chosen = if is_full() { &start[..] } else { &start[n % 2..][..1] };
        chosen.iter().map(move |start| (*start, outage))
    });
    at_once(all.map(|(start, outage)| move || ride_out(start, outage)));
}

async fn ride_out(start: fn() -> Server, outage: Outage) {
    let mut database = Database::new(start()).await;
    let name = database.name();
    let mut system = System::unstarted(Some(&database.url(outage))).await;
    // Fewer than uploads, each of which uses one.
    system.parts.add_api(&[("TONEMILL_DATABASE_CONNECTIONS", "3")]);
    system.log_in().await;
    system.parts.add_worker(&[]);
    system.submit(size(60, 10), clips::all()).await;
    // Is under way when the database goes.
    system.submit(1, &[clips::long(60)]).await;
    let job = system.jobs.keys().next().expect("a job").clone();
    system.wait_until_running(1).await;
    let users = Users::ask_all_the_time(&system.client, &job);
    let held = database.hold_users().await;
    let mut uploads = JoinSet::new();
    for clip in clips::all() {
        uploads.spawn(system.upload(system.client.clone(), clip));
    }
    until("an end of all answers", async || {
        let asked = system.client.get("/v1/jobs").try_send();
        tokio::time::timeout(Duration::from_secs(1), asked).await.err().map(drop)
    })
    .await;
    let away = Instant::now();
    database.go_away(outage);
    drop(held);
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
    assert!(!is_full() || recovered < RECOVERY, "{name}, {outage:?}: {recovered:?}");
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
        Self { users: [wishes; 3].into_iter().flatten().map(user).collect(), stop }
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
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (refused, longest)
}

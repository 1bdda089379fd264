//! Notifications of a service whose notifier is killed wherever it can be, and of one whose
//! webhooks behave as badly as they can (fault test 23).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tonemill_job::message::{Finished, JobEvent, VERSION, What, now_ms};
use tonemill_job::{JobId, JobOptions, Lane, ObjectKey};
use tonemill_ledger::deliveries::{Delivery, DeliveryFilter, DeliveryState, JOB_EVENTS};
use tonemill_ledger::users::{NewUser, Role, User};
use tonemill_ledger::webhooks::NewWebhook;
use tonemill_ledger::{Acceptance, Ledger, LedgerConfig, NewJob, Owner};
use tonemill_testbed::fault_proxy::{Fault, FaultProxy, Passing};
use tonemill_testbed::mail::{Mail, MailSecurity, MailServer};
use tonemill_testbed::postgres::Postgres;
use tonemill_testbed::sink::{Call, Sink};
use uuid::Uuid;

use crate::client::Client;
use crate::jobs::clip;
use crate::separate::Separate;
use crate::service::Service;
use crate::support::chaos::report;
use crate::support::daemon::Daemon;
use crate::{ledger, size};

/// Each step of a delivery, as the others see it.
const STEPS: [&str; 9] = [
    "claim: write",
    "claim: commit",
    "claim: done",
    "webhook: call",
    "webhook: answer",
    "mail: data",
    "mail: taken",
    "settle: commit",
    "settle: done",
];

/// Holds everything when a step is taken for the so-manieth time.
#[derive(Clone)]
struct Trap {
    state: Arc<Mutex<State>>,
    sprung: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    at: Option<(&'static str, usize)>,
    seen: BTreeMap<&'static str, usize>,
}

impl Trap {
    fn new() -> Self {
        Self { state: Arc::default(), sprung: watch::Sender::new(false) }
    }

    fn set(&self, at: Option<(&'static str, usize)>) {
        *self.state.lock().unwrap() = State { at, seen: BTreeMap::new() };
        self.sprung.send_replace(false);
    }

    fn step(&self, name: &'static str) -> Fault {
        if *self.sprung.borrow() {
            return Fault::BlackHole;
        }
        let mut state = self.state.lock().unwrap();
        let State { at, seen } = &mut *state;
        let count = seen.entry(name).or_default();
        *count += 1;
        if *at != Some((name, *count)) {
            return Fault::None;
        }
        self.sprung.send_replace(true);
        Fault::BlackHole
    }

    async fn has_sprung(&self) {
        let _ = self.sprung.subscribe().wait_for(|sprung| *sprung).await;
    }
}

/// Watches statements on their way to the ledger.
fn watch_ledger(proxy: &FaultProxy, trap: &Trap) {
    let (trap, mut doing) = (trap.clone(), BTreeMap::new());
    proxy.guard(move |passing| {
        let number = passing.number;
        if passing.is_response {
            return match doing.remove(&(number, true)) {
                Some("claim") => trap.step("claim: done"),
                Some(_) => trap.step("settle: done"),
                None => Fault::None,
            };
        }
        if holds(passing, b"UPDATE deliveries SET attempts") {
            doing.insert((number, false), "claim");
            return trap.step("claim: write");
        }
        if holds(passing, b"UPDATE deliveries SET state") {
            doing.insert((number, false), "settle");
        } else if holds(passing, b"COMMIT")
            && let Some(what) = doing.remove(&(number, false))
        {
            doing.insert((number, true), what);
            return trap.step(if what == "claim" { "claim: commit" } else { "settle: commit" });
        }
        Fault::None
    });
}

/// Watches what goes to a webhook or a mail server, and what comes back.
fn watch_talk(proxy: &FaultProxy, trap: &Trap, marks: [(&'static [u8], &'static str); 2]) {
    let trap = trap.clone();
    proxy.guard(move |passing| {
        let [(asked, ask), (answered, answer)] = marks;
        if passing.is_response && holds(passing, answered) {
            trap.step(answer)
        } else if !passing.is_response && holds(passing, asked) {
            trap.step(ask)
        } else {
            Fault::None
        }
    });
}

fn holds(passing: Passing<'_>, text: &[u8]) -> bool {
    passing.bytes.windows(text.len()).any(|window| window == text)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A user who has an address, and a webhook if that is said.
pub async fn told_by_mail(ledger: &Ledger, webhook: Option<&str>) -> User {
    let new = NewUser {
        name: "ada".to_owned(),
        role: Role::User,
        password_hash: String::new(),
        email: Some("ada@example.org".to_owned()),
    };
    let user = ledger.add_user(&new).await.unwrap().unwrap();
    if let Some(url) = webhook.map(str::to_owned) {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        let events = vec![JOB_EVENTS[1].to_owned()];
        let hook = NewWebhook { id: Uuid::now_v7(), url, secret, events };
        ledger.add_webhook(user.id, &hook).await.unwrap().unwrap();
    }
    user
}

/// A job that has come to its end, as a recorder writes it down.
pub async fn finish_a_job(ledger: &Ledger, user: &User) {
    let id = JobId::new();
    let job = NewJob {
        id,
        user: user.id,
        lane: Lane::Normal,
        label: String::new(),
        file_name: "talk.mp4".to_owned(),
        media: "mp4".to_owned(),
        options: JobOptions::default(),
        traceparent: None,
        input: ObjectKey::upload(id),
        input_bytes: 1,
        input_blake3: None,
        is_upload: false,
        webhook: None,
    };
    assert_eq!(ledger.accept(&job, None).await.unwrap(), Acceptance::Accepted);
    let what = What::Finished(Box::new(Finished {
        output: ObjectKey::output(id, 1),
        bytes: 1,
        duration_seconds: 1.0,
        audio_blake3: String::new(),
        truncated: false,
        warnings: Vec::new(),
        report: json!({}),
    }));
    let (worker, at_ms) = ("worker".to_owned(), now_ms());
    let event =
        JobEvent { v: VERSION, job: id, attempt: 1, worker, at_ms, traceparent: None, what };
    ledger.record(&[event]).await.unwrap();
}

pub async fn deliveries(ledger: &Ledger) -> Vec<Delivery> {
    ledger.list_deliveries(Owner::Anyone, &DeliveryFilter::default(), 10_000).await.unwrap()
}

async fn owed(ledger: &Ledger) -> usize {
    let is_owed = |delivery: &&Delivery| delivery.state == DeliveryState::Owed;
    deliveries(ledger).await.iter().filter(is_owed).count()
}

/// Kills notifiers, one at each step, at its first and at a later time; how many. There are ever
/// more jobs to tell of, up to `jobs`.
async fn kill_at_each_step(
    ledger: &Ledger,
    user: &User,
    jobs: usize,
    trap: &Trap,
    database: &str,
    mut notifier: impl FnMut() -> Daemon,
) -> usize {
    let mut behind = ledger::Ledger::open(database).await;
    let steps: Vec<_> =
        [1, 4].into_iter().flat_map(|time| STEPS.map(|step| (time, step))).collect();
    for (number, (time, step)) in steps.iter().enumerate() {
        while deliveries(ledger).await.len() < 2 * jobs * (number + 1) / steps.len() {
            finish_a_job(ledger, user).await;
        }
        trap.set(Some((step, *time)));
        let mut notifier = notifier();
        let sprung = tokio::time::timeout(crate::PATIENCE, trap.has_sprung()).await;
        assert!(sprung.is_ok(), "{step} is not taken {time} times:\n{}", notifier.log());
        notifier.kill();
        // What was held is gone with it; and it is later.
        trap.set(None);
        behind.change("UPDATE deliveries SET next_ms = 0 WHERE state = 'owed'", &[]).await;
    }
    steps.len()
}

/// Everybody is told of everything, and of each change under one name.
fn assert_told(deliveries: &[Delivery], calls: &[Call], mails: &[Mail]) {
    assert!(deliveries.iter().all(|delivery| delivery.state == DeliveryState::Delivered));
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in calls {
        let body: serde_json::Value = serde_json::from_str(&call.body).unwrap();
        let job = body["data"]["job"]["id"].as_str().unwrap().to_owned();
        told.entry(job).or_default().insert(call.headers["webhook-id"].clone());
    }
    assert!(told.values().all(|ids| ids.len() == 1), "a second id: {told:?}");
    let ids: BTreeSet<&str> = mails.iter().map(|mail| mail.header("Message-ID")).collect();
    for delivery in deliveries {
        let (job, event) = (delivery.job.unwrap().to_string(), delivery.event_id.to_string());
        assert!(told[&job].contains(&event), "{delivery:?}");
        if delivery.webhook.is_none() {
            assert!(ids.contains(format!("<{}@localhost>", delivery.id).as_str()), "{delivery:?}");
        }
    }
}

/// The notifier dies at each step; nobody is left untold, and nothing is told under two names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notifier_that_is_killed_at_any_step_loses_nothing() {
    let (database, sink) = (Postgres::start(), Sink::start().await);
    let (mails, trap) = (MailServer::start(MailSecurity::Plain), Trap::new());
    let ledger = Ledger::open(LedgerConfig::new(database.url())).await.unwrap();
    let books = FaultProxy::tcp(local(database.port())).await;
    watch_ledger(&books, &trap);
    let calls = FaultProxy::tcp(local(sink.port())).await;
    watch_talk(&calls, &trap, [(b"webhook-id", "webhook: call"), (b"200 OK", "webhook: answer")]);
    let letters = FaultProxy::tcp(local(mails.port())).await;
    watch_talk(&letters, &trap, [(b"Message-ID", "mail: data"), (b"250 taken", "mail: taken")]);

    let mut all = Separate::without_processes(Some(&database.url()));
    let (user, rest) = all.database.split_once('@').expect("a user");
    let database_name = rest.split_once('/').expect("a database").1;
    // Every statement comes with its text, every time.
    all.database = format!("{user}@{}/{database_name}?statement-cache-capacity=0", books.address());
    let smtp = format!("smtp://{}?tls=none", letters.address());
    let environment =
        [("TONEMILL_SMTP_URL", smtp.as_str()), ("TONEMILL_WEBHOOK_INTERNAL_HOSTS", "localhost")];
    let hook = format!("http://localhost:{}/ok", calls.address().port());
    let user = told_by_mail(&ledger, Some(&hook)).await;

    let jobs = size(200, 100);
    let start = || all.notifier(&environment);
    let kills = kill_at_each_step(&ledger, &user, jobs, &trap, &database.url(), start).await;
    let mut notifier = all.notifier(&environment);
    crate::until("an end of all deliveries", async || (owed(&ledger).await == 0).then_some(()))
        .await;
    notifier.drain().await;
    let (deliveries, calls, mails) = (deliveries(&ledger).await, sink.calls("/ok"), mails.mails());
    assert_eq!(deliveries.len(), 2 * jobs);
    assert_told(&deliveries, &calls, &mails);
    let again = calls.len() + mails.len() - deliveries.len();
    report(23, &format!("{kills} kills, {} deliveries, {again} told twice", deliveries.len()));
}

/// Encoding does not wait for webhooks: all is converted while they still hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_that_hang_hold_up_no_job() {
    let sink = Sink::start().await;
    // Until the first calls of those who hang end, they may have all the places of their user.
    let hang = Duration::from_secs(15);
    let arguments = ["--webhook-internal-hosts", "localhost", "--webhook-timeout", "15"];
    let service = Service::with(&arguments);
    let client = service.user("u").await;
    let (_, before) = convert(&client, size(200, 20)).await;
    for path in ["/hang", "/never", "/reset", "/gone", "/elsewhere", "/ok"] {
        let hook = json!({"url": sink.url(path)});
        client.post("/v1/webhooks").json(&hook).send().await.expect(201);
    }
    let (jobs, took) = convert(&client, size(200, 20)).await;
    crate::until("all calls of who answers", async || {
        let is_told = |path| sink.calls(path).len() >= jobs.len();
        (is_told("/ok") && is_told("/reset")).then_some(())
    })
    .await;
    assert_eq!(sink.calls("/reset").len(), jobs.len());
    // Who hangs has few places: while its first call does, there are few others.
    let hanging = crate::until("a call that hangs", async || {
        Some(sink.calls("/hang")).filter(|calls| !calls.is_empty())
    })
    .await;
    let is_beside = |call: &&Call| call.at - hanging[0].at + Duration::from_secs(1) < hang;
    let beside = hanging.iter().filter(is_beside).count();
    assert!((1..=4).contains(&beside), "{beside}");
    let again = sink.calls("/never");
    let ids: BTreeSet<&String> = again.iter().map(|call| &call.headers["webhook-id"]).collect();
    assert!(ids.len() <= jobs.len(), "{} ids", ids.len());
    let (count, before, took) = (jobs.len(), before.as_secs_f64(), took.as_secs_f64());
    report(
        23,
        &format!("{count} jobs in {took:.1} s beside webhooks that hang, {before:.1} without"),
    );
}

/// Has so many clips converted, and says how long that took.
async fn convert(client: &Client, count: usize) -> (Vec<String>, Duration) {
    let start = Instant::now();
    let mut jobs = Vec::new();
    for _ in 0..count {
        jobs.push(client.submit(&clip(), "").await);
    }
    for job in &jobs {
        client.finished(job).await;
    }
    (jobs, start.elapsed())
}

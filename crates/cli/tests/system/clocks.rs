//! Clocks that are wrong: APIs and workers an hour ahead and an hour behind, as the library of the
//! program `faketime` makes them see it. Only the time of day is off, as it is on real machines.

use std::fs;
use std::process::Command;

use bytes::Bytes;
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tonemill_job::{JobId, ObjectKey};
use tonemill_testbed::postgres::Postgres;

use crate::client::Client;
use crate::clips;
use crate::jobs::age;
use crate::service::PASSWORD;
use crate::support::daemon::Daemon;
use crate::system::{LEASE, System};
use crate::{report, size, until};

/// Around our time, what happened in this test happened.
const TEST: SignedDuration = SignedDuration::from_mins(10);
const OFF: [&str; 2] = ["+1h", "-1h"];

/// Fault test 17.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_are_an_hour_off() {
    let database = tokio::task::block_in_place(Postgres::start);
    // Goes last.
    let mut traces = Traces::default();
    let mut system = System::unstarted(Some(&database.url())).await;
    let library = library();
    let off = OFF.map(|offset| variables(&library, offset));
    let (young, old) = (system.put_orphan().await, system.put_orphan().await);
    age(&system.parts.s3.object_path(old.as_str()));
    // The one that is ahead is alone at first: it sweeps.
    system.parts.add_api(&off[0]);
    until("a sweep", async || system.store.head(&old).await.err().map(drop)).await;
    assert!(system.store.head(&young).await.is_ok(), "what was just stored is taken for old");
    system.store.delete(&young).await.expect("it is there");
    system.parts.add_api(&off[1]);
    for variables in &off {
        system.parts.add_worker(variables);
    }
    let apis = system.parts.apis.iter().map(|(api, _)| api.id());
    traces.0.extend(system.parts.workers.iter().map(Daemon::id).chain(apis));
    system.log_in().await;
    let apis = [0, 1].map(|api| system.at(api));
    for (api, sign) in apis.iter().zip([1, -1]) {
        assert_off(api, sign).await;
    }
    let accepted = tokens_are_good_everywhere(&apis).await;

    let jobs = size(100, 20);
    system.submit_to(&apis, jobs, clips::all()).await;
    system.wait().await;
    let mut verdict = system.check(LEASE * 4).await;
    for api in &apis {
        times_are_sane(api, jobs).await;
    }
    let swept = system.sweep(&mut verdict).await;
    let extra = verdict.assert_sound(&system).extra_attempts;
    assert_eq!(extra, 0, "{}", system.parts.log());
    let tokens = format!("{accepted} of 4 tokens good at the other API");
    report(17, &format!("{jobs} jobs, {extra} extra attempts, {tokens}, {swept} leftovers swept"));
    system.end().await;
}

impl System {
    /// An upload that no job names.
    async fn put_orphan(&self) -> ObjectKey {
        let key = ObjectKey::upload(JobId::new());
        let mut upload = self.store.create(&key, "video/mp4", 0).await.expect("a store");
        upload.write(Bytes::from_static(b"begun")).await.expect("a store");
        upload.finish(Bytes::new()).await.expect("a store");
        key
    }
}

/// The clock of the process is as wrong as it is to be: a test with right clocks would show
/// nothing.
async fn assert_off(api: &Client, sign: i64) {
    let reply = api.get("/livez").send().await.expect(200);
    let date = rfc2822::parse(reply.header("date").expect("a date")).expect("a date");
    let ahead = date.timestamp().as_second() - Timestamp::now().as_second();
    assert!((ahead * sign - 3600).abs() < 60, "it is {ahead} s ahead");
}

/// Access and refresh tokens of one API are good at the other; how many were.
async fn tokens_are_good_everywhere(apis: &[Client; 2]) -> usize {
    let mut accepted = 0;
    for (one, other) in [(&apis[0], &apis[1]), (&apis[1], &apis[0])] {
        let body = json!({"name": "admin", "password": PASSWORD});
        let tokens = one.post("/v1/login").json(&body).send().await.expect(200).json();
        let access = tokens["access_token"].as_str().expect("a token");
        other.with(access).get("/v1/me").send().await.expect(200);
        let refresh = json!({"refresh_token": tokens["refresh_token"]});
        let nobody = Client::new(other.address);
        let tokens =
            nobody.post("/v1/token/refresh").json(&refresh).send().await.expect(200).json();
        let access = tokens["access_token"].as_str().expect("a token");
        one.with(access).get("/v1/me").send().await.expect(200);
        accepted += 2;
    }
    accepted
}

/// Jobs were accepted and ended when they were by a right clock, and are found by that.
async fn times_are_sane(api: &Client, jobs: usize) {
    let now = Timestamp::now();
    let (before, after) = (now - TEST, now + TEST);
    let all = api.get(format!("/v1/jobs?limit=500&created_from={before}")).send().await;
    let all = all.expect(200).json();
    let all = all["jobs"].as_array().expect("jobs").clone();
    assert_eq!(all.len(), jobs);
    let time = |job: &Value, what: &str| -> Option<Timestamp> {
        Some(job[what].as_str()?.parse().expect("a time"))
    };
    for job in &all {
        // Its start is not known if the API that recorded its end was quicker.
        let times = ["created_at", "started_at", "ended_at"].map(|what| time(job, what));
        let times: Vec<Timestamp> = times.into_iter().flatten().collect();
        let [first, .., last] = times[..] else { panic!("no times: {job:#}") };
        let is_sane = before < first && times.is_sorted() && last < after;
        assert!(is_sane, "{times:?} at {now}");
    }
    for filter in [format!("created_before={before}"), format!("created_from={after}")] {
        let none = api.get(format!("/v1/jobs?{filter}")).send().await.expect(200).json();
        assert_eq!(none["jobs"], json!([]), "{filter}");
    }
}

/// Where the library is that changes the time for who has it loaded first.
fn library() -> String {
    let mut ask = Command::new("faketime");
    ask.args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]);
    let output = ask.output().expect("faketime is installed: run `make setup`");
    let library = String::from_utf8(output.stdout).expect("a path");
    library.trim().to_owned()
}

fn variables<'a>(library: &'a str, offset: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("LD_PRELOAD", library),
        ("FAKETIME", offset),
        // Pauses and leases are told by the clock that nobody sets.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ]
}

/// What the library leaves in shared memory when a process is killed, by the process's number.
#[derive(Default)]
struct Traces(Vec<u32>);

impl Drop for Traces {
    fn drop(&mut self) {
        for process in &self.0 {
            for name in ["faketime_shm_", "sem.faketime_sem_"] {
                let _ = fs::remove_file(format!("/dev/shm/{name}{process}"));
            }
        }
    }
}

//! Who may come in, and for how long: ended log-ins, API keys, wrong passwords (fault test 25).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Client, Reply};
use crate::events::Events;
use crate::jobs::{clip, long};
use crate::ledger::Ledger;
use crate::service::{PASSWORD, Service};
use crate::size;

async fn log_in(service: &Service, name: &str, password: &str) -> Reply {
    let body = json!({"name": name, "password": password});
    service.nobody().post("/v1/login").json(&body).send().await
}

async fn refresh(service: &Service, token: &str) -> Reply {
    let body = json!({"refresh_token": token});
    service.nobody().post("/v1/token/refresh").json(&body).send().await
}

fn token(reply: &Reply, name: &str) -> String {
    reply.json()[name].as_str().expect("a token").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_refresh_token_ends_its_family() {
    let service = Service::embedded();
    let first = log_in(&service, "admin", PASSWORD).await.expect(200);
    let other = log_in(&service, "admin", PASSWORD).await.expect(200);
    let second = refresh(&service, &token(&first, "refresh_token")).await.expect(200);
    assert_ne!(token(&first, "refresh_token"), token(&second, "refresh_token"));
    // Its answer may have been lost: for a moment it is good once more.
    refresh(&service, &token(&first, "refresh_token")).await.expect(200);
    let me = async |reply: &Reply| {
        service.nobody().with(token(reply, "access_token")).get("/v1/me").send().await.status
    };
    assert_eq!((me(&first).await, me(&second).await), (200, 200));

    let mut ledger = Ledger::of(&service).await;
    let older = "UPDATE credentials SET used_ms = used_ms - 11000 WHERE used_ms IS NOT NULL";
    assert_eq!(ledger.change(older, &[]).await, 1);
    refresh(&service, &token(&first, "refresh_token")).await.problem(401);
    refresh(&service, &token(&second, "refresh_token")).await.problem(401);
    assert_eq!((me(&first).await, me(&second).await), (401, 401));
    assert_eq!(me(&other).await, 200, "another log-in is another family");
    for wrong in ["", "tmr_x_y", &token(&first, "access_token")] {
        refresh(&service, wrong).await.problem(401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ended_ends_at_once() {
    let service = Service::embedded();
    let admin = service.admin().await;
    let reply = log_in(&service, "admin", PASSWORD).await.expect(200);
    let client = admin.with(token(&reply, "access_token"));
    client.post("/v1/logout").send().await.expect(204);
    client.get("/v1/me").send().await.problem(401);
    refresh(&service, &token(&reply, "refresh_token")).await.problem(401);

    let ada = service.user("ada").await;
    let new = "another good password";
    let change = async |current: &str, new: &str| {
        let body = json!({"current": current, "new": new});
        ada.put("/v1/me/password").json(&body).send().await
    };
    change("not my password", new).await.problem(401);
    assert_eq!(change(PASSWORD, "short").await.problem(422).as_deref(), Some("new"));
    change(PASSWORD, new).await.expect(204);
    ada.get("/v1/me").send().await.problem(401);
    log_in(&service, "ada", PASSWORD).await.problem(401);
    let ada = service.nobody().log_in("ada", new).await;

    let key = json!({"label": "k", "scopes": ["read"]});
    let key = ada.post("/v1/keys").json(&key).send().await.expect(201);
    let by_key = ada.with(token(&key, "key"));
    by_key.get("/v1/jobs").send().await.expect(200);
    let me = ada.get("/v1/me").send().await.expect(200).json();
    let path = format!("/v1/users/{}", me["id"].as_str().unwrap());
    admin.patch(&path).json(&json!({"disabled": true})).send().await.expect(200);
    for client in [&ada, &by_key] {
        client.get("/v1/jobs").send().await.problem(401);
    }
    log_in(&service, "ada", new).await.problem(401);
    admin.patch(&path).json(&json!({"disabled": false})).send().await.expect(200);
    log_in(&service, "ada", new).await.expect(200);
    ada.get("/v1/me").send().await.problem(401);
    by_key.get("/v1/jobs").send().await.problem(401);
}

/// A stream lasts: what ends the right to it ends it too, whether there is news to tell or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_with_the_right_to_them() {
    let service = Service::embedded();
    let admin = service.admin().await;
    let ada = service.user("ada").await;
    let other = service.nobody().log_in("ada", PASSWORD).await;
    let key = json!({"label": "k", "scopes": ["read"]});
    let key = ada.post("/v1/keys").json(&key).send().await.expect(201);
    let by_key = ada.with(token(&key, "key"));

    let job = ada.submit(&long(), "").await;
    ada.in_state(&job, "running").await;
    let mut streams = Vec::new();
    for client in [&other, &by_key, &ada] {
        let mut stream = Events::of(client, &job, None).await;
        assert_eq!(stream.next().await.unwrap().data["state"], "running");
        streams.push(stream);
    }
    other.post("/v1/logout").send().await.expect(204);
    let id = key.json()["id"].as_str().unwrap().to_owned();
    ada.delete(format!("/v1/keys/{id}")).send().await.expect(204);
    ada.delete(format!("/v1/jobs/{job}")).send().await.expect(200);
    let mut told = Vec::new();
    for stream in streams {
        let states = stream.all().await.into_iter().filter(|event| event.name == "state");
        told.push(states.map(|event| event.data["state"].clone()).collect::<Vec<_>>());
    }
    assert_eq!(told, [vec![], vec![], vec![json!("cancelled")]]);

    let job = ada.submit(&long(), "").await;
    ada.in_state(&job, "running").await;
    let stream = Events::of(&ada, &job, None).await;
    let me = ada.get("/v1/me").send().await.expect(200).json();
    let path = format!("/v1/users/{}", me["id"].as_str().unwrap());
    admin.patch(&path).json(&json!({"disabled": true})).send().await.expect(200);
    stream.all().await;
    let running = "SELECT COUNT(*) FROM jobs WHERE state = 'running'";
    assert_eq!(Ledger::of(&service).await.number(running).await, 1, "without news to tell");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_keys_do_what_they_are_for() {
    let service = Service::embedded();
    let admin = service.admin().await;
    let ada = service.user("ada").await;
    let add = async |client: &Client, scopes: &[&str]| {
        let key = json!({"label": "k", "scopes": scopes});
        client.post("/v1/keys").json(&key).send().await
    };
    let made = add(&ada, &["read"]).await.expect(201);
    let read = ada.with(token(&made, "key"));
    let write = ada.with(token(&add(&ada, &["write"]).await.expect(201), "key"));
    let job = write.submit(&clip(), "").await;
    ada.finished(&job).await;
    read.output(&job).await;
    let path = format!("/v1/jobs/{job}");
    read.delete(&path).send().await.problem(403);
    read.post(format!("{path}/retry")).send().await.problem(403);
    read.post("/v1/jobs").body(clip()).send().await.problem(403);
    read.post("/upload").body(clip()).send().await.problem(403);
    read.post("/v1/uploads").header("upload-length", "5").send().await.problem(403);
    write.get(&path).send().await.problem(403);
    write.get(format!("{path}/output")).send().await.problem(403);
    write.get(format!("{path}/events")).send().await.problem(403);
    for key in [&read, &write] {
        add(key, &["read"]).await.problem(403);
        key.get("/v1/keys").send().await.problem(403);
        key.post("/v1/logout").send().await.problem(403);
        key.get("/v1/users").send().await.problem(403);
    }
    add(&ada, &["read", "admin"]).await.problem(403);
    for wrong in [&[][..], &["all"], &["read write"]] {
        assert_eq!(add(&ada, wrong).await.problem(422).as_deref(), Some("scopes"));
    }
    let plain = admin.with(token(&add(&admin, &["read", "write"]).await.expect(201), "key"));
    plain.get("/v1/users").send().await.problem(403);
    let all = admin.with(token(&add(&admin, &["admin"]).await.expect(201), "key"));
    all.get("/v1/users").send().await.expect(200);

    // Told once.
    let secret = read.token.clone().unwrap();
    let listed = ada.get("/v1/keys").send().await.expect(200);
    assert_eq!(listed.json().as_array().unwrap().len(), 2);
    assert!(!listed.text().contains(&secret[40..]), "{}", listed.text());
    let as_header = service.nobody().get("/v1/jobs").header("x-api-key", &secret);
    as_header.send().await.expect(200);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    admin.delete(format!("/v1/keys/{id}")).send().await.problem(404);
    ada.delete(format!("/v1/keys/{id}")).send().await.expect(204);
    read.get("/v1/jobs").send().await.problem(401);
    ada.delete(format!("/v1/keys/{id}")).send().await.problem(404);
    let soon = json!({"label": "k", "scopes": ["write"], "expires_at": "2001-01-01T00:00:00Z"});
    ada.post("/v1/keys").json(&soon).send().await.problem(422);
    let mut ledger = Ledger::of(&service).await;
    let expired = "UPDATE credentials SET expires_ms = 1 WHERE scopes = 'write'";
    assert_eq!(ledger.change(expired, &[]).await, 1);
    write.post("/v1/jobs").body(clip()).send().await.problem(401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_is_slow_and_locks_nobody_out() {
    let service = Service::with(&["--trusted-proxies", "1"]);
    service.user("ada").await;
    let from = async |address: &str, name: &str, password: &str| {
        let request = service.nobody().post("/v1/login").basic(name, password);
        request.header("x-forwarded-for", address).send().await
    };
    for _ in 0..5 {
        let refused = from("192.0.2.1", "ada", "not her password").await;
        refused.problem(401);
        assert!(refused.header("www-authenticate").is_some());
    }
    let refused = from("192.0.2.1", "ada", PASSWORD).await;
    refused.problem(429);
    assert!((1..=60).contains(&refused.number("retry-after")));
    from("192.0.2.2", "ada", PASSWORD).await.expect(200);
    from("192.0.2.1", "admin", PASSWORD).await.expect(200);
    // What a client says of itself is not what the proxy says of it.
    from("192.0.2.2, 192.0.2.1", "ada", PASSWORD).await.problem(429);
    // Of a name that nobody has, the same is told.
    for _ in 0..5 {
        let nobody = from("192.0.2.3", "nobody", "not a password").await;
        assert_eq!(nobody.text(), from("192.0.2.4", "ada", "not her password").await.text());
    }
    from("192.0.2.3", "nobody", "not a password").await.problem(429);
}

/// Tries of a name: of one that is often tried nobody is told anything for a while.
const TRIES: usize = 50;
/// By how much the times may differ.
const TELLING: Duration = Duration::from_millis(5);

/// Whether a name exists can not be told by the time that it takes to be refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_name_takes_as_long_as_a_wrong_password() {
    let service = Service::with(&["--trusted-proxies", "1"]);
    // Beside other tests it may take many until enough of them were not held up.
    let (least, most) = (size(1000, 24), size(1000, 200));
    for n in 0..most.div_ceil(TRIES) {
        service.user(&format!("known{n}")).await;
    }
    let mut took = [Vec::new(), Vec::new()];
    for n in 0..most {
        // Which of them comes first is no part of what is measured.
        for kind in [n % 2, 1 - n % 2] {
            let name = format!("{}{}", ["known", "other"][kind], n / TRIES);
            let request = service.nobody().post("/v1/login").basic(&name, "not the password");
            let address = format!("198.51.{}.{}", n / 250, n % 250);
            let request = request.header("x-forwarded-for", &address);
            let start = Instant::now();
            request.send().await.problem(401);
            took[kind].push(start.elapsed());
        }
        let [known, unknown] = [0, 1].map(|kind| lower_quartile(&took[kind]));
        if n + 1 >= least && known.abs_diff(unknown) < TELLING {
            break;
        }
    }
    let [known, unknown] = [0, 1].map(|kind| lower_quartile(&took[kind]));
    let count = 2 * took[0].len();
    println!(
        "{count} log-ins refused: known names in {known:?}, others in {unknown:?} (a quarter)"
    );
    assert!(known.abs_diff(unknown) < TELLING, "{known:?}, {unknown:?}");
}

/// What others' load adds to times is mostly above it.
fn lower_quartile(took: &[Duration]) -> Duration {
    let mut took = took.to_vec();
    took.sort_unstable();
    took[took.len() / 4]
}

//! Webhooks for all of a user's jobs: added, looked at, changed, given another secret, tried out,
//! ended.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::service::Service;

const URL: &str = "https://hooks.example.invalid/tonemill";

async fn add(client: &Client, webhook: &Value) -> Value {
    let reply = client.post("/v1/webhooks").json(webhook).send().await.expect(201);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.json()
}

fn path(webhook: &Value) -> String {
    format!("/v1/webhooks/{}", webhook["id"].as_str().expect("an id"))
}

/// What is told once: 32 bytes, as Standard Webhooks write them.
fn secret(webhook: &Value) -> String {
    let secret = webhook["secret"].as_str().expect("a secret").to_owned();
    let bytes = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    assert_eq!(bytes.len(), 32);
    secret
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_lives() {
    let service = Service::embedded();
    let client = service.user("ada").await;
    let mut webhook = add(&client, &json!({"url": URL})).await;
    let first = secret(&webhook);
    assert_eq!(webhook["events"], json!(["job.finished", "job.failed"]));
    assert_eq!((&webhook["disabled_at"], webhook.get("job_id")), (&Value::Null, None));
    webhook.as_object_mut().unwrap().remove("secret");
    let path = path(&webhook);
    assert_eq!(client.get(&path).send().await.expect(200).json(), webhook);
    assert_eq!(client.get("/v1/webhooks").send().await.expect(200).json(), json!([webhook]));

    let change =
        async |change: Value| client.patch(&path).json(&change).send().await.expect(200).json();
    let elsewhere = "http://[::1]:8080/a?b=c";
    let events = json!(["job.started"]);
    webhook["url"] = json!(elsewhere);
    assert_eq!(change(json!({"url": elsewhere})).await, webhook);
    // Each once, in one order.
    let twice = json!(["job.failed", "job.started", "job.failed"]);
    assert_eq!(
        change(json!({"events": twice})).await["events"],
        json!(["job.started", "job.failed"])
    );
    webhook["events"] = events.clone();
    assert_eq!(change(json!({"events": events, "enabled": null})).await, webhook);
    assert_eq!(change(json!({})).await, webhook);
    let disabled = change(json!({"enabled": false})).await;
    assert!(disabled["disabled_at"].is_string(), "{disabled}");
    assert_eq!(disabled["disabled_why"], "its user disabled it");
    assert_eq!(change(json!({"enabled": false})).await, disabled);
    client.post(format!("{path}/test")).send().await.problem(409);
    assert_eq!(change(json!({"enabled": true})).await, webhook);

    let rotated = client.post(format!("{path}/rotate")).send().await.expect(200);
    assert_eq!(rotated.header("cache-control"), Some("no-store"));
    assert_ne!(secret(&rotated.json()), first);
    assert_eq!(client.get(&path).send().await.expect(200).json(), webhook);

    let tried = client.post(format!("{path}/test")).send().await.expect(202);
    let delivery = tried.json();
    assert_eq!(delivery["event"], "webhook.test");
    assert_eq!(delivery["webhook_id"], webhook["id"]);
    let told = client.get(tried.header("location").unwrap()).send().await.expect(200).json();
    assert_eq!(told["id"], delivery["id"]);
    assert_eq!(told["payload"]["type"], "webhook.test");
    assert_eq!(told["payload"]["data"]["webhook"], json!({"id": webhook["id"], "url": elsewhere}));

    client.delete(&path).send().await.expect(204);
    for gone in [client.get(&path), client.delete(&path), client.post(format!("{path}/rotate"))] {
        gone.send().await.problem(404);
    }
    // What was told is there to look at, whoever was told is not.
    client.get(tried.header("location").unwrap()).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_by_field() {
    let service = Service::embedded();
    let client = service.user("ada").await;
    let webhook = add(&client, &json!({"url": URL})).await;
    let path = path(&webhook);
    let of_bytes = |bytes: usize| format!("https://h/{}", "x".repeat(bytes - 10));
    add(&client, &json!({"url": of_bytes(2000)})).await;
    let too_long = of_bytes(2001);
    for url in [
        "",
        "hooks.example.org",
        "ftp://h/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:///x",
        "http://u:p@h/",
        "http://h/ x",
        "http://h/\r\nX: y",
        "http://h:99999/",
        "http://h\\@i/",
        "http://\u{fc}.example.org/",
        "http://h/\0",
        &too_long,
    ] {
        let url = json!({"url": url});
        let refused = client.post("/v1/webhooks").json(&url).send().await;
        assert_eq!(refused.problem(422).as_deref(), Some("url"), "{url}");
        let refused = client.patch(&path).json(&url).send().await;
        assert_eq!(refused.problem(422).as_deref(), Some("url"), "{url}");
    }
    for events in
        [json!([]), json!(["job.done"]), json!(["webhook.test"]), json!(["job.failed", ""])]
    {
        let wish = json!({"url": URL, "events": events});
        for request in [client.post("/v1/webhooks"), client.patch(&path)] {
            let refused = request.json(&wish).send().await;
            assert_eq!(refused.problem(422).as_deref(), Some("events"), "{events}");
        }
    }
    for (wish, field) in [
        (json!({"secret": "mine"}), "secret"),
        (json!({"enabled": "no"}), "enabled"),
        (json!({"events": "job.failed"}), "events"),
        (json!({"job_id": Uuid::nil()}), "job_id"),
    ] {
        let refused = client.patch(&path).json(&wish).send().await;
        assert_eq!(refused.problem(422).as_deref(), Some(field), "{wish}");
    }
    client
        .patch(&path)
        .header("content-type", "application/json")
        .body("{")
        .send()
        .await
        .problem(400);
    let mut as_added = webhook;
    as_added.as_object_mut().unwrap().remove("secret");
    assert_eq!(client.get(&path).send().await.expect(200).json(), as_added, "none had an effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_twenty_of_a_user() {
    let service = Service::embedded();
    let (ada, eve) = (service.user("ada").await, service.user("eve").await);
    let mut last = Value::Null;
    for _ in 0..20 {
        last = add(&ada, &json!({"url": URL})).await;
    }
    ada.post("/v1/webhooks").json(&json!({"url": URL})).send().await.problem(409);
    add(&eve, &json!({"url": URL})).await;
    ada.delete(path(&last)).send().await.expect(204);
    add(&ada, &json!({"url": URL})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_of_others_do_not_exist() {
    let service = Service::embedded();
    let (ada, eve, admin) =
        (service.user("ada").await, service.user("eve").await, service.admin().await);
    let webhook = add(&ada, &json!({"url": URL})).await;
    let path = path(&webhook);
    for (stranger, status) in [(&eve, 404), (&admin, 404), (&service.nobody(), 401)] {
        let change = json!({"url": "https://eve.example.invalid/"});
        for request in [
            stranger.get(&path),
            stranger.patch(&path).json(&change),
            stranger.patch(&path).json(&json!({})),
            stranger.post(format!("{path}/rotate")),
            stranger.post(format!("{path}/test")),
            stranger.delete(&path),
        ] {
            request.send().await.problem(status);
        }
    }
    assert_eq!(eve.get("/v1/webhooks").send().await.expect(200).json(), json!([]));
    assert_eq!(ada.get(&path).send().await.expect(200).json()["url"], URL);
    for wrong in ["5", "%00", &Uuid::now_v7().to_string()] {
        ada.get(format!("/v1/webhooks/{wrong}")).send().await.problem(404);
        ada.post(format!("/v1/webhooks/{wrong}/test")).send().await.problem(404);
    }
    // A key does what its scope says.
    let key = async |scopes: Value| {
        let key = json!({"label": "x", "scopes": scopes});
        let key = ada.post("/v1/keys").json(&key).send().await.expect(201).json();
        ada.with(key["key"].as_str().unwrap())
    };
    let (reads, writes) = (key(json!(["read"])).await, key(json!(["write"])).await);
    reads.get(&path).send().await.expect(200);
    writes.get(&path).send().await.problem(403);
    reads.patch(&path).json(&json!({})).send().await.problem(403);
    reads.post(format!("{path}/rotate")).send().await.problem(403);
    reads.post(format!("{path}/test")).send().await.problem(403);
    writes.post(format!("{path}/rotate")).send().await.expect(200);
    writes.patch(&path).json(&json!({"enabled": true})).send().await.expect(200);
}

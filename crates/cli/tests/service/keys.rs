//! `Idempotency-Key`: a request that is repeated is the same request, in time and all at once.

use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{Client, Request, file, text};
use crate::jobs::{clip, id_of, padded};
use crate::pause;
use crate::service::Service;

fn keyed(client: &Client, key: &str, video: &[u8], query: &str) -> Request {
    let request = client.post(format!("/v1/jobs?{query}"));
    request.header("idempotency-key", key).body(video.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_is_the_same_job() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = clip();
    let job = id_of(&keyed(&client, "a", &video, "label=x").send().await.expect(201));
    assert_eq!(id_of(&keyed(&client, "a", &video, "label=x").send().await.expect(200)), job);
    client.finished(&job).await;
    let again = keyed(&client, "\"a\"", &video, "label=x").send().await.expect(200);
    assert_eq!(again.json()["state"], "finished");
    assert_eq!(id_of(&again), job, "quotes are of the header, not of the key");

    let other = padded(video.len() + 100);
    keyed(&client, "a", &other, "label=x").send().await.problem(422);
    keyed(&client, "a", &video, "label=y").send().await.problem(422);
    keyed(&client, "a", &video, "label=x&bitrate_kbps=64").send().await.problem(422);
    let user = service.user("ada").await;
    let theirs = id_of(&keyed(&user, "a", &video, "label=x").send().await.expect(201));
    assert_ne!(theirs, job, "a key is its user's");
    let form = [text("label", "x"), file("a.mp4", &video)];
    let as_form = || client.post("/v1/jobs").header("idempotency-key", "b").form(&form);
    let job = id_of(&as_form().send().await.expect(201));
    assert_eq!(id_of(&as_form().send().await.expect(200)), job);
    for key in ["", "\"\"", &"x".repeat(191)] {
        let field = keyed(&client, key, &video, "").send().await.problem(400);
        assert_eq!(field.as_deref(), Some("Idempotency-Key"), "{key:?}");
    }
    keyed(&client, &"x".repeat(190), &video, "").send().await.expect(201);
    client.finished(&job).await;
    // Of what came twice nothing is kept.
    service.without_uploads().await;
}

/// Whether it is asked for with a key or without: what is asked for is never left aside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_a_job_stays_that_job() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = clip();
    let other = id_of(&keyed(&client, "a", &video, "label=other").send().await.expect(201));
    let upload = client.upload(&video).await;
    let asked = json!({"upload": upload, "start_seconds": 0.300_000_000_000_000_04, "label": "x"});
    let submit = async |key: &str, field: &str, value| {
        let mut body = asked.clone();
        body[field] = value;
        let request = client.post("/v1/jobs").json(&body);
        let request = if key.is_empty() { request } else { request.header("idempotency-key", key) };
        request.send().await
    };
    let again = async |key: &str| submit(key, "label", json!("x")).await;
    let job = id_of(&again("").await.expect(201));
    let named = client.job(&job).await["file_name"].clone();
    assert_eq!(id_of(&again("").await.expect(200)), job);
    assert_eq!(id_of(&again("b").await.expect(200)), job);
    assert_eq!(id_of(&submit("", "file_name", named).await.expect(200)), job);
    for (field, value) in [
        ("bitrate_kbps", json!(64)),
        ("start_seconds", json!(0.3)),
        ("lane", json!("high")),
        ("label", json!("y")),
        ("file_name", json!("another.mp4")),
    ] {
        let refused = submit("", field, value.clone()).await;
        assert_eq!(refused.problem(409).as_deref(), Some("upload"), "{field}");
        let refused = submit("a", field, value).await;
        assert_eq!(refused.problem(422).as_deref(), Some("Idempotency-Key"), "{field}");
    }
    assert_eq!(again("a").await.problem(422).as_deref(), Some("Idempotency-Key"));
    assert_ne!(job, other);

    // Under its own key it is known as well.
    let upload = client.upload(&video).await;
    let of_key = async |bitrate: u32| {
        let body = json!({"upload": upload, "bitrate_kbps": bitrate});
        client.post("/v1/jobs").header("idempotency-key", "c").json(&body).send().await
    };
    let job = id_of(&of_key(96).await.expect(201));
    assert_eq!(id_of(&of_key(96).await.expect(200)), job);
    assert_eq!(of_key(64).await.problem(422).as_deref(), Some("Idempotency-Key"));
}

/// Fault test 10: a client that has no patience.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_once_it_is_one_job_too() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = padded(2 << 20);
    let mut clients = JoinSet::new();
    for _ in 0..12 {
        let (client, video) = (client.clone(), video.clone());
        clients.spawn(async move {
            let start = Instant::now();
            loop {
                let reply = keyed(&client, "k", &video, "").send().await;
                match reply.status {
                    409 => assert_eq!(reply.problem(409).as_deref(), Some("Idempotency-Key")),
                    // So many come so often that there are too many of them.
                    429 => drop(reply.problem(429)),
                    _ => return (reply.status, id_of(&reply)),
                }
                assert!(reply.number("retry-after") >= 1);
                pause("the job", start).await;
            }
        });
    }
    let answers = clients.join_all().await;
    assert!(answers.iter().all(|(_, job)| *job == answers[0].1), "{answers:?}");
    let new = answers.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(new, 1, "{answers:?}");
    let jobs = client.get("/v1/jobs").send().await.expect(200).json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
    client.finished(&answers[0].1).await;
    service.without_uploads().await;
}

/// Whose answer was lost is not told that there is no room for what is there already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_request_needs_no_room() {
    let video = clip();
    let quota = video.len() + 1000;
    let service = Service::with(&["--quota-bytes", &quota.to_string()]);
    let client = service.admin().await;
    let job = id_of(&keyed(&client, "a", &video, "").send().await.expect(201));
    keyed(&client, "b", &video, "").send().await.problem(429);
    assert_eq!(id_of(&keyed(&client, "a", &video, "").send().await.expect(200)), job);
}

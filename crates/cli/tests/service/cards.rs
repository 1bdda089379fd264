//! Whoever was answered has a job with a card: the API may have died between the ledger and the
//! card, and was asked again.

use std::fs;

use serde_json::{Value, json};

use crate::client::Request;
use crate::jobs::{clip, id_of};
use crate::service::Service;

/// Asks for a job that is there and has lost its card; the card.
async fn asked_again(service: &Service, job: &str, request: Request) -> Value {
    let card = service.data().join("objects/cards").join(job);
    fs::remove_file(&card).unwrap();
    assert_eq!(id_of(&request.send().await.expect(200)), job);
    read(service, job)
}

fn read(service: &Service, job: &str) -> Value {
    let card = service.data().join("objects/cards").join(job);
    serde_json::from_slice(&fs::read(card).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_answered_has_a_card() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = clip();
    let by_key = || {
        let request = client.post("/v1/jobs?label=mine&bitrate_kbps=64");
        request.header("idempotency-key", "a key").body(video.clone())
    };
    let job = id_of(&by_key().send().await.expect(201));
    client.finished(&job).await;
    let card = read(&service, &job);
    assert_eq!(card["request"]["key"], "a key");
    let mut again = asked_again(&service, &job, by_key()).await;
    // Where its upload was, nobody knows any more.
    again["input"] = card["input"].clone();
    assert_eq!(again, card);

    let upload = client.upload(&video).await;
    let key = |key: &str| {
        let request = client.post("/v1/jobs").header("idempotency-key", key);
        request.json(&json!({"upload": upload, "lane": "low"}))
    };
    let job = id_of(&key("one").send().await.expect(201));
    for again in ["one", "another"] {
        let card = asked_again(&service, &job, key(again)).await;
        assert_eq!((&card["job"], &card["lane"]), (&json!(job), &json!("low")));
        let due = if again == "one" { json!(again) } else { Value::Null };
        assert_eq!(card["request"]["key"], due);
    }

    // One that was deleted gets none.
    client.finished(&job).await;
    client.delete(format!("/v1/jobs/{job}")).send().await.expect(204);
    let card = service.data().join("objects/cards").join(&job);
    crate::until("an end of the card", async || (!card.exists()).then_some(())).await;
    key("one").send().await.problem(404);
    assert!(!card.exists());
}

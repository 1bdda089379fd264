//! A webhook of one job alone: however the job is asked for, and however often.

use serde_json::{Value, json};

use crate::client::{Client, Reply, Request, file, text};
use crate::jobs::{clip, id_of};
use crate::service::Service;

const URL: &str = "https://hooks.example.invalid/job?a=b";
/// The same, in a query.
const QUERY: &str = "webhook=https://hooks.example.invalid/job%3Fa%3Db";

/// The webhook in an answer, of which the secret is told if the job is new.
#[track_caller]
fn webhook(reply: &Reply) -> Value {
    let webhook = reply.json()["webhook"].clone();
    assert_eq!(webhook["url"], URL, "{}", reply.text());
    let secret = webhook["secret"].as_str();
    assert_eq!(secret.is_some_and(|secret| secret.starts_with("whsec_")), reply.status == 201);
    assert_eq!(secret.is_none(), reply.status == 200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    webhook
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_in_takes_one() {
    let service = Service::embedded();
    let client = service.user("ada").await;
    let video = clip();
    let upload = client.upload(&video).await;
    let started = json!(["job.started", "job.failed"]);
    let options = json!({"webhook": URL, "webhook_events": started}).to_string();
    let in_form = [
        text("webhook", URL),
        file("a.mp4", &video),
        text("webhook_events", "job.failed,job.started"),
    ];
    let in_json = json!({"upload": upload, "webhook": URL, "webhook_events": started});
    let ways: [Request; 4] = [
        client.post(format!("/v1/jobs?{QUERY}&webhook_events=job.started,job.failed")).body(clip()),
        client.post("/v1/jobs").form(&in_form),
        client.post("/v1/jobs").form(&[file("a.mp4", &video), text("options", &options)]),
        client.post("/v1/jobs").json(&in_json),
    ];
    for way in ways {
        let reply = way.send().await.expect(201);
        let mut told = webhook(&reply);
        assert_eq!(told["events"], started);
        told.as_object_mut().unwrap().remove("secret");
        let job = id_of(&reply);
        assert_eq!(client.job(&job).await["webhook"], told, "and never its secret again");
        let path = format!("/v1/webhooks/{}", told["id"].as_str().unwrap());
        assert_eq!(client.get(path).send().await.expect(200).json()["job_id"], job);
        client.finished(&job).await;
        let about = format!("/v1/deliveries?job={job}");
        let deliveries = client.get(about).send().await.expect(200).json()["deliveries"].clone();
        let events: Vec<_> = deliveries.as_array().unwrap().iter().collect();
        assert_eq!(events.len(), 1, "its start, and not its end: {deliveries:#}");
        assert_eq!(
            (&events[0]["event"], &events[0]["webhook_id"]),
            (&json!("job.started"), &told["id"])
        );
    }
    let others = client.submit(&video, "").await;
    assert_eq!(client.finished(&others).await.get("webhook"), None);
    let about = format!("/v1/deliveries?job={others}");
    assert_eq!(client.get(about).send().await.json()["deliveries"], json!([]));
    assert_eq!(client.get("/v1/webhooks").send().await.json(), json!([]), "they are of jobs");
    for job in client.get("/v1/jobs").send().await.json()["jobs"].as_array().unwrap() {
        assert_eq!(job.get("webhook"), None, "{job:#}");
    }
}

async fn keyed(client: &Client, query: &str) -> Reply {
    let request = client.post(format!("/v1/jobs?{query}")).header("idempotency-key", "k");
    request.body(clip()).send().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_is_told_no_secret() {
    let service = Service::embedded();
    let client = service.user("ada").await;
    let first = keyed(&client, QUERY).await.expect(201);
    let again = keyed(&client, QUERY).await.expect(200);
    assert_eq!(id_of(&first), id_of(&again));
    assert_eq!(webhook(&first)["id"], webhook(&again)["id"]);
    assert_eq!(webhook(&first)["events"], json!(["job.finished", "job.failed"]));
    for other in
        ["", "webhook=https://else.example.invalid/", &format!("{QUERY}&webhook_events=job.failed")]
    {
        let field = keyed(&client, other).await.problem(422);
        assert_eq!(field.as_deref(), Some("Idempotency-Key"), "{other}");
    }
    // Said otherwise, the same is asked for.
    keyed(&client, &format!("{QUERY}&webhook_events=job.failed,job.finished")).await.expect(200);
    let path = format!("/v1/webhooks/{}/rotate", webhook(&again)["id"].as_str().unwrap());
    let rotated = client.post(path).send().await.expect(200).json();
    assert_ne!(rotated["secret"], webhook(&first)["secret"]);

    // An upload is one job, with the webhook that it was asked for with.
    let upload = client.upload(&clip()).await;
    let ask = async |more: Value| {
        let mut wish = json!({"upload": upload});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.post("/v1/jobs").json(&wish).send().await
    };
    let first = ask(json!({"webhook": URL})).await.expect(201);
    let again = ask(json!({"webhook": URL})).await.expect(200);
    assert_eq!(webhook(&first)["id"], webhook(&again)["id"]);
    for other in [
        json!({}),
        json!({"webhook": null}),
        json!({"webhook": "https://else.example.invalid/"}),
        json!({"webhook": URL, "webhook_events": ["job.finished"]}),
    ] {
        assert_eq!(ask(other.clone()).await.problem(409).as_deref(), Some("upload"), "{other}");
    }
    let plain = client.upload(&clip()).await;
    client.submit_upload(&plain).await.expect(201);
    let wish = json!({"upload": plain, "webhook": URL});
    assert_eq!(
        client.post("/v1/jobs").json(&wish).send().await.problem(409).as_deref(),
        Some("upload")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_leaves_nothing() {
    let service = Service::embedded();
    let client = service.user("ada").await;
    let video = clip();
    for (query, field) in [
        ("webhook=", "webhook"),
        ("webhook=null", "webhook"),
        ("webhook=ftp://h/", "webhook"),
        ("webhook=http://u:p@h/", "webhook"),
        ("webhook=http://h/%00", "webhook"),
        ("webhook=http://h/&webhook=http://i/", "webhook"),
        ("webhook_events=job.failed", "webhook_events"),
        ("webhook=http://h/&webhook_events=", "webhook_events"),
        ("webhook=http://h/&webhook_events=webhook.test", "webhook_events"),
        (
            "webhook=http://h/&webhook_events=job.failed&webhook_events=job.started",
            "webhook_events",
        ),
    ] {
        let reply = client.post(format!("/v1/jobs?{query}")).body(video.clone()).send().await;
        assert_eq!(reply.problem(422).as_deref(), Some(field), "{query}");
    }
    for (options, field) in [
        ("{\"webhook\":5}", "webhook"),
        ("{\"webhook\":\"http://h/\",\"webhook_events\":[]}", "webhook_events"),
        ("{\"webhook\":\"http://h/\",\"webhook_events\":\"job.failed\"}", "webhook_events"),
        ("{\"webhook_events\":[\"job.failed\"]}", "webhook_events"),
    ] {
        let form = [file("a.mp4", &video), text("options", options)];
        let reply = client.post("/v1/jobs").form(&form).send().await;
        assert_eq!(reply.problem(422).as_deref(), Some(field), "{options}");
    }
    assert!(service.files("objects").is_empty(), "{:?}", service.files("objects"));
    assert_eq!(client.get("/v1/jobs").send().await.json()["jobs"], json!([]));
}

//! Uploads past the API, straight into the store.

use serde_json::{Value, json};
use tonemill_testbed::s3::S3Server;

use crate::client::{Client, Reply, Request};
use crate::jobs::{assert_same, clip, convert, id_of};
use crate::service::Service;

/// A request to an address that the service gave.
pub fn at(url: &str, method: hyper::Method) -> Request {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    Client::new(address.parse().unwrap()).request(method, format!("/{path}"))
}

async fn begin(client: &Client, bytes: usize) -> Value {
    let request = json!({"bytes": bytes, "file_name": "a/b.mp4"});
    let upload = client.post("/v1/uploads/direct").json(&request).send().await.expect(201).json();
    assert_eq!(upload["method"], "PUT", "{upload}");
    assert_eq!(upload["headers"], json!({"Content-Length": bytes.to_string()}), "{upload}");
    upload
}

async fn put(upload: &Value, bytes: &[u8]) -> Reply {
    at(upload["url"].as_str().unwrap(), hyper::Method::PUT).body(bytes.to_vec()).send().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_goes_past_the_api_into_the_store() {
    let s3 = S3Server::start_chosen();
    let service = Service::with_store(&[], &s3);
    let client = service.admin().await;
    let video = clip();
    let upload = begin(&client, video.len()).await;
    let submit = async || client.submit_upload(upload["upload"].as_str().unwrap()).await;
    assert_eq!(submit().await.problem(409).as_deref(), Some("upload"), "it is not there");
    put(&upload, &video).await.expect(200);
    let reply = submit().await.expect(201);
    assert_eq!(reply.json()["file_name"], "b.mp4");
    assert_same(&client.mp3(&id_of(&reply)).await, &convert(&video, &[]));
    assert_eq!(id_of(&submit().await.expect(200)), id_of(&reply), "once more");

    // It is nobody's but its owner's.
    let upload = begin(&client, video.len()).await;
    put(&upload, &video).await.expect(200);
    let eve = service.user("eve").await;
    eve.submit_upload(upload["upload"].as_str().unwrap()).await.problem(404);
    // Of tus it is none.
    let path = format!("/v1/uploads/{}", upload["upload"].as_str().unwrap());
    assert_eq!(client.head(&path).send().await.status, 404);
    client.delete(&path).send().await.expect(204);
    client.submit_upload(upload["upload"].as_str().unwrap()).await.problem(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_as_it_was_said_is_refused() {
    let s3 = S3Server::start_chosen();
    let service = Service::with_store(&["--max-input", "1MiB"], &s3);
    let client = service.admin().await;
    let video = clip();
    let upload = begin(&client, video.len()).await;
    let short = put(&upload, &video[..video.len() - 1]).await;
    let submitted = client.submit_upload(upload["upload"].as_str().unwrap()).await;
    assert_eq!(submitted.problem(409).as_deref(), Some("upload"), "the store said {short:?}");

    let text = b"no media at all".repeat(1000);
    let upload = begin(&client, text.len()).await;
    put(&upload, &text).await.expect(200);
    client.submit_upload(upload["upload"].as_str().unwrap()).await.problem(415);

    let refused = async |bytes: Value| {
        let request = json!({"bytes": bytes, "file_name": "a.mp4"});
        client.post("/v1/uploads/direct").json(&request).send().await
    };
    assert_eq!(refused(json!(0)).await.problem(422).as_deref(), Some("bytes"));
    assert_eq!(refused(json!(-1)).await.problem(422).as_deref(), Some("bytes"));
    assert_eq!(refused(json!((1 << 20) + 1)).await.problem(413).as_deref(), Some("bytes"));
    refused(json!(1 << 20)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_has_no_addresses() {
    let service = Service::embedded();
    let client = service.admin().await;
    let request = json!({"bytes": 5, "file_name": "a.mp4"});
    client.post("/v1/uploads/direct").json(&request).send().await.problem(409);
}

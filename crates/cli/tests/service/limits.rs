//! What is taken and what is not: sizes at the edge and one past it, kinds of bodies, forms of
//! every shape.

use serde_json::json;

use crate::client::{Client, Field, Request, file, text};
use crate::events::Events;
use crate::jobs::{clip, id_of, long, padded};
use crate::service::Service;

/// Longest upload in these tests.
const MOST: usize = 200_000;

async fn limited() -> (Service, Client) {
    let service = Service::with(&["--max-input", &MOST.to_string()]);
    let client = service.admin().await;
    (service, client)
}

/// A submission of these bytes, by each way that has a body.
fn ways(client: &Client, video: &[u8]) -> [Request; 4] {
    let post = || client.post("/v1/jobs");
    [
        post().body(video.to_vec()),
        post().chunked(video),
        post().form(&[text("label", "a"), file("a.mp4", video)]),
        client.post("/upload").form(&[file("a.mp4", video)]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_limit_is_exact() {
    let (service, client) = limited().await;
    for request in ways(&client, &padded(MOST)) {
        let status = request.send().await.status;
        assert!(status == 201 || status == 200, "{status} at the limit");
    }
    for request in ways(&client, &padded(MOST + 1)) {
        request.send().await.problem(413);
    }
    let begin = |bytes: usize| {
        client.post("/v1/uploads").header("upload-length", &bytes.to_string()).body("").send()
    };
    let reply = begin(MOST).await.expect(201);
    client.delete(reply.header("location").unwrap()).send().await.expect(204);
    assert_eq!(begin(MOST + 1).await.problem(413).as_deref(), Some("Upload-Length"));
    let most = MOST.to_string();
    let reply = client.request(hyper::Method::OPTIONS, "/v1/uploads").send().await.expect(204);
    assert_eq!(reply.header("tus-max-size"), Some(most.as_str()));
    // Whoever is refused leaves nothing.
    let jobs = client.get("/v1/jobs").send().await.json()["jobs"].clone();
    for job in jobs.as_array().unwrap() {
        client.finished(job["id"].as_str().unwrap()).await;
    }
    service.without_uploads().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_and_no_media_are_refused() {
    let (service, client) = limited().await;
    for request in ways(&client, b"") {
        request.send().await.problem(400);
    }
    for bytes in [&b"hello, world"[..], &[0; 10_000], b"#EXTM3U\n/etc/passwd\n"] {
        for request in ways(&client, bytes) {
            request.send().await.problem(415);
        }
    }
    assert!(service.files("objects").is_empty(), "{:?}", service.files("objects"));
    assert!(service.files("unfinished").is_empty(), "{:?}", service.files("unfinished"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_other_kinds_are_refused() {
    let (_service, client) = limited().await;
    let post = |kind: &str, body: &[u8]| {
        client.post("/v1/jobs").header("content-type", kind).body(body.to_vec())
    };
    let video = clip();
    post("multipart/form-data", &video).send().await.problem(400);
    post("multipart/form-data; boundary=x", &video).send().await.problem(400);
    post("application/json", &video).send().await.problem(400);
    post("application/json", b"{}").send().await.problem(422);
    post("application/json; charset=utf-8", b"{\"upload\":5}").send().await.problem(422);
    // Whatever a browser or curl calls it, a video is a video.
    for kind in ["video/mp4", "application/x-www-form-urlencoded", "text/plain"] {
        post(kind, &video).send().await.expect(201);
    }
    let log_in = client.post("/v1/login").header("content-type", "text/plain");
    log_in.body(json!({"name": "a", "password": "b"}).to_string()).send().await.problem(415);
    let large = json!({"upload": "x".repeat(300 << 10)});
    client.post("/v1/jobs").json(&large).send().await.problem(413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_a_form_come_in_any_order() {
    let (_service, client) = limited().await;
    let video = clip();
    let fields = || [text("label", "a"), file("a.mp4", &video), text("bitrate_kbps", "64")];
    for order in [[0, 1, 2], [1, 0, 2], [2, 0, 1], [1, 2, 0]] {
        let mut fields = fields().map(Some);
        let form = order.map(|at| fields[at].take().unwrap());
        let reply = client.post("/v1/jobs").form(&form).send().await.expect(201);
        let job = reply.json();
        assert_eq!((&job["label"], &job["file_name"]), (&json!("a"), &json!("a.mp4")));
        assert_eq!(job["options"]["bitrate_kbps"], 64);
        id_of(&reply);
    }
    let options = text("options", "{\"label\":\"b\"}");
    let form = [options, Field { name: "video", ..file("b.mp4", &video) }];
    let job = client.post("/v1/jobs").form(&form).send().await.expect(201).json();
    assert_eq!((&job["label"], &job["file_name"]), (&json!("b"), &json!("b.mp4")));
    // Who says what the file is called means it, whatever its part says.
    let named = text("file_name", "c.mp4");
    let in_options = text("options", "{\"file_name\":\"c.mp4\"}");
    let beside_options = [text("options", "{}"), text("file_name", "c.mp4"), file("b.mp4", &video)];
    for form in [&[file("b.mp4", &video), named][..], &[in_options, file("b.mp4", &video)]]
        .into_iter()
        .chain([&beside_options[..]])
    {
        let job = client.post("/v1/jobs").form(form).send().await.expect(201).json();
        assert_eq!(job["file_name"], "c.mp4");
    }
    let query = client.post("/v1/jobs?file_name=c.mp4").form(&[file("b.mp4", &video)]);
    assert_eq!(query.send().await.expect(201).json()["file_name"], "c.mp4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_that_make_no_sense_say_why() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = clip();
    let refused = async |form: &[Field<'_>], status| {
        let field = client.post("/v1/jobs").form(form).send().await.problem(status);
        field.unwrap_or_default()
    };
    assert_eq!(refused(&[text("label", "a")], 400).await, "file");
    assert_eq!(refused(&[], 400).await, "file");
    let a = || file("a.mp4", &video);
    assert_eq!(refused(&[a(), a()], 400).await, "file");
    assert_eq!(refused(&[a(), text("bitrate_kbps", "129")], 422).await, "bitrate_kbps");
    assert_eq!(refused(&[a(), text("bitrat", "128")], 422).await, "bitrat");
    assert_eq!(refused(&[a(), text("label", "a"), text("label", "b")], 422).await, "label");
    let both = [text("options", "{}"), a(), text("label", "a")];
    assert_eq!(refused(&both, 422).await, "label");
    let twice = [text("options", "{}"), a(), text("options", "{\"quality\":9}")];
    assert_eq!(refused(&twice, 422).await, "options");
    let named = text("options", "{\"file_name\":\"a.mp4\"}");
    assert_eq!(refused(&[named, text("file_name", "b.mp4"), a()], 422).await, "file_name");
    let twice = [text("file_name", "a.mp4"), text("file_name", "b.mp4"), a()];
    assert_eq!(refused(&twice, 422).await, "file_name");
    let tags = [a(), text("tags", "x"), text("tag.title", "y")];
    assert_eq!(refused(&tags, 422).await, "tags");
    let with_upload = [a(), text("upload", "0199a0f0-0000-7000-8000-000000000000")];
    assert_eq!(refused(&with_upload, 422).await, "upload");
    let long = "x".repeat(300 << 10);
    assert_eq!(refused(&[text("label", &long), a()], 413).await, "label");
    let many: Vec<Field<'_>> = (0..150).map(|_| text("label", "a")).chain([a()]).collect();
    refused(&many, 413).await;
    assert!(service.files("objects").is_empty(), "{:?}", service.files("objects"));
}

/// An upload counts from its beginning, and once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_exact() {
    let video = clip();
    let quota = video.len().to_string();
    let service = Service::with(&["--quota-bytes", &quota]);
    let client = service.admin().await;
    let begin = |bytes: usize| {
        client.post("/v1/uploads").header("upload-length", &bytes.to_string()).send()
    };
    begin(video.len() + 1).await.problem(429);
    let upload = client.upload(&video).await;
    begin(1).await.problem(429);
    client.post("/v1/jobs").body(video.clone()).send().await.problem(429);
    let job = id_of(&client.submit_upload(&upload).await.expect(201));
    assert_eq!(id_of(&client.submit_upload(&upload).await.expect(200)), job);
    client.finished(&job).await;
    client.delete(format!("/v1/jobs/{job}")).send().await.expect(204);
    client.post("/v1/jobs").body(padded(video.len() + 8)).send().await.problem(429);
    client.post("/v1/jobs").body(video).send().await.expect(201);
}

/// What lasts counts until it is over, for its user alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_are_counted_until_they_are_answered() {
    let service = Service::with(&["--requests-at-once", "2"]);
    let client = service.admin().await;
    let other = service.user("other").await;
    let job = client.submit(&long(), "").await;
    let one = Events::of(&client, &job, None).await;
    let two = Events::of(&client, &job, None).await;
    let refused = client.get("/v1/me").send().await;
    refused.problem(429);
    assert_eq!(refused.number("retry-after"), 1);
    other.get("/v1/me").send().await.expect(200);
    drop(one);
    crate::until("an end of the stream", async || {
        let reply = client.get("/v1/me").send().await;
        (reply.status == 200).then_some(())
    })
    .await;
    drop(two);
    client.delete(format!("/v1/jobs/{job}")).send().await.expect(200);
}

//! Resumable uploads by the protocol tus, by hand: pieces of every size, wrong ones, connections
//! that are cut, a service that is killed.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Client, Reply, Request};
use crate::jobs::{assert_same, clip, convert, id_of, padded};
use crate::ledger::Ledger;
use crate::service::Service;

/// Of the parts that uploads are stored in.
const PART: usize = 8 << 20;
/// Of the upload in these tests: two parts and some.
const LENGTH: usize = 2 * PART + (5 << 20) + 77;

impl Client {
    /// Begins an upload of so many bytes; its name.
    async fn begin(&self, bytes: usize) -> String {
        let request = self.post("/v1/uploads").header("tus-resumable", "1.0.0");
        let reply = request.header("upload-length", &bytes.to_string()).send().await.expect(201);
        assert_eq!(reply.header("tus-resumable"), Some("1.0.0"));
        assert!(reply.header("upload-expires").is_some());
        let location = reply.header("location").expect("where it goes on");
        location.strip_prefix("/v1/uploads/").expect("an upload").to_owned()
    }

    fn append(&self, upload: &str, offset: usize, bytes: &[u8]) -> Request {
        self.patch(format!("/v1/uploads/{upload}"))
            .header("tus-resumable", "1.0.0")
            .header("upload-offset", &offset.to_string())
            .header("content-type", "application/offset+octet-stream")
            .body(bytes.to_vec())
    }

    /// How far an upload is.
    async fn offset(&self, upload: &str) -> usize {
        let look = self.head(format!("/v1/uploads/{upload}")).header("tus-resumable", "1.0.0");
        let reply = look.send().await.expect(200);
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        reply.number("upload-offset") as usize
    }

    /// Uploads a video in one go; the upload.
    pub async fn upload(&self, video: &[u8]) -> String {
        let upload = self.begin(video.len()).await;
        self.append(&upload, 0, video).send().await.expect(204);
        upload
    }

    /// The job of an upload.
    pub async fn submit_upload(&self, upload: &str) -> Reply {
        self.post("/v1/jobs").json(&json!({"upload": upload})).send().await
    }

    /// Submits a finished upload of `video`; checks what becomes of it.
    async fn finish_with(&self, upload: &str, video: &[u8]) {
        let job = id_of(&self.submit_upload(upload).await.expect(201));
        assert_eq!(job, upload);
        let mp3 = self.mp3(&job).await;
        assert_same(&mp3, &convert(video, &[]));
        let job = self.job(&job).await;
        assert_eq!(job["input_blake3"], blake3::hash(video).to_hex().as_str());
        assert_eq!(job["input_bytes"], video.len());
    }
}

/// A request whose body breaks off, or waits.
struct Half(TcpStream);

impl Half {
    /// Promises all of `video` from `from` on and sends it up to `to`.
    async fn send(client: &Client, upload: &str, video: &[u8], from: usize, to: usize) -> Self {
        let mut stream = TcpStream::connect(client.address).await.unwrap();
        let token = client.token.as_deref().unwrap();
        let length = video.len() - from;
        let head = format!(
            "PATCH /v1/uploads/{upload} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Tus-Resumable: 1.0.0\r\nUpload-Offset: {from}\r\nContent-Length: {length}\r\n\
             Content-Type: application/offset+octet-stream\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&video[from..to]).await.unwrap();
        Self(stream)
    }

    /// Sends more; the answer.
    async fn go_on(mut self, bytes: &[u8]) -> String {
        self.0.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_pieces_across_the_borders_of_parts() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = padded(LENGTH);
    let upload = client.begin(video.len()).await;
    let pieces = [1, 4094, 1, 3 << 20, PART - (3 << 20) - 4097, 2, PART, 1 << 20, 0, 1];
    let mut offset = 0;
    for piece in pieces {
        let wrong = client.append(&upload, offset + 1, &video[offset..offset + piece]).send().await;
        assert_eq!(wrong.problem(409).as_deref(), Some("Upload-Offset"));
        let request = client.append(&upload, offset, &video[offset..offset + piece]);
        offset += piece;
        let reply = request.send().await.expect(204);
        assert_eq!(reply.number("upload-offset") as usize, offset);
        assert_eq!(client.offset(&upload).await, offset);
        let early = client.submit_upload(&upload).await;
        assert_eq!(early.problem(409).as_deref(), Some("upload"));
    }
    let too_much = [&video[offset..], b"x"].concat();
    client.append(&upload, offset, &too_much).send().await.problem(413);
    let offset = client.offset(&upload).await;
    client.append(&upload, offset, &video[offset..]).send().await.expect(204);
    // A client that did not hear of its end asks once more.
    let again = client.append(&upload, video.len(), b"").send().await.expect(204);
    assert_eq!(again.number("upload-offset") as usize, video.len());
    client.finish_with(&upload, &video).await;
    assert_eq!(id_of(&client.submit_upload(&upload).await.expect(200)), upload, "once more");
    service.without_uploads().await;
}

/// Exactly so many parts, and one byte less and more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_around_a_part() {
    let service = Service::embedded();
    let client = service.admin().await;
    for length in [PART - 1, PART, PART + 1, 2 * PART] {
        let video = padded(length);
        let upload = client.upload(&video).await;
        client.finish_with(&upload, &video).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_checksum_leaves_the_offset() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = padded(LENGTH);
    let upload = client.begin(video.len()).await;
    let with = |offset: usize, to: usize, checksum: &str| {
        client.append(&upload, offset, &video[offset..to]).header("upload-checksum", checksum)
    };
    let sum = |algorithm, name: &str, bytes: &[u8]| {
        format!("{name} {}", BASE64_STANDARD.encode(digest(algorithm, bytes).as_ref()))
    };
    let other = sum(&SHA1_FOR_LEGACY_USE_ONLY, "sha1", b"other");
    for to in [5000, PART + 5000, 2 * PART + 5000] {
        with(0, to, &other).send().await.problem(460);
        assert_eq!(client.offset(&upload).await, 0);
    }
    for wrong in ["sha1", "md5 1B2M2Y8AsgTpgAmY7PhCfg==", "sha1 !!!!", "sha256 AAAA"] {
        with(0, 5000, wrong).send().await.problem(400);
    }
    let to = PART + 5000;
    let right = sum(&SHA1_FOR_LEGACY_USE_ONLY, "sha1", &video[..to]);
    with(0, to, &right).send().await.expect(204);
    with(to, LENGTH, &other).send().await.problem(460);
    assert_eq!(client.offset(&upload).await, to);
    with(to, LENGTH, &sum(&SHA256, "sha256", &video[to..])).send().await.expect(204);
    client.finish_with(&upload, &video).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_keeps_what_came() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = padded(LENGTH);
    let upload = client.begin(video.len()).await;
    let mut offset = 0;
    for to in [3000, 4 << 20, PART + 100, 2 * PART] {
        drop(Half::send(&client, &upload, &video, offset, to).await);
        crate::until("what came", async || (client.offset(&upload).await == to).then_some(()))
            .await;
        offset = to;
        // The request that broke off lets go a moment later.
        let free = async || {
            let reply = client.append(&upload, offset, b"").send().await;
            (reply.status != 423).then_some(reply)
        };
        crate::until("its turn", free).await.expect(204);
    }
    client.append(&upload, offset, &video[offset..]).send().await.expect(204);
    client.finish_with(&upload, &video).await;
    service.without_uploads().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_service_goes_on_where_it_was() {
    let mut service = Service::embedded();
    let client = service.admin().await;
    let video = padded(LENGTH);
    let upload = client.begin(video.len()).await;
    client.append(&upload, 0, &video[..5000]).send().await.expect(204);
    let half = Half::send(&client, &upload, &video, 5000, PART + (2 << 20)).await;
    crate::until("the first part", async || (client.offset(&upload).await >= PART).then_some(()))
        .await;
    service.restart();
    drop(half);
    let client = Client { address: service.address, ..client };
    let offset = client.offset(&upload).await;
    assert!((PART..=PART + (2 << 20)).contains(&offset), "{offset}");
    // The dead may keep others out for a minute, which is over.
    let mut ledger = Ledger::of(&service).await;
    let minute = "UPDATE uploads SET writer_until_ms = writer_until_ms - 60000";
    assert_eq!(ledger.change(minute, &[]).await, 1);
    client.append(&upload, offset, &video[offset..]).send().await.expect(204);
    client.finish_with(&upload, &video).await;
    service.without_uploads().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_writes_at_a_time() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = clip();
    let upload = client.begin(video.len()).await;
    let half = Half::send(&client, &upload, &video, 0, 5000).await;
    let mut ledger = Ledger::of(&service).await;
    let at_work = "SELECT COUNT(*) FROM uploads WHERE writer IS NOT NULL";
    let begun = async || (ledger.number(at_work).await == 1).then_some(());
    crate::until("the first request at work", begun).await;
    client.append(&upload, 0, b"").send().await.problem(423);
    client.append(&upload, 0, &video).send().await.problem(423);
    let answer = half.go_on(&video[5000..]).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    client.finish_with(&upload, &video).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_or_no_media_is_gone() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = padded(PART + 100);
    let upload = client.begin(video.len()).await;
    client.append(&upload, 0, &video[..PART + 50]).send().await.expect(204);
    client.delete(format!("/v1/uploads/{upload}")).send().await.expect(204);
    assert_eq!(client.head(format!("/v1/uploads/{upload}")).send().await.status, 404);
    client.append(&upload, PART + 50, &video[PART + 50..]).send().await.problem(404);
    client.delete(format!("/v1/uploads/{upload}")).send().await.problem(404);
    assert_eq!(client.submit_upload(&upload).await.problem(404).as_deref(), Some("upload"));
    assert!(service.files("objects").is_empty() && service.files("unfinished").is_empty());

    let text = b"hello, world\n".repeat(1000);
    let upload = client.begin(text.len()).await;
    client.append(&upload, 0, &text[..100]).send().await.expect(204);
    client.append(&upload, 100, &text[100..]).send().await.problem(415);
    assert_eq!(client.offset(&upload).await, 100);
    client.submit_upload(&upload).await.problem(409);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_make_no_sense_say_why() {
    let service = Service::embedded();
    let client = service.admin().await;
    let begin = |name: &str, value: &str| client.post("/v1/uploads").header(name, value).send();
    assert_eq!(begin("x", "y").await.problem(400).as_deref(), Some("Upload-Length"));
    for length in ["0", "-1", "+5", "", "x", "18446744073709551616"] {
        let refused = begin("upload-length", length).await;
        assert_eq!(refused.problem(400).as_deref(), Some("Upload-Length"), "{length:?}");
    }
    begin("upload-length", "18446744073709551615").await.problem(413);
    begin("tus-resumable", "0.2.2").await.problem(412);
    let with = client.post("/v1/uploads").header("upload-length", "5");
    with.header("upload-metadata", "filename a.mp4").send().await.problem(400);

    let name = format!("filename {},x", BASE64_STANDARD.encode("../Gr\u{fc}\u{df}e.mp4"));
    let request = client.post("/v1/uploads").header("upload-metadata", &name);
    let video = clip();
    let reply = request.header("upload-length", &video.len().to_string()).send().await.expect(201);
    let path = reply.header("location").unwrap().to_owned();
    let reply = client.head(&path).send().await.expect(200);
    assert_eq!(reply.header("upload-metadata"), Some(name.as_str()));
    assert_eq!(reply.number("upload-length") as usize, video.len());
    let upload = path.strip_prefix("/v1/uploads/").unwrap();
    client.patch(&path).header("upload-offset", "0").body("x").send().await.problem(415);
    let kind = ("content-type", "application/offset+octet-stream");
    client.patch(&path).header(kind.0, kind.1).body("x").send().await.problem(400);
    client.append(upload, 0, &video).send().await.expect(204);
    let job = client.submit_upload(upload).await.expect(201).json();
    assert_eq!(job["file_name"], "Gr\u{fc}\u{df}e.mp4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_of_others_do_not_exist() {
    let service = Service::embedded();
    let (owner, stranger) = (service.admin().await, service.user("eve").await);
    let video = clip();
    let upload = owner.begin(video.len()).await;
    owner.append(&upload, 0, &video[..100]).send().await.expect(204);
    let none = uuid::Uuid::now_v7().to_string();
    let asked = async |upload: &str| {
        let path = format!("/v1/uploads/{upload}");
        let replies = [
            stranger.append(upload, 100, &video[100..]).send().await,
            stranger.append(upload, 0, &video).send().await,
            stranger.head(&path).send().await,
            stranger.delete(&path).send().await,
            stranger.submit_upload(upload).await,
        ];
        replies.map(|reply| (reply.status, reply.text()))
    };
    let theirs = asked(&upload).await;
    assert_eq!(theirs, asked(&none).await);
    assert!(theirs.iter().all(|(status, _)| *status == 404), "{theirs:?}");
    owner.append(&upload, 100, &video[100..]).send().await.expect(204);
    assert_eq!(stranger.submit_upload(&upload).await.status, 404);
    owner.finish_with(&upload, &video).await;
}

/// What nobody goes on with goes when its time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_expire() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = padded(PART + 100);
    let upload = client.begin(video.len()).await;
    client.append(&upload, 0, &video[..PART + 50]).send().await.expect(204);
    let usage = async || client.get("/v1/me").send().await.expect(200).json()["usage"].clone();
    assert_eq!(usage().await["stored_bytes"], video.len());
    let mut ledger = Ledger::of(&service).await;
    assert_eq!(ledger.change("UPDATE uploads SET expires_ms = 1", &[]).await, 1);
    client.append(&upload, PART + 50, b"x").send().await.problem(404);
    crate::until("nothing of it", async || {
        let files = [service.files("objects"), service.files("unfinished")].concat();
        (files.is_empty() && usage().await["stored_bytes"] == 0).then_some(())
    })
    .await;
}

//! What only S3 can do, and the suite against real servers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonemill_job::objects::{
    ObjectStore, S3Checksums, S3Config, S3Credentials, S3Store, StoreErrorKind,
};
use tonemill_testbed::s3::S3Server;

use super::content::{PART, assert_has, eventually, kind, new_key, noise, put};
use super::servers::config;
use super::suite::{self, Abilities};

async fn store(server: &S3Server) -> S3Store {
    S3Store::new(config(server)).await.unwrap()
}

#[tokio::test]
async fn s3s_fs() {
    let server = S3Server::start();
    let abilities = Abilities {
        never_overwrites: true,
        lists_unfinished: false,
        knows_unfinished: false,
        checksum_bytes: Some(PART),
    };
    let (one, other) = (store(&server).await, store(&server).await);
    suite::run(Arc::new(one), Arc::new(other), abilities).await;
}

#[tokio::test]
#[ignore = "needs Garage, which takes long to build: make test-garage"]
async fn garage() {
    let server = S3Server::start_garage();
    let abilities = Abilities {
        never_overwrites: false,
        lists_unfinished: true,
        knows_unfinished: true,
        checksum_bytes: Some(usize::MAX),
    };
    let (one, other) = (store(&server).await, store(&server).await);
    a_part_that_was_replaced(&one).await;
    suite::run(Arc::new(one), Arc::new(other), abilities).await;
}

/// Its tag is void, and a store that looks at tags says so.
async fn a_part_that_was_replaced(store: &S3Store) {
    let (key, bytes) = (new_key(), noise(1_000, 1));
    let id = store.begin_parts(&key, "video/mp4").await.unwrap();
    let void = store.put_part(&key, &id, 1, noise(1_000, 2)).await.unwrap();
    let tag = store.put_part(&key, &id, 1, bytes.clone()).await.unwrap();
    let result = store.finish_parts(&key, &id, &[void], 1_000).await;
    assert_eq!(kind(result), Some(StoreErrorKind::Corrupt));
    store.finish_parts(&key, &id, &[tag], 1_000).await.unwrap();
    assert_has(store, &key, &bytes).await;
}

#[tokio::test]
async fn s3s_fs_without_checksums() {
    let server = S3Server::start();
    let config = S3Config { checksums: S3Checksums::WhenRequired, ..config(&server) };
    let store = S3Store::new(config).await.unwrap();
    for length in [100, 2 * PART] {
        let (key, bytes) = (new_key(), noise(length, 1));
        put(&store, &key, &bytes, 10).await.unwrap();
        assert_has(&store, &key, &bytes).await;
        assert_eq!(store.head(&key).await.unwrap().checksum, None);
    }
    let (key, bytes) = (new_key(), noise(100, 1));
    let id = store.begin_parts(&key, "video/mp4").await.unwrap();
    let part = store.put_part(&key, &id, 1, bytes.clone()).await.unwrap();
    store.finish_parts(&key, &id, &[part], 100).await.unwrap();
    assert_has(&store, &key, &bytes).await;
}

#[tokio::test]
async fn no_secret_is_printed() {
    let server = S3Server::start();
    let printed = format!("{:?}", store(&server).await);
    assert!(printed.contains(&server.endpoint) && !printed.contains(&server.secret_access_key));
}

#[tokio::test]
async fn authorities_must_be_readable() {
    let server = S3Server::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().to_owned(), file.path().join("missing")] {
        let config = S3Config { ca_file: Some(path), ..config(&server) };
        assert_eq!(kind(S3Store::new(config).await), Some(StoreErrorKind::Denied));
    }
}

#[tokio::test]
async fn uploads_that_end_early_leave_no_parts() {
    let server = S3Server::start();
    let store = store(&server).await;
    // s3s-fs lists no uploads, but its files do.
    let parts = || {
        let names = std::fs::read_dir(server.folder()).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".upload")).count()
    };
    for is_aborted in [true, false] {
        let mut upload = store.create(&new_key(), "audio/mpeg", 0).await.unwrap();
        upload.write(noise(4 * PART, 1)).await.unwrap();
        eventually("parts are stored", async || parts() > 0).await;
        if is_aborted {
            upload.abort().await.unwrap();
            assert_eq!(parts(), 0);
        } else {
            drop(upload);
            eventually("parts are removed", async || parts() == 0).await;
        }
    }
}

#[tokio::test]
async fn strangers_are_denied() {
    let server = S3Server::start();
    let right = config(&server);
    let credentials = S3Credentials::Static {
        access_key_id: server.access_key_id.clone(),
        secret_access_key: "wrong".to_owned(),
        session_token: None,
    };
    let wrong_secret = S3Config { credentials, ..right.clone() };
    let wrong_bucket = S3Config { bucket: "missing".to_owned(), ..right };
    for config in [wrong_secret, wrong_bucket] {
        let store = S3Store::new(config).await.unwrap();
        let denied = Some(StoreErrorKind::Denied);
        assert_eq!(kind(store.check().await), denied);
        assert_eq!(kind(store.list("", None, 1).await), denied);
    }
}

#[tokio::test]
async fn addresses_let_anyone_download() {
    let server = S3Server::start();
    let store = store(&server).await;
    let (key, bytes) = (new_key(), noise(1_000, 1));
    put(&store, &key, &bytes, 0).await.unwrap();
    let valid = Duration::from_mins(1);
    let url = store.presign_get(&key, "Tä\r\ng \"1\".mp3", valid).await.unwrap().unwrap();
    let (status, headers, body) = http("GET", &url, b"").await;
    assert_eq!((status, body), (200, bytes));
    let saved_as = "attachment; filename=\"T_g 1.mp3\"; filename*=UTF-8''T%C3%A4g%201.mp3";
    assert!(headers.contains(&format!("content-disposition: {saved_as}\r\n")), "{headers}");

    let tampered = url.replace("X-Amz-Expires=60", "X-Amz-Expires=600");
    assert_ne!(tampered, url);
    assert_eq!(http("GET", &tampered, b"").await.0, 403);
    let too_long = store.presign_get(&key, "a", Duration::from_hours(24 * 8)).await;
    assert_eq!(kind(too_long), Some(StoreErrorKind::Invalid));
}

#[tokio::test]
async fn addresses_let_anyone_upload_so_many_bytes() {
    let server = S3Server::start();
    let store = store(&server).await;
    let (key, bytes) = (new_key(), noise(1_000, 1));
    let valid = Duration::from_mins(1);
    let url = store.presign_put(&key, 1_000, valid).await.unwrap().unwrap();
    for wrong in [&bytes[..999], &noise(1_001, 1)] {
        assert_eq!(http("PUT", &url, wrong).await.0, 403);
        assert_eq!(kind(store.head(&key).await), Some(StoreErrorKind::NotFound));
    }
    assert_eq!(http("PUT", &url, &bytes).await.0, 200);
    assert_has(&store, &key, &bytes).await;
    let too_long = store.presign_put(&key, (5 << 30) + 1, valid).await;
    assert_eq!(kind(too_long), Some(StoreErrorKind::Invalid));
}

/// What a browser would do: status, headers and body.
async fn http(method: &str, url: &str, body: &[u8]) -> (u16, String, Bytes) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, Bytes::from(answer.split_off(end + 4)))
}

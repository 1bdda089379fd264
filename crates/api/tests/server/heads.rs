//! Request heads: slow, late, large.

use std::time::{Duration, Instant};

use axum::body::Body;
use tokio::time::sleep;
use tonemill_api::server::ServerConfig;

use crate::client::{Http2, Raw, within};
use crate::host::Host;

const HEADER: Duration = Duration::from_millis(300);
const IDLE: Duration = Duration::from_millis(900);
const DRIBBLE: Duration = Duration::from_millis(20);

fn config() -> ServerConfig {
    ServerConfig { header_timeout: HEADER, idle_timeout: IDLE, ..ServerConfig::default() }
}

#[tokio::test]
async fn a_slow_head_is_cut() {
    let host = Host::start(config()).await;
    for start in ["", "GET / HTTP/1.1\r\nHost: x\r\nA: ", "PRI * HTTP/2.0\r\n"] {
        let mut client = Raw::connect(host.address).await;
        let began = Instant::now();
        client.send(start).await;
        assert_eq!(client.dribble(b"", HEADER).await, "", "{start:?}, then nothing");
        assert!(began.elapsed() >= HEADER, "{start:?}: {:?}", began.elapsed());
    }
    for (start, rest) in [("GET / HTTP/1.1\r\nHost: x\r\nA: ", "b"), ("\r\n", "\r\n")] {
        let mut client = Raw::connect(host.address).await;
        let began = Instant::now();
        client.send(start).await;
        assert_eq!(client.dribble(rest.as_bytes(), DRIBBLE).await, "", "{start:?}, then slowly");
        assert!(began.elapsed() >= HEADER, "{start:?}: {:?}", began.elapsed());
    }
    host.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_later_than_a_slow_head() {
    let host = Host::start(config()).await;
    let mut client = Raw::connect(host.address).await;
    client.get("/").await;
    client.read_until("hello").await;
    let began = Instant::now();
    assert_eq!(client.read_to_end().await, "");
    assert!(began.elapsed() > 2 * HEADER, "{:?}", began.elapsed());

    let mut client = Raw::connect(host.address).await;
    client.get("/").await;
    client.read_until("hello").await;
    let began = Instant::now();
    assert_eq!(client.dribble(b"G", DRIBBLE).await, "", "its second head is slow");
    assert!(began.elapsed() < IDLE, "{:?}", began.elapsed());
    host.stop().await;
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_to_go() {
    let host = Host::start(config()).await;
    let client = Http2::connect(host.address).await;
    assert_eq!(client.ask("/", Body::empty()).await.expect("an answer").1, "hello");
    let began = Instant::now();
    within(client.ended).await.expect("no panic").expect("GOAWAY without an error");
    assert!(began.elapsed() > 2 * HEADER, "{:?}", began.elapsed());
    host.stop().await;
}

#[tokio::test]
async fn http2_without_a_request_is_cut() {
    let host = Host::start(config()).await;
    let client = Http2::connect(host.address).await;
    let began = Instant::now();
    let _how = within(client.ended).await.expect("no panic");
    assert!(began.elapsed() < IDLE, "{:?}", began.elapsed());
    host.stop().await;
}

#[tokio::test]
async fn a_head_too_large_is_answered_431() {
    let host = Host::start(ServerConfig::default()).await;
    let line = |name: usize, bytes: usize| format!("x{name}: {}\r\n", "y".repeat(bytes));
    let cases = [
        // At the limit, which the `Host` counts for, and one past it.
        ((0..99).map(|name| line(name, 1)).collect::<String>(), "200"),
        ((0..100).map(|name| line(name, 1)).collect(), "431"),
        (line(0, 30 * 1024), "200"),
        (line(0, 33 * 1024), "431"),
    ];
    for (lines, status) in cases {
        let mut client = Raw::connect(host.address).await;
        let bytes = lines.len();
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        client.send(head).await;
        let answer = client.read_until("\r\n").await;
        assert!(answer.contains(status), "{bytes} bytes: {answer}");
    }
    host.stop().await;
}

#[tokio::test]
async fn an_answer_before_all_is_sent_can_be_read() {
    let host = Host::start(ServerConfig::default()).await;
    let mut client = Raw::connect(host.address).await;
    client.send(format!("GET / HTTP/1.1\r\nA: {}", "y".repeat(40_000))).await;
    client.stream.readable().await.expect("an answer");
    // As a browser does: all of it, before it looks at the answer.
    for _ in 0..10 {
        client.send("y".repeat(40_000)).await;
        sleep(DRIBBLE).await;
    }
    assert!(client.read_to_end().await.starts_with("HTTP/1.1 431 "));
    host.stop().await;
}

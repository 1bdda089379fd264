//! Request bodies: slow, silent, and held back by ourselves.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use tokio::time::{interval, sleep};
use tonemill_api::server::{BodyRate, ServerConfig};

use crate::client::{Http2, Raw, until};
use crate::host::{Host, Stage};

const MB: usize = 1 << 20;

/// 1,000 bytes per second, behind by so much.
fn config(window: Duration) -> ServerConfig {
    let bytes_per_second = NonZeroU32::new(1000).expect("not zero");
    ServerConfig { body_rate: BodyRate { bytes_per_second, window }, ..ServerConfig::default() }
}

#[tokio::test]
async fn a_silent_body_and_a_slow_one_are_answered_408_and_closed() {
    let window = Duration::from_millis(300);
    let host = Host::start(config(window)).await;
    for dribble in ["", "x"] {
        let mut client = Raw::connect(host.address).await;
        client.post("/read", MB).await;
        let began = Instant::now();
        let answer = client.dribble(dribble.as_bytes(), Duration::from_millis(50)).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("connection: close") && answer.ends_with("slow"), "{answer}");
        assert!(began.elapsed() >= window, "{:?}", began.elapsed());
    }
    assert_eq!(host.stage.slow.load(Ordering::SeqCst), 2);
    host.stop().await;
}

#[tokio::test]
async fn a_chunked_body_is_not_told_from_others() {
    let host = Host::start(config(Duration::from_millis(300))).await;
    let mut client = Raw::connect(host.address).await;
    client.send("POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // Bytes that are none of the body.
    let answer = client.dribble(b"0", Duration::from_millis(50)).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    host.stop().await;
}

#[tokio::test]
async fn a_steady_body_just_above_the_rate_passes() {
    let host = Host::start(config(Duration::from_secs(1))).await;
    let mut client = Raw::connect(host.address).await;
    // 1,200 bytes per second, for longer than it may fall behind.
    let (times, bytes) = (50, 60);
    client.post("/read", times * bytes).await;
    let mut pace = interval(Duration::from_millis(50));
    for _ in 0..times {
        pace.tick().await;
        client.send(vec![b'x'; bytes]).await;
    }
    assert!(client.read_until("\r\n").await.contains("200"));
    host.stop().await;
}

#[tokio::test]
async fn what_the_handler_waits_for_is_not_the_clients_fault() {
    let window = Duration::from_millis(300);
    let stage = Stage { pause: 3 * window, ..Stage::default() };
    let host = Host::start_with(config(window), stage, Duration::ZERO).await;
    let mut client = Raw::connect(host.address).await;
    client.post("/pause", 20 * MB).await;
    client.send(vec![b'x'; 20 * MB]).await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client.read_until(&(20 * MB).to_string()).await;
    // And the connection goes on.
    client.get("/").await;
    client.read_until("hello").await;

    let client = Http2::connect(host.address).await;
    let body = Body::from(vec![b'x'; 20 * MB]);
    let answer = client.ask("/pause", body).await.expect("an answer");
    assert_eq!(answer, (StatusCode::OK, (20 * MB).to_string()));
    host.stop().await;
}

/// A body that sends nothing, and does not end.
fn silent() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>())
}

#[tokio::test]
async fn a_slow_http2_stream_ends_alone() {
    let window = Duration::from_millis(300);
    let host = Host::start(config(window)).await;
    let client = Http2::connect(host.address).await;
    let (slow, waiting) = tokio::join!(client.ask("/read", silent()), async {
        let waiting = client.ask("/wait", Body::empty());
        let opening = async {
            until(|| host.stage.slow.load(Ordering::SeqCst) == 1).await;
            host.stage.gate.send_replace(true);
        };
        tokio::join!(waiting, opening).0
    });
    assert_eq!(slow.expect("an answer"), (StatusCode::REQUEST_TIMEOUT, "slow".to_owned()));
    assert_eq!(waiting.expect("an answer").1, "waited");
    host.stop().await;
}

#[tokio::test]
async fn a_body_that_others_leave_no_window_is_not_slow() {
    let window = Duration::from_secs(1);
    let host = Host::start(config(window)).await;
    let client = Http2::connect(host.address).await;
    let held = || client.ask("/hold", Body::from(vec![b'x'; MB]));
    let (held, (answer, waited)) = tokio::join!(
        async { tokio::join!(held(), held(), held(), held(), held(), held()) },
        async {
            until(|| host.stage.waiting.load(Ordering::SeqCst) == 6).await;
            let began = Instant::now();
            let reading = client.ask("/read", Body::from(vec![b'x'; MB]));
            let opening = async {
                sleep(2 * window).await;
                host.stage.gate.send_replace(true);
            };
            let (answer, ()) = tokio::join!(reading, opening);
            (answer, began.elapsed())
        }
    );
    assert_eq!(answer.expect("an answer"), (StatusCode::OK, MB.to_string()));
    assert!(waited >= 2 * window, "it was not held up at all: {waited:?}");
    let answers = [held.0, held.1, held.2, held.3, held.4, held.5];
    for answer in answers {
        assert_eq!(answer.expect("an answer"), (StatusCode::OK, MB.to_string()));
    }
    assert_eq!(host.stage.slow.load(Ordering::SeqCst), 0);
    host.stop().await;
}

//! Answers: not taken, taken slowly, and with nothing to take.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use tokio::io::AsyncReadExt;
use tokio::time::{interval, sleep};
use tonemill_api::server::ServerConfig;

use crate::client::{Http2, Raw, until, within};
use crate::host::{Host, PIECE};

const STALL: Duration = Duration::from_millis(400);

fn config() -> ServerConfig {
    ServerConfig { write_stall: STALL, ..ServerConfig::default() }
}

#[tokio::test]
async fn who_takes_nothing_is_cut_and_who_is_sent_nothing_is_not() {
    let host = Host::start(config()).await;
    let gone = || host.stage.gone.load(Ordering::SeqCst);
    let mut events = Raw::connect(host.address).await;
    events.get("/events").await;
    events.read_until("line 0\n").await;
    for cut in 1..=2 {
        let mut client = Raw::connect(host.address).await;
        let began = Instant::now();
        client.get("/flood").await;
        until(|| gone() == cut).await;
        assert!(began.elapsed() >= STALL, "{:?}", began.elapsed());
    }
    // That took more than twice the time.
    host.stage.gate.send_replace(true);
    events.read_until("line 1\n").await;
    host.stop().await;
}

#[tokio::test]
async fn who_takes_a_little_at_a_time_is_not_cut() {
    let host = Host::start(config()).await;
    let mut client = Raw::connect_from("127.0.0.1", host.address, Some(32 * 1024)).await;
    client.get("/flood").await;
    let mut pace = interval(STALL / 16);
    let mut some = vec![0; 32 * 1024];
    let began = Instant::now();
    while began.elapsed() < 5 * STALL {
        pace.tick().await;
        assert!(within(client.stream.read(&mut some)).await.expect("it goes on") > 0);
    }
    assert_eq!(host.stage.gone.load(Ordering::SeqCst), 0);
    drop(client);
    until(|| host.stage.gone.load(Ordering::SeqCst) == 1).await;
    host.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_still_taken_is_not_an_idle_connection() {
    let limit = STALL / 2;
    let config = ServerConfig { idle_timeout: limit, header_timeout: limit, ..config() };
    let host = Host::start(config).await;
    let mut client = Raw::connect_from("127.0.0.1", host.address, Some(32 * 1024)).await;
    client.get("/large").await;
    client.read_until("\r\n\r\n").await;
    let mut pace = interval(STALL / 40);
    let (mut some, mut bytes) = (vec![0; 32 * 1024], 0);
    while bytes < PIECE.len() {
        pace.tick().await;
        bytes += within(client.stream.read_exact(&mut some)).await.expect("it goes on");
    }
    assert_eq!(client.read_to_end().await, "", "idle by now");
    host.stop().await;
}

#[tokio::test]
async fn an_http2_stream_that_is_not_taken_ends_alone() {
    let host = Host::start(config()).await;
    let gone = || host.stage.gone.load(Ordering::SeqCst);
    let client = Http2::connect(host.address).await;
    let mut send = client.send.clone();
    let get =
        |path| Request::get(format!("http://x{path}")).body(Body::empty()).expect("a request");
    let events = within(send.send_request(get("/events"))).await.expect("an answer");
    let mut events = Body::new(events.into_body()).into_data_stream();
    let first = within(futures_util::StreamExt::next(&mut events)).await.expect("a line");
    assert_eq!(first.expect("no error"), "line 0\n");
    for cut in 1..=2 {
        let began = Instant::now();
        let flood = within(send.send_request(get("/flood"))).await.expect("an answer");
        until(|| gone() == cut).await;
        assert!(began.elapsed() >= STALL, "{:?}", began.elapsed());
        drop(flood);
    }
    host.stage.gate.send_replace(true);
    let second = within(futures_util::StreamExt::next(&mut events)).await.expect("a line");
    assert_eq!(second.expect("no error"), "line 1\n");
    assert_eq!(client.ask("/", Body::empty()).await.expect("an answer").1, "hello");
    host.stop().await;
}

#[tokio::test]
async fn an_http2_stream_that_is_taken_slowly_goes_on() {
    let host = Host::start(config()).await;
    let client = Http2::connect(host.address).await;
    let request = Request::get("http://x/flood").body(Body::empty()).expect("a request");
    let flood = within(client.send.clone().send_request(request)).await.expect("an answer");
    let mut flood = Body::new(flood.into_body()).into_data_stream();
    let began = Instant::now();
    while began.elapsed() < 5 * STALL {
        let piece = within(futures_util::StreamExt::next(&mut flood)).await.expect("no end");
        piece.expect("no reset");
        sleep(STALL / 40).await;
    }
    assert_eq!(host.stage.gone.load(Ordering::SeqCst), 0);
    drop((flood, client));
    host.stop().await;
}

#[tokio::test]
async fn a_handler_goes_with_its_client() {
    let host = Host::start(config()).await;
    let mut client = Raw::connect(host.address).await;
    client.get("/wait").await;
    until(|| host.stage.waiting.load(Ordering::SeqCst) == 1).await;
    drop(client);
    until(|| host.stage.gone.load(Ordering::SeqCst) == 1).await;
    host.stop().await;
}

//! The end: in good form, and by force.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use tokio::net::TcpStream;
use tonemill_api::server::ServerConfig;

use crate::client::{Http2, Raw, until};
use crate::host::{Host, Stage};

const GRACE: Duration = Duration::from_secs(25);

#[tokio::test]
async fn what_runs_is_finished_and_nobody_new_is_served() {
    let host = Host::start_with(ServerConfig::default(), Stage::default(), GRACE).await;
    let (address, stage) = (host.address, host.stage.clone());
    let mut idle = Raw::connect(address).await;
    idle.get("/").await;
    idle.read_until("hello").await;
    let mut silent = Raw::connect(address).await;
    let mut running = Raw::connect(address).await;
    running.get("/wait").await;
    let http2 = Http2::connect(address).await;
    let (answer, ()) = tokio::join!(http2.ask("/wait", Body::empty()), async {
        until(|| stage.waiting.load(Ordering::SeqCst) == 2).await;
        host.shutdown.cancel();
        // Who has asked for nothing is sent away; then the port is closed as well.
        assert_eq!(idle.read_to_end().await, "");
        assert_eq!(silent.read_to_end().await, "");
        assert!(TcpStream::connect(address).await.is_err());
        stage.gate.send_replace(true);
        let began = Instant::now();
        running.read_until("waited").await;
        assert_eq!(running.read_to_end().await, "");
        drop((idle, silent, running));
        host.ended().await;
        assert!(began.elapsed() < GRACE / 2, "{:?}", began.elapsed());
    });
    assert_eq!(answer.expect("an answer").1, "waited");
}

#[tokio::test]
async fn what_does_not_end_is_dropped() {
    let grace = Duration::from_millis(300);
    let host = Host::start_with(ServerConfig::default(), Stage::default(), grace).await;
    let stage = host.stage.clone();
    let mut client = Raw::connect(host.address).await;
    client.get("/wait").await;
    let http2 = Http2::connect(host.address).await;
    let (answer, ()) = tokio::join!(http2.ask("/wait", Body::empty()), async {
        until(|| stage.waiting.load(Ordering::SeqCst) == 2).await;
        let began = Instant::now();
        host.shutdown.cancel();
        host.ended().await;
        assert!(began.elapsed() >= grace, "{:?}", began.elapsed());
        // Gone when it returns, not soon after.
        assert_eq!(stage.gone.load(Ordering::SeqCst), 2);
        assert_eq!(client.read_to_end().await, "");
    });
    assert!(answer.is_err());
}

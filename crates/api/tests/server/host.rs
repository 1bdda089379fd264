//! A server to test, and the routes it serves.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use http_body::Frame;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonemill_api::server::{BodyTooSlow, ClientAddress, ServerConfig, serve};

use crate::client::within;

/// What the handlers of one server share with its test.
#[derive(Clone, Default)]
pub struct Stage {
    /// Opens whatever waits.
    pub gate: Arc<watch::Sender<bool>>,
    /// Handlers and bodies that came to wait there.
    pub waiting: Arc<AtomicUsize>,
    /// Handlers and bodies of theirs that are gone.
    pub gone: Arc<AtomicUsize>,
    /// Bodies that were too slow.
    pub slow: Arc<AtomicUsize>,
    /// How long `/pause` does not read.
    pub pause: Duration,
}

impl Stage {
    async fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut gate = self.gate.subscribe();
        gate.wait_for(|open| *open).await.expect("the test holds it");
    }
}

/// Counts what is gone.
struct Gone(Arc<AtomicUsize>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub struct Host {
    pub address: SocketAddr,
    pub stage: Stage,
    pub shutdown: CancellationToken,
    running: JoinHandle<io::Result<()>>,
}

impl Host {
    pub async fn start(config: ServerConfig) -> Self {
        Self::start_with(config, Stage::default(), Duration::ZERO).await
    }

    pub async fn start_with(config: ServerConfig, stage: Stage, grace: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shutdown = CancellationToken::new();
        let routes = routes(stage.clone());
        let running = tokio::spawn(serve(listener, routes, config, shutdown.clone(), grace));
        Self { address, stage, shutdown, running }
    }

    /// It has returned by itself, after a shutdown.
    pub async fn ended(self) {
        within(self.running).await.expect("no panic").expect("no error");
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await;
    }
}

fn routes(stage: Stage) -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/address", get(address))
        .route("/read", post(read))
        .route("/pause", post(pause))
        .route("/hold", post(hold))
        .route("/wait", get(wait))
        .route("/flood", get(flood))
        .route("/large", get(|| async { PIECE.as_slice() }))
        .route("/events", get(events))
        .with_state(stage)
}

async fn address(Extension(ClientAddress(address)): Extension<ClientAddress>) -> String {
    address.to_string()
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, axum::Error>> {
    std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(body), cx)).await
}

/// Says how long the body is.
async fn read(State(stage): State<Stage>, request: Request<Body>) -> (StatusCode, String) {
    read_rest(&stage, request.into_body()).await
}

async fn read_rest(stage: &Stage, mut body: Body) -> (StatusCode, String) {
    let mut bytes = 0;
    while let Some(frame) = next(&mut body).await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Err(error) if BodyTooSlow::is_cause_of(&error) => {
                stage.slow.fetch_add(1, Ordering::SeqCst);
                return (StatusCode::REQUEST_TIMEOUT, "slow".to_owned());
            }
            Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()),
        }
    }
    (StatusCode::OK, bytes.to_string())
}

/// The same, after a while.
async fn pause(State(stage): State<Stage>, request: Request<Body>) -> (StatusCode, String) {
    let mut body = request.into_body();
    let first = next(&mut body).await.expect("a frame").expect("no error");
    sleep(stage.pause).await;
    let (status, rest) = read_rest(&stage, body).await;
    let rest: usize = rest.parse().unwrap_or_default();
    (status, (first.data_ref().map_or(0, Bytes::len) + rest).to_string())
}

/// The same, when the gate opens.
async fn hold(State(stage): State<Stage>, request: Request<Body>) -> (StatusCode, String) {
    stage.wait().await;
    read_rest(&stage, request.into_body()).await
}

async fn wait(State(stage): State<Stage>) -> &'static str {
    let _gone = Gone(stage.gone.clone());
    stage.wait().await;
    "waited"
}

/// What the large answers are made of, in one piece.
pub static PIECE: [u8; 4 << 20] = [0; 4 << 20];

/// An answer without an end.
struct Flood(#[expect(dead_code, reason = "it counts when it is dropped")] Gone);

impl http_body::Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE)))))
    }
}

async fn flood(State(stage): State<Stage>) -> Body {
    Body::new(Flood(Gone(stage.gone)))
}

/// Two lines, and nothing between them until the gate opens.
async fn events(State(stage): State<Stage>) -> Body {
    let gone = Gone(stage.gone.clone());
    let stages = futures_util::stream::unfold((0, stage, gone), |(line, stage, gone)| async move {
        match line {
            0 => {}
            1 => stage.wait().await,
            _ => return None,
        }
        Some((Ok::<_, Infallible>(format!("line {line}\n")), (line + 1, stage, gone)))
    });
    Body::from_stream(stages)
}

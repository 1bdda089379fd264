//! Clients: well-behaved ones by hyper, the others by hand.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, Version};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Nothing here takes nearly as long, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it takes far too long")
}

/// Waits until it is so.
pub async fn until(so: impl Fn() -> bool) {
    within(async {
        while !so() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A connection whose bytes the test writes itself.
pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    pub async fn connect(server: SocketAddr) -> Self {
        Self { stream: within(TcpStream::connect(server)).await.expect("a connection") }
    }

    /// From another address of this machine, or with a receive buffer of so many bytes.
    pub async fn connect_from(source: &str, server: SocketAddr, buffer: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{source}:0").parse().expect("an address")).expect("it is ours");
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes).expect("a size");
        }
        Self { stream: within(socket.connect(server)).await.expect("a connection") }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.expect("the server takes it");
    }

    pub async fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    }

    pub async fn post(&mut self, path: &str, bytes: usize) {
        self.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n\r\n"))
            .await;
    }

    /// Reads until `end` has come, and gives all up to there.
    pub async fn read_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let byte = within(self.stream.read_u8()).await;
            let so_far = || String::from_utf8_lossy(&text).into_owned();
            text.push(byte.unwrap_or_else(|error| panic!("{error} after {:?}", so_far())));
        }
        String::from_utf8(text).expect("text")
    }

    /// Reads until the server closes. Nothing, if it resets the connection.
    pub async fn read_to_end(&mut self) -> String {
        let mut text = Vec::new();
        let _reset = within(self.stream.read_to_end(&mut text)).await;
        String::from_utf8(text).expect("text")
    }

    /// Sends `bytes` every `pause` until the server closes.
    pub async fn dribble(&mut self, bytes: &[u8], pause: Duration) -> String {
        let (mut reading, mut writing) = self.stream.split();
        let dribbling = async {
            while writing.write_all(bytes).await.is_ok() {
                sleep(pause).await;
            }
            std::future::pending::<()>().await;
        };
        let mut text = Vec::new();
        tokio::select! {
            _ = within(reading.read_to_end(&mut text)) => {}
            () = dribbling => {}
        }
        String::from_utf8(text).expect("text")
    }
}

/// An HTTP/2 connection.
pub struct Http2 {
    pub send: http2::SendRequest<Body>,
    pub ended: JoinHandle<hyper::Result<()>>,
}

impl Http2 {
    pub async fn connect(server: SocketAddr) -> Self {
        Self::over(TcpStream::connect(server).await.expect("a connection")).await
    }

    pub async fn over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let agreeing = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (send, connection) = within(agreeing).await.expect("HTTP/2");
        Self { send, ended: tokio::spawn(connection) }
    }

    pub async fn ask(&self, path: &str, body: Body) -> hyper::Result<(StatusCode, String)> {
        let request = Request::post(format!("http://x{path}")).version(Version::HTTP_2);
        let mut request = request.body(body).expect("a request");
        if http_body::Body::is_end_stream(request.body()) {
            *request.method_mut() = hyper::Method::GET;
        }
        let mut send = self.send.clone();
        within(send.ready()).await?;
        let answer = within(send.send_request(request)).await?;
        let status = answer.status();
        let body = within(to_bytes(Body::new(answer.into_body()), usize::MAX)).await;
        Ok((status, String::from_utf8_lossy(&body.unwrap_or_default()).into_owned()))
    }
}

//! A client that does what it is told and nothing else: one connection for each request, no
//! redirects, no second try.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{HeaderMap, Method, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PATIENCE;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Somebody who asks: nobody, or the holder of a token.
#[derive(Debug, Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub token: Option<String>,
}

impl Client {
    /// Nobody.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, token: None }
    }

    /// Who holds this token.
    pub fn with(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    pub fn get(&self, path: impl Into<String>) -> Request {
        self.request(Method::GET, path)
    }

    pub fn head(&self, path: impl Into<String>) -> Request {
        self.request(Method::HEAD, path)
    }

    pub fn post(&self, path: impl Into<String>) -> Request {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: impl Into<String>) -> Request {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: impl Into<String>) -> Request {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: impl Into<String>) -> Request {
        self.request(Method::DELETE, path)
    }

    pub fn request(&self, method: Method, path: impl Into<String>) -> Request {
        let request = Request {
            address: self.address,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Pieces::default(),
            patience: PATIENCE,
        };
        match &self.token {
            Some(token) => request.header("authorization", &format!("Bearer {token}")),
            None => request,
        }
    }
}

/// A request that is being put together.
pub struct Request {
    address: SocketAddr,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Pieces,
    patience: Duration,
}

impl Request {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits longer for the whole answer than others do.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub fn basic(self, name: &str, password: &str) -> Self {
        let both = BASE64_STANDARD.encode(format!("{name}:{password}"));
        self.header("authorization", &format!("Basic {both}"))
    }

    pub fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        self.body = Pieces { length: Some(bytes.len() as u64), pieces: [bytes].into() };
        self
    }

    /// A body whose length is not told.
    pub fn chunked(mut self, bytes: &[u8]) -> Self {
        let pieces = bytes.chunks(40_000).map(Bytes::copy_from_slice).collect();
        self.body = Pieces { length: None, pieces };
        self
    }

    pub fn json(self, value: &Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }

    /// A form of these fields.
    pub fn form(self, fields: &[Field<'_>]) -> Self {
        const BOUNDARY: &str = "a-line-that-no-field-holds";
        let mut body = Vec::new();
        for field in fields {
            body.extend_from_slice(format!("--{BOUNDARY}\r\n").as_bytes());
            let name = field.name;
            let head = format!("Content-Disposition: form-data; name=\"{name}\"");
            body.extend_from_slice(head.as_bytes());
            if let Some(file_name) = field.file_name {
                body.extend_from_slice(format!("; filename=\"{file_name}\"").as_bytes());
            }
            body.extend_from_slice(b"\r\n\r\n");
            body.extend_from_slice(field.value);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.header("content-type", &format!("multipart/form-data; boundary={BOUNDARY}")).body(body)
    }

    /// The whole answer.
    pub async fn send(self) -> Reply {
        let asked = format!("{} {}", self.method, self.path);
        self.try_send().await.unwrap_or_else(|error| panic!("{asked}: {error}"))
    }

    /// The whole answer, if there is one.
    pub async fn try_send(self) -> Result<Reply, Failure> {
        let patience = self.patience;
        let answer = async {
            let (parts, body) = self.try_open().await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        timeout(patience, answer).await.map_err(|_| "there is no answer")?
    }

    /// The answer as soon as it begins.
    pub async fn open(self) -> Response<Incoming> {
        timeout(PATIENCE, self.try_open()).await.expect("an answer").expect("an answer")
    }

    async fn try_open(self) -> Result<Response<Incoming>, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer's body, or when nobody wants that any more.
        tokio::spawn(connection);
        let mut request = hyper::Request::builder().method(self.method).uri(self.path);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        Ok(sender.send_request(request.body(self.body)?).await?)
    }
}

/// A field of a form.
pub struct Field<'a> {
    pub name: &'a str,
    pub file_name: Option<&'a str>,
    pub value: &'a [u8],
}

/// A field with a text.
pub fn text<'a>(name: &'a str, value: &'a str) -> Field<'a> {
    Field { name, file_name: None, value: value.as_bytes() }
}

/// The field `file`.
pub fn file<'a>(file_name: &'a str, value: &'a [u8]) -> Field<'a> {
    Field { name: "file", file_name: Some(file_name), value }
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// Itself, if this is its status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Checks that it is a problem (RFC 9457) with this status; the field to blame, if there is
    /// one.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Option<String> {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        problem["field"].as_str().map(str::to_owned)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header is text"))
    }

    /// A header that is a number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let text = self.header(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers));
        text.parse().expect("a number")
    }
}

/// A body that is there, of a length that is told or not.
#[derive(Default)]
struct Pieces {
    pieces: VecDeque<Bytes>,
    length: Option<u64>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

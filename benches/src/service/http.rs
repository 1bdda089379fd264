//! One connection to the service, kept open: the benchmarks count in connections, and a client with
//! a pool would decide itself how many it has.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::error::BenchError;

/// The name and password of the administrator of every service that is started here.
pub(super) const ADMIN: &str = "admin";
pub(super) const PASSWORD: &str = "correct horse battery staple";

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is there.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// Somebody who asks over a connection of their own.
pub(super) struct Connection {
    address: SocketAddr,
    sender: SendRequest<Body>,
    token: Option<String>,
}

impl Connection {
    /// Nobody.
    pub(super) async fn open(address: SocketAddr) -> Result<Self, BenchError> {
        let failed = |error| BenchError::work(format!("no connection to {address}: {error}"));
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its errors are those of the requests.
        tokio::spawn(connection);
        Ok(Self { address, sender, token: None })
    }

    /// The holder of an access token.
    pub(super) async fn with(address: SocketAddr, token: &str) -> Result<Self, BenchError> {
        let mut connection = Self::open(address).await?;
        connection.token = Some(token.to_owned());
        Ok(connection)
    }

    /// A request, and the beginning of its answer.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Body,
    ) -> Result<Response<Incoming>, BenchError> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, self.address.to_string());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body);
        let request = request.map_err(|error| BenchError::work(error.to_string()))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// What is at `path`.
    pub(super) async fn get(&mut self, path: &str) -> Result<Bytes, BenchError> {
        let answer = self.send(Method::GET, path, &[], whole(Bytes::new())).await?;
        expect(answer, StatusCode::OK, path).await
    }

    pub(super) async fn post(
        &mut self,
        path: &str,
        value: &Value,
        status: StatusCode,
    ) -> Result<Value, BenchError> {
        let headers = [(CONTENT_TYPE.as_str(), "application/json".to_owned())];
        let answer = self.send(Method::POST, path, &headers, whole(value.to_string())).await?;
        Ok(serde_json::from_slice(&expect(answer, status, path).await?)?)
    }
}

/// The body of an answer, which must have this status.
pub(super) async fn expect(
    answer: Response<Incoming>,
    expected: StatusCode,
    asked: &str,
) -> Result<Bytes, BenchError> {
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if status == expected {
        return Ok(body);
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    Err(BenchError::Answer { asked: asked.to_owned(), status: status.as_u16(), text })
}

/// An access token of the user of this name, who has [`PASSWORD`].
pub(super) async fn log_in(address: SocketAddr, name: &str) -> Result<String, BenchError> {
    let login = json!({"name": name, "password": PASSWORD});
    let tokens = Connection::open(address).await?.post("/v1/login", &login, StatusCode::OK).await?;
    Ok(text(&tokens, "access_token"))
}

/// Adds a user with [`PASSWORD`] and logs it in.
pub(super) async fn add_user(admin: &mut Connection, name: &str) -> Result<String, BenchError> {
    let user = json!({"name": name, "password": PASSWORD});
    admin.post("/v1/users", &user, StatusCode::CREATED).await?;
    log_in(admin.address, name).await
}

/// A text in an object; empty if it is not there.
pub(super) fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

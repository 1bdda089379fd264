//! A webhook's other end, which does what its path says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A call, as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// What it asked for.
    pub path: String,
    /// With names in lower case.
    pub headers: HashMap<String, String>,
    /// What it brought.
    pub body: String,
    /// When it came.
    pub at: Instant,
}

/// Takes calls, on this machine.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    task: JoinHandle<()>,
}

impl Sink {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let kept = Arc::clone(&calls);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let kept = Arc::clone(&kept);
                tokio::spawn(async move { answer(stream, &kept).await });
            }
        });
        Self { address, calls, task }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it does what `path` says.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port())
    }

    /// The calls that came there, in order.
    ///
    /// # Panics
    ///
    /// If a call has panicked.
    #[must_use]
    pub fn calls(&self, path: &str) -> Vec<Call> {
        self.calls
            .lock()
            .expect("no panic")
            .iter()
            .filter(|call| call.path == path)
            .cloned()
            .collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, calls: &Mutex<Vec<Call>>) -> Option<()> {
    let call = read(&mut stream).await?;
    let path = call.path.clone();
    let earlier = {
        let mut calls = calls.lock().expect("no panic");
        calls.push(call);
        calls.iter().filter(|call| call.path == path).count() - 1
    };
    let (status, header) = match path.as_str() {
        "/thrice" if earlier < 3 => ("500 Internal Server Error", ""),
        "/later" if earlier < 1 => ("503 Service Unavailable", "retry-after: 2\r\n"),
        "/never" => ("500 Internal Server Error", ""),
        "/gone" => ("410 Gone", ""),
        "/elsewhere" => ("302 Found", "location: http://169.254.169.254/latest/meta-data/\r\n"),
        "/loop" => ("307 Temporary Redirect", "location: /ok\r\n"),
        "/hang" => {
            tokio::time::sleep(Duration::from_mins(1)).await;
            return None;
        }
        "/reset" => {
            // A head, and then no body but an end.
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nha").await.ok()?;
            stream.set_zero_linger().ok()?;
            return None;
        }
        "/drop" if earlier < 1 => return None,
        _ => ("200 OK", ""),
    };
    let head =
        format!("HTTP/1.1 {status}\r\n{header}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

async fn read(stream: &mut TcpStream) -> Option<Call> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: HashMap<String, String> = lines.filter_map(header).collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Call { path, headers, body: String::from_utf8(body).ok()?, at: Instant::now() })
}

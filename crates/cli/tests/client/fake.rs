//! A server that is none of ours: it answers what the test says, and notes what it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request: its first line and its headers, in lower case.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    pub headers: Vec<String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.headers.iter().find_map(|line| line.strip_prefix(&prefix))
    }
}

/// Runs until the end of the test program.
pub struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// A server that writes what `answer` says, endlessly often if that says so, and hangs up.
    pub fn new(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, answer) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                thread::spawn(move || serve(&client, &noted, &*answer));
            }
        });
        Self { address, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// What is written.
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
    /// The body comes again and again.
    pub is_endless: bool,
}

impl Answer {
    /// A whole answer.
    pub fn of(status: &str, kind: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n"
        );
        Self { head, body: body.into(), is_endless: false }
    }

    pub fn json(body: &serde_json::Value) -> Self {
        Self::of("200 OK", "application/json", &body.to_string())
    }

    pub fn redirect(to: &str) -> Self {
        let head = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\n\
             connection: close\r\n\r\n"
        );
        Self { head, body: Vec::new(), is_endless: false }
    }

    pub fn endless(kind: &str, body: &str) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
        Self { head, body: body.into(), is_endless: true }
    }
}

fn serve(client: &TcpStream, noted: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) {
    let mut reader = BufReader::new(client);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(1..) if line.trim_end().is_empty() => break,
            Ok(1..) => lines.push(line.trim_end().to_owned()),
            _ => return,
        }
    }
    if lines.is_empty() {
        return;
    }
    let line = lines.remove(0);
    let lower = |line: String| match line.split_once(':') {
        Some((name, value)) => format!("{}:{value}", name.to_lowercase()),
        None => line,
    };
    let asked = Asked { line, headers: lines.into_iter().map(lower).collect() };
    noted.lock().unwrap().push(asked.clone());
    let length = asked.header("content-length").and_then(|length| length.parse().ok());
    let _ = std::io::copy(&mut reader.take(length.unwrap_or(0)), &mut std::io::sink());
    let Answer { head, body, is_endless } = answer(&asked);
    let mut client = client;
    if client.write_all(head.as_bytes()).is_err() {
        return;
    }
    while client.write_all(&body).is_ok() && is_endless {}
}

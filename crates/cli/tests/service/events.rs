//! A job's life as server-sent events, read as a browser reads them.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::client::Client;

/// An event.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

/// The events of a job, as they come.
pub struct Events {
    body: Incoming,
    bytes: Vec<u8>,
}

impl Events {
    /// Watches a job from `last`, the id of the event that was seen last.
    pub async fn of(client: &Client, job: &str, last: Option<&str>) -> Self {
        let mut request = client.get(format!("/v1/jobs/{job}/events"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.open().await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), bytes: Vec::new() }
    }

    /// The next event; `None` when the stream is over.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.bytes.drain(..end + 2).collect();
                if let Some(event) = parse(std::str::from_utf8(&event).expect("UTF-8")) {
                    return Some(event);
                }
                continue;
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("an event")?;
            let data = frame.expect("the stream ends in good form").into_data().expect("data");
            self.bytes.extend_from_slice(&data);
        }
    }

    /// All events until the stream is over.
    pub async fn all(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// An event, unless it is a comment.
fn parse(text: &str) -> Option<Event> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.strip_prefix(' ').unwrap_or(value))
    };
    let data = serde_json::from_str(field("data")?).expect("data in JSON");
    let name = field("event").unwrap_or("message").to_owned();
    Some(Event { name, id: field("id").map(str::to_owned), data })
}

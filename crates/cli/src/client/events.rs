//! Server-sent events (WHATWG HTML, section 9.2), from a server that may send anything.
//!
//! The libraries for it keep a line of any length in memory; here a line and an event have limits.

use std::time::Duration;

use reqwest::Response;

use crate::client::link::Link;
use crate::client::retry::Stop;

/// A service that has nothing to say says so every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// Longest event, in bytes: a job with the longest options.
const MAX_BYTES: usize = 1 << 20;

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

/// The events of an answer.
pub struct Events<'a> {
    link: &'a Link,
    response: Response,
    parser: Parser,
}

impl<'a> Events<'a> {
    pub fn new(link: &'a Link, response: Response) -> Self {
        Self { link, response, parser: Parser::default() }
    }

    /// The next event; `None` at the end of the answer.
    pub async fn next(&mut self) -> Result<Option<Event>, Stop> {
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(Some(event));
            }
            if self.parser.held_bytes() > MAX_BYTES {
                return Err(self.link.strange("an event has no end").into());
            }
            match self.link.chunk(&mut self.response, SILENCE).await? {
                Some(chunk) => self.parser.bytes.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Bytes on their way to become events.
#[derive(Debug, Default)]
struct Parser {
    bytes: Vec<u8>,
    event: Event,
}

impl Parser {
    fn next(&mut self) -> Option<Event> {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    return Some(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.event.name),
                "data" if self.event.data.is_empty() => value.clone_into(&mut self.event.data),
                "data" => {
                    self.event.data.push('\n');
                    self.event.data.push_str(value);
                }
                // A comment, or an id, which our events have in their data.
                _ => {}
            }
        }
        None
    }

    fn held_bytes(&self) -> usize {
        self.bytes.len() + self.event.data.len() + self.event.name.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_whatever_the_pieces() {
        let text = "event: state\r\nid: 3\r\ndata: {\"a\":1}\r\n\r\n: silence\n\n\
                    event:progress\ndata: 1\ndata: 2\n\nevent: unfinished\ndata: x\n";
        let event = |name: &str, data: &str| Event { name: name.into(), data: data.into() };
        for size in [1, 2, 7, 1000] {
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                parser.bytes.extend_from_slice(piece);
                events.extend(std::iter::from_fn(|| parser.next()));
            }
            assert_eq!(events, [event("state", "{\"a\":1}"), event("progress", "1\n2")]);
        }
    }
}

//! Events to the service: handed out to whoever asks, again if they were not confirmed in time.

use std::time::{Duration, Instant};

use redis::cmd;

use super::link::Request;
use super::reply::{Entry, Streams, events_in};
use super::{RECORDERS, RedisQueue, block_ms};
use crate::message::JobEvent;
use crate::queue::{EventId, Result};

/// Where a cursor starts and ends.
const START: &str = "0-0";

impl RedisQueue {
    pub(super) async fn read_events(
        &self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(EventId, JobEvent)>> {
        let end = Instant::now() + wait;
        let unconfirmed = self.claim_events(max).await?;
        if !unconfirmed.is_empty() {
            return Ok(unconfirmed);
        }
        loop {
            let wait = end.saturating_duration_since(Instant::now());
            let mut read = cmd("XREADGROUP");
            read.arg("GROUP").arg(RECORDERS).arg(&self.worker).arg("COUNT").arg(max);
            read.arg("BLOCK").arg(block_ms(wait)).arg("STREAMS").arg(&self.keys.events).arg(">");
            let read: Streams =
                self.replies.send_once("hand out events", Request::Wait(&read, wait)).await?;
            let is_all = read.is_none();
            let events = events_in(read);
            // What is no event is passed over.
            if is_all || !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// What was handed out and not confirmed for as long as a lease lasts.
    async fn claim_events(&self, max: usize) -> Result<Vec<(EventId, JobEvent)>> {
        let mut cursor = START.to_owned();
        loop {
            let mut claim = cmd("XAUTOCLAIM");
            claim.arg(&self.keys.events).arg(RECORDERS).arg(&self.worker);
            claim.arg(self.config.lease.as_millis().to_string()).arg(&cursor);
            claim.arg("COUNT").arg(max);
            let (next, entries, _): (String, Vec<Entry>, Vec<String>) =
                self.replies.send_once("hand out events", Request::Command(&claim)).await?;
            let events = events_in(Some(vec![(String::new(), entries)]));
            // It looks at ten times as many as it hands out, and no further: those that others have
            // just been given, and what is no event, must not hide the rest.
            if !events.is_empty() || next == START {
                return Ok(events);
            }
            cursor = next;
        }
    }
}

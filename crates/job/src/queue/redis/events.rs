//! Events to the service: handed out to whoever asks, again if they were not confirmed in time.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::cmd;

use super::link::Request;
use super::reply::{Entry, Sorted, Streams, sorted};
use super::{RECORDERS, RedisQueue, block_ms};
use crate::message::JobEvent;
use crate::queue::{EventId, Result};

/// Where a cursor starts and ends.
const START: &str = "0-0";

impl RedisQueue {
    /// After an error first what this recorder was given and has not confirmed: who has it would
    /// only be asked again when a lease is over.
    pub(super) async fn read_events(
        &self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(EventId, JobEvent)>> {
        if self.events_lost.swap(false, Ordering::SeqCst) {
            let own = self.own_events(max).await;
            // Until there are none.
            let is_done = own.as_ref().is_ok_and(Vec::is_empty);
            self.events_lost.fetch_or(!is_done, Ordering::SeqCst);
            if !is_done {
                return own;
            }
        }
        let events = self.next_events(max, wait).await;
        self.events_lost.fetch_or(events.is_err(), Ordering::SeqCst);
        events
    }

    async fn own_events(&self, max: usize) -> Result<Vec<(EventId, JobEvent)>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(RECORDERS).arg(&self.worker).arg("COUNT").arg(max);
        read.arg("STREAMS").arg(&self.keys.events).arg("0");
        let request = Request::Command(&read);
        let read: Streams = self.replies.send_once("hand out events", request).await?;
        Ok(self.readable(sorted(read)).await)
    }

    async fn next_events(&self, max: usize, wait: Duration) -> Result<Vec<(EventId, JobEvent)>> {
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
            let events = self.readable(sorted(read)).await;
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
            let events = self.readable(sorted(Some(vec![(String::new(), entries)]))).await;
            // It looks at ten times as many as it hands out, and no further: those that others have
            // just been given, and what is no event, must not hide the rest.
            if !events.is_empty() || next == START {
                return Ok(events);
            }
            cursor = next;
        }
    }

    /// The events alone. What is none is put aside: nobody would ever confirm it.
    async fn readable(&self, sorted: Sorted) -> Vec<(EventId, JobEvent)> {
        let unreadable = sorted.unreadable.iter().map(String::as_str);
        if let Err(error) = self.end_events("aside", unreadable).await {
            // It comes again, and hides none of the others.
            tracing::error!(error = error.source, "what is no event cannot be put aside");
        }
        sorted.events
    }

    /// Ends events: they are `done`, or put `aside`.
    pub(super) async fn end_events(
        &self,
        operation: &str,
        events: impl Iterator<Item = &str> + Send,
    ) -> Result<()> {
        let mut script = self.scripts.confirm.prepare_invoke();
        script.key(&self.keys.events).key(&self.keys.unreadable).arg(RECORDERS).arg(operation);
        let mut is_empty = true;
        for event in events {
            script.arg(event);
            is_empty = false;
        }
        if is_empty {
            return Ok(());
        }
        let ended = self.commands.send("confirm events", Request::Script(&script)).await;
        self.events_lost.fetch_or(ended.is_err(), Ordering::SeqCst);
        ended
    }
}

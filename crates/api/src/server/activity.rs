//! What a connection is doing, and until when it may go on so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Version;
use tokio::time::Instant;

/// A handler that takes longer over a piece of a body holds the client up; else it just works.
const HELD_UP: Duration = Duration::from_millis(100);

/// How long each of them may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// A request head from its first byte; the first one, TLS included, from the beginning.
    pub(super) header: Duration,
    /// Between requests.
    pub(super) idle: Duration,
}

/// What is over when a deadline passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The request head did not come.
    Header,
    /// No request came: time to part in good form.
    Idle,
    /// The client was told to go, and did not.
    Closing,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// A head is on its way since then.
    Head(Instant),
    /// Requests are being answered.
    Busy(usize),
    /// Nothing since then.
    Idle(Instant),
}

#[derive(Debug)]
struct Now {
    phase: Phase,
    http2: bool,
    /// The socket takes no more for the moment.
    blocked: bool,
    closing: Option<Instant>,
}

/// Request bodies that wait for a handler of ours, not for the client.
#[derive(Debug, Default)]
struct Held {
    bodies: usize,
    /// When there was none the last time before.
    since: Option<Instant>,
    /// When that ended the last time that it was for long.
    until: Option<Instant>,
}

/// Shared by what sees parts of it: the socket, the service, the bodies.
#[derive(Debug)]
pub(super) struct Activity {
    now: Mutex<Now>,
    held: Mutex<Held>,
    body_too_slow: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Self {
        let phase = Phase::Head(Instant::now());
        Self {
            now: Mutex::new(Now { phase, http2: false, blocked: false, closing: None }),
            held: Mutex::default(),
            body_too_slow: AtomicBool::new(false),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes came.
    pub(super) fn received(&self) {
        let mut now = self.now();
        // In HTTP/2 they may be anything: a ping, a window.
        if matches!(now.phase, Phase::Idle(_)) && !now.http2 {
            now.phase = Phase::Head(Instant::now());
        }
    }

    /// The socket takes no more, or does again.
    pub(super) fn set_blocked(&self, blocked: bool) {
        let mut now = self.now();
        now.blocked = blocked;
        if matches!(now.phase, Phase::Idle(_)) {
            now.phase = Phase::Idle(Instant::now());
        }
    }

    /// A request has come, and lasts until what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> Request {
        let mut now = self.now();
        now.http2 = version == Version::HTTP_2;
        now.phase = match now.phase {
            Phase::Busy(requests) => Phase::Busy(requests + 1),
            Phase::Head(_) | Phase::Idle(_) => Phase::Busy(1),
        };
        Request(Arc::clone(self))
    }

    /// The client has been told that no more requests are answered.
    pub(super) fn set_closing(&self) {
        self.now().closing.get_or_insert_with(Instant::now);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.now().closing.is_some()
    }

    /// Since when it is between requests, with nothing left to send.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let now = self.now();
        match now.phase {
            Phase::Idle(since) if !now.blocked && now.closing.is_none() => Some(since),
            _ => None,
        }
    }

    /// When it has lasted too long, and what. None while the answer is ours to give: the body and
    /// the socket have limits of their own.
    pub(super) fn deadline(&self, patience: Patience) -> Option<(Instant, Overdue)> {
        let now = self.now();
        if now.blocked {
            return None;
        }
        match (now.phase, now.closing) {
            (Phase::Busy(_), _) => None,
            (Phase::Head(since), _) => Some((since + patience.header, Overdue::Header)),
            (Phase::Idle(since), None) => Some((since + patience.idle, Overdue::Idle)),
            (Phase::Idle(since), Some(told)) => {
                Some((since.max(told) + patience.header, Overdue::Closing))
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body begins to wait for its handler.
    pub(super) fn hold(&self) {
        let mut held = self.held();
        held.bodies += 1;
        held.since.get_or_insert_with(Instant::now);
    }

    /// It no longer does.
    pub(super) fn release(&self) {
        let mut held = self.held();
        held.bodies -= 1;
        if held.bodies == 0 && held.since.take().is_some_and(|since| since.elapsed() >= HELD_UP) {
            held.until = Some(Instant::now());
        }
    }

    /// Until when the client may have been unable to send because we did not take what it had sent:
    /// the bodies of an HTTP/2 connection share one window.
    pub(super) fn held_up_until(&self) -> Option<Instant> {
        let held = self.held();
        let still = held.since.is_some_and(|since| since.elapsed() >= HELD_UP);
        if still { Some(Instant::now()) } else { held.until }
    }

    pub(super) fn set_body_too_slow(&self) {
        self.body_too_slow.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_body_too_slow(&self) -> bool {
        self.body_too_slow.load(Ordering::Relaxed)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Request(Arc<Activity>);

impl Request {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut now = self.0.now();
        now.phase = match now.phase {
            Phase::Busy(requests) if requests > 1 => Phase::Busy(requests - 1),
            _ => Phase::Idle(Instant::now()),
        };
    }
}

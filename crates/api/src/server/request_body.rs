//! A request body that may fall behind a least rate by so much and no more.

use std::error::Error;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Activity;

/// The least rate of a request body.
///
/// A body may fall behind it by `window`: that long it may send nothing at all, and over any time
/// beyond that it keeps up on average. Only the time counts for which a handler waits for the
/// client, never that for which the client waits for a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRate {
    /// Bytes per second; default 1024.
    pub bytes_per_second: NonZeroU32,
    /// By how much it may fall behind; default 20 s.
    pub window: Duration,
}

impl Default for BodyRate {
    fn default() -> Self {
        let bytes_per_second = const { NonZeroU32::new(1024).expect("not zero") };
        Self { bytes_per_second, window: Duration::from_secs(20) }
    }
}

impl BodyRate {
    /// How long so many bytes may take.
    fn time_for(self, bytes: usize) -> Duration {
        let seconds = bytes as f64 / f64::from(self.bytes_per_second.get());
        Duration::try_from_secs_f64(seconds).map_or(self.window, |time| time.min(self.window))
    }
}

/// The client sends its request body slower than [`BodyRate`] allows. It is the cause of the error
/// that reading the body gives: to be answered with 408.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request body came slower than {} bytes per second", .0.bytes_per_second)]
pub struct BodyTooSlow(
    /// What it did not keep up with.
    pub BodyRate,
);

impl BodyTooSlow {
    /// Whether it is `error` or one of its causes.
    #[must_use]
    pub fn is_cause_of(error: &(dyn Error + 'static)) -> bool {
        error.is::<Self>() || error.source().is_some_and(Self::is_cause_of)
    }
}

/// Whom it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The handler: it has not asked for what comes next.
    Handler,
    /// The client, since then.
    Client(Instant),
    /// Nobody any more.
    Over,
}

/// See [`BodyRate`].
pub(super) struct TimedBody {
    body: Incoming,
    rate: BodyRate,
    waits: Waits,
    /// How long it may yet be waited for.
    allowance: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    too_slow: bool,
    activity: Arc<Activity>,
}

impl TimedBody {
    pub(super) fn new(body: Incoming, rate: BodyRate, activity: Arc<Activity>) -> Self {
        let mut timed = Self {
            body,
            rate,
            waits: Waits::Over,
            allowance: rate.window,
            timer: None,
            too_slow: false,
            activity,
        };
        if !timed.body.is_end_stream() {
            timed.wait_for(Waits::Handler);
        }
        timed
    }

    fn wait_for(&mut self, next: Waits) {
        match (self.waits, next) {
            (Waits::Handler, Waits::Handler) => {}
            (Waits::Handler, _) => self.activity.release(),
            (_, Waits::Handler) => self.activity.hold(),
            _ => {}
        }
        self.waits = next;
    }

    /// The client has sent nothing so far: is that too long? Ready if so.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<BodyTooSlow> {
        let now = Instant::now();
        // A wait that was on before goes on.
        let mut since = if let Waits::Client(since) = self.waits { since } else { now };
        if since + self.allowance <= now
            && let Some(until) = self.activity.held_up_until()
            && until > since
        {
            // The window that the bodies of a connection share may have been full of what the
            // handlers of others left in it.
            since = until;
            self.allowance = self.rate.window;
        }
        self.wait_for(Waits::Client(since));
        let end = since + self.allowance;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() != end {
            timer.as_mut().reset(end);
        }
        ready!(timer.as_mut().poll(cx));
        self.wait_for(Waits::Over);
        self.too_slow = true;
        self.activity.set_body_too_slow();
        metrics::counter!("tonemill_http_bodies_too_slow_total").increment(1);
        Poll::Ready(BodyTooSlow(self.rate))
    }

    /// The client has sent so much.
    fn credit(&mut self, bytes: usize) {
        if let Waits::Client(since) = self.waits {
            // A handler that looked late finds the allowance used up, yet the bytes there: they
            // count from now on.
            self.allowance = self.allowance.saturating_sub(since.elapsed());
        }
        self.allowance = (self.allowance + self.rate.time_for(bytes)).min(self.rate.window);
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.too_slow {
            // Not its end, however often it is asked for.
            return Poll::Ready(Some(Err(BodyTooSlow(this.rate).into())));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            return this.poll_patience(cx).map(|error| Some(Err(error.into())));
        };
        let Some(Ok(frame)) = frame else {
            this.wait_for(Waits::Over);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        };
        this.credit(frame.data_ref().map_or(0, Bytes::len));
        let over = this.body.is_end_stream();
        this.wait_for(if over { Waits::Over } else { Waits::Handler });
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        !self.too_slow && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        self.wait_for(Waits::Over);
    }
}

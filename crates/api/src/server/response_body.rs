//! An answer on its way out: the request lasts until it is sent, and an HTTP/2 stream whose client
//! takes none of it ends alone.
//!
//! In HTTP/1 the socket says whether the client takes anything. In HTTP/2 the socket may be busy
//! with one stream while another has no window: a browser does that to a paused player.

use std::any::Any;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activity::Request;

/// What an HTTP/2 stream is given at a time. The next piece is asked for when the one before the
/// last has gone out, so that this much in `write_stall` is enough; and no stream holds more.
const PIECE_BYTES: usize = 16 * 1024;

tokio::task_local! {
    static STREAM: Arc<Stream>;
}

/// An HTTP/2 stream: how long its client has taken nothing of what was there to take.
#[derive(Debug, Default)]
struct Stream {
    given: Mutex<Option<Instant>>,
}

impl Stream {
    fn set(&self, given: Option<Instant>) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = given;
    }

    /// Waits until it is `patience`.
    async fn stalled(&self, patience: Duration) {
        loop {
            let given = *self.given.lock().unwrap_or_else(PoisonError::into_inner);
            match given {
                Some(given) if given.elapsed() >= patience => return,
                Some(given) => sleep_until(given + patience).await,
                // What is given meanwhile is not overdue before that.
                None => sleep(patience).await,
            }
        }
    }
}

/// Runs the streams of HTTP/2 connections.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) tasks: TaskTracker,
    pub(super) cut: CancellationToken,
    pub(super) write_stall: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
{
    fn execute(&self, running: F) {
        let Self { cut, write_stall, .. } = self.clone();
        self.tasks.spawn(async move {
            let stream = Arc::<Stream>::default();
            // To drop it resets the stream.
            tokio::select! {
                biased;
                _ = STREAM.scope(Arc::clone(&stream), running) => {}
                () = stream.stalled(write_stall) => super::count_cut("stream_stall"),
                () = cut.cancelled() => {}
            }
        });
    }
}

/// What a route puts into the extensions of its answer, to last until that is sent.
#[derive(Debug, Clone)]
pub(crate) struct UntilSent(
    #[expect(dead_code, reason = "kept to be dropped")] pub(crate) Arc<dyn Any + Send + Sync>,
);

pub(super) struct ResponseBody {
    body: Body,
    /// What is left of a frame.
    rest: Bytes,
    stream: Option<Arc<Stream>>,
    _request: Request,
    _until_sent: Option<UntilSent>,
}

impl ResponseBody {
    /// Of the stream that it is made in.
    pub(super) fn new(body: Body, request: Request, until_sent: Option<UntilSent>) -> Self {
        let stream = STREAM.try_with(Arc::clone).ok();
        Self { body, rest: Bytes::new(), stream, _request: request, _until_sent: until_sent }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(stream) = &this.stream else { return Pin::new(&mut this.body).poll_frame(cx) };
        stream.set(None);
        if this.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)?) else {
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        stream.set(Some(Instant::now()));
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

//! One connection, from its first byte to its last.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::activity::{Activity, Overdue, Patience};
use super::response_body::Streams;
use super::service::Requests;
use super::socket::Socket;
use super::{Server, count_cut};

/// Of a request head, in either version. hyper answers what is larger with 431. In HTTP/1 it is
/// also what hyper holds of a connection in each direction.
const HEAD_BYTES: u32 = 32 * 1024;
const HEADERS: usize = 100;

/// Of HTTP/2. A stream may bring 5 MB/s over 100 ms; and four that no handler reads fill what the
/// connection holds.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const SEND_BYTES: usize = 64 * 1024;
const STREAMS: u32 = 100;
/// Streams reset before they were seen, and streams that we had to reset, before it is an attack.
const EARLY_RESETS: usize = 20;
const ERROR_RESETS: usize = 200;
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(20);

/// What is spoken on every connection.
pub(super) fn protocol(streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        // It would run between requests as well: `Watch` tells the two apart.
        .header_read_timeout(None)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES)
        .max_pending_accept_reset_streams(EARLY_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES);
    builder
}

/// Serves it until it ends, or is cut.
pub(super) async fn run(server: &Server, stream: TcpStream, peer: IpAddr) {
    let activity = Arc::new(Activity::new());
    let socket = Socket::new(stream, Arc::clone(&activity), server.config.write_stall);
    // Its own, for to look at a token locks it, and every connection looks whenever it wakes.
    let cut = server.cut.child_token();
    tokio::select! {
        biased;
        () = cut.cancelled() => count_cut("shutdown"),
        () = secure(server, socket, peer, activity) => {}
    }
}

async fn secure(server: &Server, socket: Socket, peer: IpAddr, activity: Arc<Activity>) {
    let Some(tls) = &server.config.tls else {
        return talk(server, socket, peer, activity).await;
    };
    let agreeing = timeout(server.config.header_timeout, tls.acceptor().accept(socket));
    let agreed = tokio::select! {
        () = server.shutdown.cancelled() => return,
        agreed = agreeing => agreed,
    };
    match agreed {
        Ok(Ok(stream)) => talk(server, stream, peer, activity).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "no TLS");
            metrics::counter!("tonemill_http_tls_errors_total").increment(1);
        }
        Err(_) => count_cut("handshake"),
    }
}

async fn talk<I>(server: &Server, io: I, peer: IpAddr, activity: Arc<Activity>)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let requests = Requests {
        routes: TowerToHyperService::new(server.routes.clone()),
        activity: Arc::clone(&activity),
        peer,
        trusted_proxies: server.config.trusted_proxies,
        body_rate: server.config.body_rate,
    };
    let mut talk = pin!(server.protocol.serve_connection(TokioIo::new(io), requests));
    let mut watch = Watch::new(server, Arc::clone(&activity));
    let shutdown = server.shutdown.child_token();
    loop {
        let overdue = tokio::select! {
            // What is overdue depends on what this has just done.
            biased;
            ended = talk.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = %tonemill_job::chain(&*error), "connection");
                }
                return;
            }
            overdue = poll_fn(|context| watch.poll(context)) => overdue,
            () = shutdown.cancelled(), if !activity.is_closing() => Overdue::Idle,
        };
        match overdue {
            Overdue::Idle => {
                activity.set_closing();
                talk.as_mut().graceful_shutdown();
            }
            Overdue::Header => return count_cut("header"),
            Overdue::Closing => return count_cut("closing"),
        }
    }
}

/// Says when a connection has done nothing for too long.
struct Watch {
    activity: Arc<Activity>,
    patience: Patience,
    timer: Pin<Box<Sleep>>,
    room: Arc<Notify>,
    /// Its place among those that are idle, and since when it is.
    idle: Option<(Instant, Pin<Box<OwnedNotified>>)>,
}

impl Watch {
    fn new(server: &Server, activity: Arc<Activity>) -> Self {
        let config = &server.config;
        let patience = Patience { header: config.header_timeout, idle: config.idle_timeout };
        let timer = Box::pin(sleep(patience.header));
        Self { activity, patience, timer, room: server.places.room(), idle: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Overdue> {
        let since = self.activity.idle_since();
        if self.idle.as_ref().map(|(since, _)| *since) != since {
            // It may have been busy in between. If it was told to go and had no time to hear it,
            // this tells the next.
            let enter = |since| (since, Box::pin(Arc::clone(&self.room).notified_owned()));
            self.idle = since.map(enter);
        }
        if let Some((_, told)) = &mut self.idle
            && told.as_mut().poll(context).is_ready()
        {
            self.idle = None;
            return Poll::Ready(Overdue::Idle);
        }
        loop {
            let deadline = self.activity.deadline(self.patience);
            // An HTTP/2 stream ends without waking this: then it is looked at in time, for what
            // begins by it ends later than that.
            let look = || Instant::now() + self.patience.header.min(self.patience.idle);
            if let Some((end, _)) = deadline
                && end < self.timer.deadline()
            {
                self.timer.as_mut().reset(end);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            match deadline {
                Some((end, overdue)) if end <= Instant::now() => return Poll::Ready(overdue),
                Some((end, _)) => self.timer.as_mut().reset(end),
                None => self.timer.as_mut().reset(look()),
            }
        }
    }
}

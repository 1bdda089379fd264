//! HTTP underneath the routes: what a client may cost before it has asked for anything.
//!
//! `axum::serve` has no limits that a hostile client would meet, so this is an accept loop of our
//! own. Every wait for a client ends by itself: for its TLS handshake, its request head, its next
//! request, its body, and for it to take the answer. A handler waits as long as it likes.
//!
//! | file | what it decides |
//! |---|---|
//! | `places` | who may connect |
//! | `activity` | what a connection waits for, and for how long |
//! | `connection` | what is spoken, and when it is cut |
//! | `socket` | whether the client takes anything; how to part |
//! | `service`, `address` | what a request carries to the routes |
//! | `request_body` | how slow a body may come |
//! | `response_body` | how slow an HTTP/2 stream may be taken |
//! | `tls`, `expiry` | the certificate |

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::server::conn::auto;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod activity;
mod address;
mod connection;
mod expiry;
mod places;
mod request_body;
mod response_body;
mod service;
mod socket;
mod tls;

pub use address::ClientAddress;
pub use request_body::{BodyRate, BodyTooSlow};
pub(crate) use response_body::UntilSent;
pub use tls::{TlsError, TlsFiles};

use places::Places;
use response_body::Streams;

/// Connections that wait to be accepted; the system may allow fewer. The kernel drops what is more
/// in a way that costs its client a second or resets it, and a listener has 128 unless told.
const BACKLOG: i32 = 4096;
/// Nobody waits longer than this, whatever the configuration says.
const LONGEST: Duration = Duration::from_hours(30 * 24);
/// After a connection that could not be accepted: no descriptor is free, or no memory.
const PAUSE: Duration = Duration::from_millis(100);
/// How often that is logged at most.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// What clients may do.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// How long a whole request head may take from its first byte; the first one of a connection,
    /// with its TLS handshake, from the beginning; and a client that was told to go, to go.
    /// Default 10 s.
    pub header_timeout: Duration,
    /// How long a connection may be without a request. Default 60 s.
    pub idle_timeout: Duration,
    /// The least rate of a request body. A body that is slower ends with [`BodyTooSlow`]; then an
    /// HTTP/1 connection closes after the answer, an HTTP/2 stream ends. Default 1 KiB/s, and up to
    /// 20 s behind it.
    pub body_rate: BodyRate,
    /// A client that takes none of an answer for this long is cut off; of HTTP/2, only the stream,
    /// unless it takes nothing of any. 128 KiB in that time are enough. Default 30 s.
    pub write_stall: Duration,
    /// Connections at a time; the others wait in the backlog of the listener, and make idle ones
    /// close. Never more than three quarters of the descriptor limit. Default 4096.
    pub max_connections: usize,
    /// Connections at a time from one IPv4 address or one IPv6 /64; what is more is closed at once.
    /// 0 is no limit, and there is none with `trusted_proxies`, for all come from those then.
    ///
    /// Default 512. Behind one address may be a hundred people with five connections each, or a
    /// customer's machine that converts in bulk; and one client with ill will should not fill the
    /// server: this one would need eight addresses.
    pub max_connections_per_address: usize,
    /// The certificate, for HTTPS. Default none: HTTP, behind a proxy.
    pub tls: Option<TlsFiles>,
    /// How many proxies in front are believed about `X-Forwarded-For`. Each must add a line or an
    /// entry to it. Default 0.
    pub trusted_proxies: usize,
}

impl ServerConfig {
    /// With times that can be reckoned with: neither none at all nor for ever.
    fn within_reason(mut self) -> Self {
        for time in [
            &mut self.header_timeout,
            &mut self.idle_timeout,
            &mut self.body_rate.window,
            &mut self.write_stall,
        ] {
            *time = (*time).clamp(Duration::from_millis(1), LONGEST);
        }
        self
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            body_rate: BodyRate::default(),
            write_stall: Duration::from_secs(30),
            max_connections: 4096,
            max_connections_per_address: 512,
            tls: None,
            trusted_proxies: 0,
        }
    }
}

/// What connections share.
struct Server {
    routes: Router,
    config: ServerConfig,
    protocol: auto::Builder<Streams>,
    places: Places,
    /// Connections, and the streams of those in HTTP/2.
    tasks: TaskTracker,
    /// No new requests.
    shutdown: CancellationToken,
    /// Nothing any more.
    cut: CancellationToken,
}

/// Serves `routes` to who connects to `listener`: HTTP/1.1 and HTTP/2, the latter without TLS to
/// who begins with it, with TLS by ALPN. Every request carries a [`ClientAddress`]. The backlog of
/// `listener` becomes what the system allows, up to 4096.
///
/// From `shutdown` on nobody is accepted, what runs goes on for up to `grace`, and what still runs
/// then is dropped. Returns when all are gone. To drop the future drops all of them.
///
/// A handler is dropped when its client goes away.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    config: ServerConfig,
    shutdown: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let config = config.within_reason();
    SockRef::from(&listener).listen(BACKLOG)?;
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let _cut_on_drop = cut.clone().drop_guard();
    let write_stall = config.write_stall;
    let streams = Streams { tasks: tasks.clone(), cut: cut.clone(), write_stall };
    let per_address =
        if config.trusted_proxies == 0 { config.max_connections_per_address } else { 0 };
    let server = Arc::new(Server {
        routes,
        protocol: connection::protocol(streams),
        places: Places::new(places::within_descriptors(config.max_connections), per_address),
        config,
        tasks,
        shutdown,
        cut,
    });
    tracing::info!(address = %listener.local_addr()?, "HTTP port open");
    tokio::select! {
        () = server.shutdown.cancelled() => {}
        () = accept(&server, listener) => {}
        () = watch_certificate(&server.config) => {}
    }
    server.tasks.close();
    if timeout(grace, server.tasks.wait()).await.is_err() {
        server.cut.cancel();
        server.tasks.wait().await;
    }
    Ok(())
}

async fn watch_certificate(config: &ServerConfig) {
    match &config.tls {
        Some(tls) => match tls.watch().await {},
        None => std::future::pending().await,
    }
}

async fn accept(server: &Arc<Server>, listener: TcpListener) {
    let mut logged: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => welcome(server, stream, peer.ip()).await,
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                metrics::counter!("tonemill_http_accept_errors_total").increment(1);
                if logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
                    logged = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept connections");
                }
                server.places.make_room();
                sleep(PAUSE).await;
            }
        }
    }
}

/// Whether only that one was gone before we came to it.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves it as soon as there is a place. It waits for one accepted, not in the backlog as those
/// behind it do: else nobody knew that idle connections are in somebody's way.
async fn welcome(server: &Arc<Server>, stream: TcpStream, peer: IpAddr) {
    let Some(guest) = server.places.admit(peer) else {
        metrics::counter!("tonemill_http_connections_refused_total", "reason" => "address")
            .increment(1);
        return;
    };
    let Some(place) = server.places.take(guest).await else { return };
    let server = Arc::clone(server);
    let tasks = server.tasks.clone();
    tasks.spawn(async move {
        connection::run(&server, stream, peer).await;
        drop(place);
    });
}

/// Counts a connection, or a stream, whose client used up its time.
fn count_cut(reason: &'static str) {
    metrics::counter!("tonemill_http_connections_cut_total", "reason" => reason).increment(1);
}

//! A proxy in front of a server, with faults on command.
//!
//! It passes TCP on, whatever the protocol; what it knows of HTTP/1.1 is where a head ends. There
//! it asks for every connection to be closed after one request, so that a fault for a connection is
//! one for a request, and positions count from the start of the body.

mod connection;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing: it works.
    #[default]
    None,
    /// It is accepted, and nothing is passed on either way.
    BlackHole,
    /// Whatever passes is held up for so long first.
    Delay(Duration),
    /// It is reset.
    Reset,
    /// It ends after so many bytes of the response.
    CutResponse {
        /// How many.
        after: u64,
    },
    /// The server gets the request, and the connection ends instead of a response.
    LoseResponse,
    /// The response comes byte by byte.
    Trickle {
        /// The time between two bytes.
        pause: Duration,
    },
    /// A bit of the request changes.
    FlipRequest {
        /// In which byte.
        at: u64,
    },
    /// A bit of the response changes.
    FlipResponse {
        /// In which byte.
        at: u64,
    },
    /// The request is answered with 503, and the server does not learn of it. HTTP only.
    Refuse,
}

/// A connection that wants to know its [`Fault`].
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// How many came before it.
    pub number: u64,
    /// The request line, such as `GET / HTTP/1.1`; empty if this is not about HTTP.
    pub request: &'a str,
}

/// Bytes on their way through a connection; of an HTTP request, those after its head.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    /// That of the connection, as in [`Incoming`].
    pub number: u64,
    /// Whether they come from the server.
    pub is_response: bool,
    /// As many as came at once.
    pub bytes: &'a [u8],
}

type Plan = Box<dyn FnMut(Incoming<'_>) -> Fault + Send>;
type Guard = Box<dyn FnMut(Passing<'_>) -> Fault + Send>;

/// A proxy that runs until it is dropped, with all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    is_http: bool,
    plan: Mutex<Plan>,
    guard: Mutex<Guard>,
    /// The fault of all connections that are open when it changes.
    switch: watch::Sender<Fault>,
    accepted: AtomicU64,
    open: AtomicUsize,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("server", &self.server).finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// A proxy for `server`, whatever it speaks.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub async fn tcp(server: SocketAddr) -> Self {
        Self::start(server, false).await
    }

    /// A proxy for the HTTP server at `endpoint`, an address and a port with `http://` before it.
    ///
    /// # Panics
    ///
    /// If there is no free port, or `endpoint` is something else.
    pub async fn http(endpoint: &str) -> Self {
        let server = endpoint.strip_prefix("http://").and_then(|address| address.parse().ok());
        Self::start(server.expect("http://ADDRESS:PORT"), true).await
    }

    async fn start(server: SocketAddr, is_http: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            server,
            is_http,
            plan: Mutex::new(Box::new(|_| Fault::None)),
            guard: Mutex::new(Box::new(|_| Fault::None)),
            switch: watch::Sender::new(Fault::None),
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(connection::accept(listener, shared.clone()));
        Self { address, shared, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, every connection has this fault, those that are open included.
    pub fn set(&self, fault: Fault) {
        self.plan(move |_| fault);
        self.shared.switch.send_replace(fault);
    }

    /// From now on, `plan` chooses the fault of every new connection.
    pub fn plan(&self, plan: impl FnMut(Incoming<'_>) -> Fault + Send + 'static) {
        *self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(plan);
    }

    /// From now on, `guard` sees all bytes before they pass. A fault that it gives is that of these
    /// bytes and of what follows them in the same direction.
    pub fn guard(&self, guard: impl FnMut(Passing<'_>) -> Fault + Send + 'static) {
        *self.shared.guard.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(guard);
    }

    /// Connections so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Its connections are its children and end with it.
        self.accepting.abort();
    }
}

/// A plan that gives `fault` to a share of all connections, `percent` in 100: the same ones for the
/// same `seed`.
pub fn some(
    percent: u8,
    fault: Fault,
    seed: u64,
) -> impl FnMut(Incoming<'_>) -> Fault + Send + 'static {
    let mut random = fastrand::Rng::with_seed(seed);
    move |_| if random.u8(..100) < percent { fault } else { Fault::None }
}

impl Shared {
    fn choose(&self, number: u64, request: &str) -> Fault {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan(Incoming { number, request })
    }

    fn ask_guard(&self, passing: Passing<'_>) -> Fault {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        guard(passing)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    /// A server that sends back what it gets, until its client is silent.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn ask(proxy: &FaultProxy, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(proxy.address()).await?;
        stream.write_all(text).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(|_| answer)
    }

    #[tokio::test]
    async fn each_fault_is_what_it_says() {
        let proxy = FaultProxy::tcp(echo().await).await;
        assert_eq!(ask(&proxy, b"12345").await.unwrap(), b"12345");
        proxy.set(Fault::FlipRequest { at: 1 });
        assert_eq!(ask(&proxy, b"12345").await.unwrap(), b"13345");
        proxy.set(Fault::FlipResponse { at: 4 });
        assert_eq!(ask(&proxy, b"12345").await.unwrap(), b"12344");
        proxy.set(Fault::CutResponse { after: 2 });
        assert_eq!(ask(&proxy, b"12345").await.unwrap(), b"12");
        proxy.set(Fault::LoseResponse);
        assert_eq!(ask(&proxy, b"12345").await.unwrap(), b"");
        proxy.set(Fault::Reset);
        let error = ask(&proxy, b"12345").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let pause = Duration::from_millis(10);
        for (fault, pauses) in [(Fault::Trickle { pause }, 5), (Fault::Delay(pause), 2)] {
            proxy.set(fault);
            let start = std::time::Instant::now();
            assert_eq!(ask(&proxy, b"12345").await.unwrap(), b"12345");
            assert!(start.elapsed() >= pause * pauses, "{fault:?}");
        }
        assert_eq!(proxy.accepted(), 8);
    }

    #[tokio::test]
    async fn an_answer_before_the_end_of_a_request_arrives() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultProxy::tcp(listener.local_addr().unwrap()).await;
        for _ in 0..50 {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            client.set_nodelay(true).unwrap();
            client.write_all(b"begin").await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            server.read_u8().await.unwrap();
            server.write_all(b"no").await.unwrap();
            server.shutdown().await.unwrap();
            drop(server); // it has not read all, and so resets the connection
            client.write_all(b"end").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "no");
        }
    }

    #[tokio::test]
    async fn what_fell_into_a_black_hole_comes_out_when_it_closes() {
        let proxy = FaultProxy::tcp(echo().await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let mut answer = [0; 2];
        stream.write_all(b"ab").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();

        proxy.set(Fault::BlackHole);
        stream.write_all(b"cd").await.unwrap();
        let read = timeout(Duration::from_millis(100), stream.read_exact(&mut answer)).await;
        assert!(read.is_err(), "{read:?}");
        proxy.set(Fault::None);
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"cd");

        proxy.set(Fault::BlackHole);
        stream.write_all(b"ef").await.unwrap();
        drop(stream);
        let closed = async {
            while proxy.open() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), closed).await.expect("who went is noticed");
    }

    #[tokio::test]
    async fn http_requests_are_told_apart_and_refused() {
        let proxy = FaultProxy::http(&format!("http://{}", echo().await)).await;
        proxy.plan(|incoming| match (incoming.number, incoming.request) {
            (_, "PUT /a HTTP/1.1") => Fault::Refuse,
            (1, _) => Fault::FlipRequest { at: 1 },
            _ => Fault::None,
        });
        let refused = ask(&proxy, b"PUT /a HTTP/1.1\r\n\r\n12345").await.unwrap();
        assert!(refused.starts_with(b"HTTP/1.1 503 "));
        for body in ["13345", "12345"] {
            let answer = ask(&proxy, b"GET / HTTP/1.1\r\nx: y\r\n\r\n12345").await.unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(
                answer,
                format!("GET / HTTP/1.1\r\nconnection: close\r\nx: y\r\n\r\n{body}")
            );
        }
    }

    #[tokio::test]
    async fn a_guard_holds_what_it_does_not_like() {
        let proxy = FaultProxy::tcp(echo().await).await;
        let (sender, mut held) = tokio::sync::mpsc::unbounded_channel();
        proxy.guard(move |passing| {
            if passing.is_response && passing.bytes.starts_with(b"b") {
                sender.send(passing.number).unwrap();
                return Fault::BlackHole;
            }
            Fault::None
        });
        assert_eq!(ask(&proxy, b"a").await.unwrap(), b"a");
        let asking = ask(&proxy, b"b");
        tokio::select! {
            answer = asking => panic!("{answer:?}"),
            number = held.recv() => assert_eq!(number, Some(1)),
        }
        assert_eq!(ask(&proxy, b"c").await.unwrap(), b"c");
    }

    #[test]
    fn a_plan_is_the_same_for_the_same_seed() {
        let faults = |seed| {
            let mut plan = some(30, Fault::Refuse, seed);
            let incoming = Incoming { number: 0, request: "" };
            (0..1_000).map(|_| plan(incoming)).collect::<Vec<_>>()
        };
        assert_eq!(faults(1), faults(1));
        let refused = faults(1).into_iter().filter(|fault| *fault == Fault::Refuse).count();
        assert!((250..350).contains(&refused), "{refused}");
    }
}

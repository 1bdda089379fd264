//! One connection through the proxy.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Fault, Passing, Shared};

/// Longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How often to look whether a client has gone of which nothing is read.
const LOOK: Duration = Duration::from_millis(20);

/// How long a client may take to go after it was refused.
const REFUSED_PATIENCE: Duration = Duration::from_secs(10);

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// Accepts connections until it is aborted, and ends them with it.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        // No port, no memory: a test that needs them fails.
        let Ok((client, _)) = listener.accept().await else { continue };
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let open = Open::new(shared.clone());
        connections.spawn(async move {
            // Whatever went wrong, both sides see their connection end.
            let _ = serve(client, &open.0, number).await;
            drop(open);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Counts a connection as long as it is open.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(mut client: TcpStream, shared: &Shared, number: u64) -> io::Result<()> {
    client.set_nodelay(true)?;
    let head = if shared.is_http { read_head(&mut client).await? } else { Vec::new() };
    let request = String::from_utf8_lossy(&head);
    let request = request.lines().next().unwrap_or_default();
    // Before the choice: a switch in between must not be missed.
    let switch = shared.switch.subscribe();
    let fault = shared.choose(number, request);
    if fault == Fault::Refuse {
        return refuse(client).await;
    }
    let mut server = TcpStream::connect(shared.server).await?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let current = Current { fault, switch };
    let request = Pump {
        from: from_client,
        to: to_server,
        current: current.clone(),
        shared,
        number,
        is_response: false,
        body: Body { found: HEAD_END.len(), bytes: 0 },
    };
    let response = Pump {
        from: from_server,
        to: to_client,
        current,
        shared,
        number,
        is_response: true,
        body: Body { found: if shared.is_http { 0 } else { HEAD_END.len() }, bytes: 0 },
    };
    let request = async {
        match request.run(closed_after_one(&head)).await {
            // A client may go on listening after its last word, a server has no reason to. And a
            // server that has answered before it has read everything reads no more.
            Ok(()) => pending().await,
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => pending().await,
            Err(e) => Err(e),
        }
    };
    tokio::select! {
        result = request => result,
        result = response.run(Vec::new()) => result,
    }
}

/// Reads the head of a request, and whatever came with it.
async fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(HEAD_END.len()).any(|window| window == HEAD_END) {
        if client.read_buf(&mut head).await? == 0 || head.len() > MAX_HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(head)
}

const HEAD_END: &[u8] = b"\r\n\r\n";

/// Asks the server to close the connection after its response, and to tell the client.
fn closed_after_one(head: &[u8]) -> Vec<u8> {
    match head.windows(2).position(|window| window == b"\r\n") {
        Some(end) => [&head[..end], b"\r\nconnection: close", &head[end..]].concat(),
        None => head.to_vec(),
    }
}

async fn refuse(mut client: TcpStream) -> io::Result<()> {
    client.write_all(REFUSAL).await?;
    client.shutdown().await?;
    // Closing while a client still sends would reset the connection, answer included.
    let mut rest = vec![0; 64 << 10];
    let drained = timeout(REFUSED_PATIENCE, async {
        while client.read(&mut rest).await? > 0 {}
        Ok(())
    });
    drained.await?
}

/// The fault that holds now.
#[derive(Clone)]
struct Current {
    fault: Fault,
    switch: watch::Receiver<Fault>,
}

impl Current {
    fn now(&mut self) -> Fault {
        if self.switch.has_changed().unwrap_or_default() {
            self.fault = *self.switch.borrow_and_update();
        }
        self.fault
    }

    /// Until the fault is another one.
    async fn changed(&mut self) {
        match self.switch.changed().await {
            Ok(()) => self.fault = *self.switch.borrow_and_update(),
            Err(_) => pending().await,
        }
    }
}

/// Where a body is in what passes.
struct Body {
    /// How much of the end of the head was seen.
    found: usize,
    /// Bytes of the body so far.
    bytes: u64,
}

impl Body {
    /// Where in `chunk` the body begins or goes on, if it does.
    fn start_in(&mut self, chunk: &[u8]) -> usize {
        for (i, &byte) in chunk.iter().enumerate() {
            if self.found == HEAD_END.len() {
                return i;
            }
            let goes_on = byte == HEAD_END[self.found];
            self.found = if goes_on { self.found + 1 } else { usize::from(byte == b'\r') };
        }
        chunk.len()
    }
}

/// One direction of a connection.
struct Pump<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    current: Current,
    shared: &'a Shared,
    number: u64,
    is_response: bool,
    body: Body,
}

impl Pump<'_> {
    /// Passes on `first`, whose body is not counted, and then everything until the end.
    async fn run(mut self, first: Vec<u8>) -> io::Result<()> {
        self.wait_while_black().await?;
        let head_end = first.windows(HEAD_END.len()).position(|window| window == HEAD_END);
        let (head, body) = first.split_at(head_end.map_or(0, |at| at + HEAD_END.len()));
        self.to.write_all(head).await?;
        let mut chunk = body.to_vec();
        loop {
            if !chunk.is_empty() && !self.pass(&mut chunk).await? {
                return Ok(());
            }
            chunk.resize(16 << 10, 0);
            let bytes = tokio::select! {
                bytes = self.from.read(&mut chunk) => bytes?,
                () = self.current.changed() => {
                    if self.current.now() == Fault::Reset {
                        return self.reset();
                    }
                    chunk.clear();
                    continue;
                }
            };
            if bytes == 0 {
                return self.to.shutdown().await;
            }
            chunk.truncate(bytes);
        }
    }

    /// Passes on `chunk`, or what the fault leaves of it. Whether to go on.
    async fn pass(&mut self, chunk: &mut [u8]) -> io::Result<bool> {
        let (number, is_response) = (self.number, self.is_response);
        let fault = self.shared.ask_guard(Passing { number, is_response, bytes: chunk });
        if fault != Fault::None {
            self.current.fault = fault;
        }
        self.wait_while_black().await?;
        let start = self.body.start_in(chunk);
        let before = self.body.bytes;
        self.body.bytes += (chunk.len() - start) as u64;
        // Where the byte at this position of the body is in the chunk.
        let place = |at: u64| Some(start + usize::try_from(at.checked_sub(before)?).ok()?);
        match (self.current.now(), self.is_response) {
            (Fault::Reset, _) => return self.reset().map(|()| false),
            (Fault::LoseResponse, true) => return Ok(false),
            (Fault::Delay(time), _) => sleep(time).await,
            (Fault::FlipRequest { at }, false) | (Fault::FlipResponse { at }, true) => {
                if let Some(byte) = place(at).and_then(|place| chunk.get_mut(place)) {
                    *byte ^= 1;
                }
            }
            (Fault::CutResponse { after }, true) => {
                let end = place(after).unwrap_or(start);
                if end < chunk.len() {
                    self.to.write_all(&chunk[..end]).await?;
                    return Ok(false);
                }
            }
            (Fault::Trickle { pause }, true) => {
                for byte in chunk.iter() {
                    self.to.write_all(&[*byte]).await?;
                    sleep(pause).await;
                }
                return Ok(true);
            }
            _ => {}
        }
        self.to.write_all(chunk).await?;
        Ok(true)
    }

    /// Waits while nothing may pass. An error if the client goes meanwhile.
    async fn wait_while_black(&mut self) -> io::Result<()> {
        while self.current.now() == Fault::BlackHole {
            tokio::select! {
                () = self.current.changed() => {}
                () = sleep(LOOK) => {
                    let ready = timeout(Duration::ZERO, self.client().ready(Interest::READABLE)).await;
                    if let Ok(ready) = ready && ready?.is_read_closed() {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the connection, by an error, so that the client sees a reset.
    fn reset(&self) -> io::Result<()> {
        self.client().set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }

    fn client(&self) -> &TcpStream {
        if self.is_response { self.to.as_ref() } else { self.from.as_ref() }
    }
}

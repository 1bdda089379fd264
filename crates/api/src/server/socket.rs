//! A client's socket: it notes what happens on it, gives up a client that takes nothing, and parts
//! in a way that lets the client read the last answer.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Activity;

/// Unsent bytes that the kernel keeps for a connection. Its own limit is megabytes, of which it
/// says so late that they are taken that a slow client would look like one that takes nothing: so
/// whoever takes this much in `write_stall` is safe.
const UNSENT_BYTES: u32 = 128 * 1024;
/// A connection on which nothing happens is asked whether it still lives.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// How long a client may yet send after our last answer. A socket that is closed before everything
/// was read is reset, and the answer is lost: 413, 408 and 431 come while the client still sends.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Socket {
    stream: TcpStream,
    activity: Arc<Activity>,
    write_stall: Duration,
    /// Until when the client must have taken something. Set while the socket takes nothing.
    blocked: bool,
    stall: Option<Pin<Box<Sleep>>>,
    /// The client has sent everything.
    ended: bool,
    linger: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>, write_stall: Duration) -> Self {
        // Without them it only works less well.
        if let Err(error) = tune(&stream, write_stall) {
            tracing::debug!(%error, "socket options");
        }
        Self {
            stream,
            activity,
            write_stall,
            blocked: false,
            stall: None,
            ended: false,
            linger: None,
        }
    }

    /// Passes on what came of a write, unless nothing has been taken for too long.
    fn note_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.blocked {
                self.blocked = false;
                self.activity.set_blocked(false);
            }
            return written;
        }
        let end = Instant::now() + self.write_stall;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if !self.blocked {
            self.blocked = true;
            self.activity.set_blocked(true);
            stall.as_mut().reset(end);
        }
        ready!(stall.as_mut().poll(cx));
        super::count_cut("write_stall");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

fn tune(stream: &TcpStream, write_stall: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    // A client that is gone without a word: what was sent to it fits the buffers, or nearly.
    socket.set_tcp_user_timeout(Some(write_stall.max(Duration::from_secs(1))))
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.received();
        } else if buffer.remaining() > 0 {
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.note_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let end = Instant::now() + LINGER;
        let linger = this.linger.get_or_insert_with(|| Box::pin(sleep_until(end)));
        let mut scrap = [MaybeUninit::uninit(); 8 * 1024];
        while !this.ended && linger.as_mut().poll(cx).is_pending() {
            let mut scrap = ReadBuf::uninit(&mut scrap);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut scrap))?;
            this.ended = scrap.filled().is_empty();
        }
        Poll::Ready(Ok(()))
    }
}

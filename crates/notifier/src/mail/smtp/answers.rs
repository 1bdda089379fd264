//! What a mail server says, as whoever reads it may rely on: whole lines, one at a time, short,
//! ASCII, and not without end.
//!
//! Servers answer in the letters of their country, and hostile ones as they like. Lettre gives up on
//! a byte that is not UTF-8 or a line that is long, without having understood the code before it: a
//! mail that was refused, or taken, would be sent again for days.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What is kept of a line, in bytes: as much as RFC 5321 section 4.5.3.1.5 allows one.
const KEPT: usize = 510;
/// The longest line, in bytes: beyond, nobody knows whether it ever ends.
const LONGEST: usize = 4096;
/// The most lines in answer to a command.
const LINES: usize = 128;

/// A connection to a mail server, whose answers come in harmless lines.
#[derive(Debug)]
pub(super) struct Answers<S> {
    stream: S,
    /// As it came, less than [`LONGEST`] and what was read with it.
    raw: VecDeque<u8>,
    /// What is left of the line that is being read.
    line: VecDeque<u8>,
    /// How many were said since the last command.
    lines: usize,
}

impl<S> Answers<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, raw: VecDeque::new(), line: VecDeque::new(), lines: 0 }
    }

    /// For somebody who waits for a greeting, after the server has said its own.
    pub(super) fn greeted(stream: S) -> Self {
        Self { line: VecDeque::from(*b"220 again\r\n"), ..Self::new(stream) }
    }

    /// The connection, unless the server has said more than was read: in the clear, anybody may
    /// have said that, and it must not count as said by TLS (RFC 3207 section 6).
    pub(super) fn into_silent(self) -> Option<S> {
        (self.raw.is_empty() && self.line.is_empty()).then_some(self.stream)
    }

    /// Takes the next line out of what came.
    fn next_line(&mut self) -> io::Result<bool> {
        let Some(end) = self.raw.iter().position(|byte| *byte == b'\n') else {
            let is_endless = self.raw.len() >= LONGEST;
            return if is_endless { Err(endless("a line")) } else { Ok(false) };
        };
        self.lines += 1;
        if self.lines > LINES {
            return Err(endless("an answer"));
        }
        let raw: Vec<u8> = self.raw.drain(..=end).collect();
        let raw = raw.strip_suffix(b"\r\n").unwrap_or(&raw[..end]);
        self.line.extend(raw.iter().take(KEPT).map(|byte| match byte {
            b' '..=b'~' => *byte,
            _ => b'?',
        }));
        // A code alone is an answer too (RFC 5321 section 4.2).
        if raw.len() == 3 {
            self.line.push_back(b' ');
        }
        self.line.extend(*b"\r\n");
        Ok(true)
    }
}

fn endless(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the server sends {what} without end"))
}

impl<S: AsyncRead + Unpin> AsyncRead for Answers<S> {
    /// At most one line.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.line.is_empty() && !this.next_line()? {
            let mut bytes = [0; 1024];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.raw.extend(read.filled());
        }
        let count = this.line.len().min(out.remaining());
        let taken: Vec<u8> = this.line.drain(..count).collect();
        out.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Answers<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.lines = 0;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Answers<TcpStream> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncTokioStream for Answers<TlsStream<TcpStream>> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().0.peer_addr()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn read(said: &[u8]) -> Vec<io::Result<String>> {
        let (mut server, client) = tokio::io::duplex(1 << 20);
        server.write_all(said).await.unwrap();
        drop(server);
        let (mut answers, mut read) = (Answers::new(client), Vec::new());
        loop {
            let mut line = [0; 1000];
            match answers.read(&mut line).await {
                Ok(0) => return read,
                Ok(count) => read.push(Ok(String::from_utf8(line[..count].to_vec()).unwrap())),
                Err(error) => {
                    read.push(Err(error));
                    return read;
                }
            }
        }
    }

    async fn lines(said: &[u8]) -> Vec<String> {
        read(said).await.into_iter().collect::<io::Result<_>>().unwrap()
    }

    #[tokio::test]
    async fn lines_come_one_at_a_time_and_in_ascii() {
        let said = b"250-first\r\n250 Gr\xFC\xDF\x1B Gott\r\n250\r\n250 bare\nhalf";
        let expected = ["250-first\r\n", "250 Gr??? Gott\r\n", "250 \r\n", "250 bare\r\n"];
        assert_eq!(lines(said).await, expected);
    }

    #[tokio::test]
    async fn long_lines_are_cut_and_endless_ones_end() {
        for (length, kept) in [(KEPT, KEPT), (KEPT + 1, KEPT), (LONGEST - 2, KEPT)] {
            let said = [vec![b'5'; length], b"\r\n".to_vec()].concat();
            assert_eq!(lines(&said).await, ["5".repeat(kept) + "\r\n"]);
        }
        let endless = read(&vec![b'5'; 1 << 20]).await;
        assert!(matches!(&endless[..], [Err(error)] if error.to_string().contains("a line")));
    }

    #[tokio::test]
    async fn answers_have_an_end() {
        let most = b"250-x\r\n".repeat(LINES);
        assert_eq!(lines(&most).await.len(), LINES);
        let read = read(&b"250-x\r\n".repeat(LINES + 1)).await;
        let last = read.last().unwrap().as_ref().unwrap_err();
        assert!(last.to_string().contains("an answer"), "{last}");
        // With each command it begins anew.
        let (mut server, client) = tokio::io::duplex(1 << 20);
        let mut answers = Answers::new(client);
        let mut line = [0; 100];
        for _ in 0..3 {
            server.write_all(&most).await.unwrap();
            for _ in 0..LINES {
                assert_eq!(answers.read(&mut line).await.unwrap(), 7);
            }
            answers.write_all(b"NOOP\r\n").await.unwrap();
        }
    }

    #[tokio::test]
    async fn whoever_has_said_more_is_not_silent() {
        for (said, is_silent) in
            [("220 go\r\n", true), ("220 go\r\n250 x\r\n", false), ("220 go\r\n2", false)]
        {
            let (mut server, client) = tokio::io::duplex(100);
            server.write_all(said.as_bytes()).await.unwrap();
            let mut answers = Answers::new(client);
            let mut line = [0; 100];
            assert_eq!(answers.read(&mut line).await.unwrap(), 8);
            assert_eq!(answers.into_silent().is_some(), is_silent, "{said}");
        }
    }
}

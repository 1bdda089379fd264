//! What a child writes to standard error: the end of it is kept, for whoever looks into a crash.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, ioctl_fionbio, read};

/// How much is kept, in bytes.
const MAX_BYTES: usize = 16 << 10;

/// Keeps the end of a stream.
pub(super) struct Diagnosis<'a> {
    stderr: BorrowedFd<'a>,
    is_open: bool,
    tail: VecDeque<u8>,
}

impl<'a> Diagnosis<'a> {
    pub(super) fn new(stderr: BorrowedFd<'a>) -> std::io::Result<Self> {
        ioctl_fionbio(stderr, true)?;
        Ok(Self { stderr, is_open: true, tail: VecDeque::new() })
    }

    /// What to wait for, until it is closed.
    pub(super) fn stderr(&self) -> Option<BorrowedFd<'a>> {
        self.is_open.then_some(self.stderr)
    }

    /// Takes what is there, without waiting, and not for ever from who writes faster than this
    /// reads.
    pub(super) fn drain(&mut self) {
        let mut buffer = [0; MAX_BYTES];
        for _ in 0..16 {
            match read(self.stderr, &mut buffer) {
                Ok(0) => {
                    self.is_open = false;
                    return;
                }
                Ok(count) => self.keep(&buffer[..count]),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(MAX_BYTES);
        self.tail.drain(..excess);
    }

    /// The end of it, in lines, without other control characters.
    pub(super) fn into_text(mut self) -> String {
        self.drain();
        let text = String::from_utf8_lossy(self.tail.make_contiguous()).into_owned();
        text.replace(|c: char| c.is_control() && c != '\n', " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_end_is_kept_and_no_more() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut diagnosis = Diagnosis::new(ours.as_fd()).unwrap();
        for _ in 0..100 {
            theirs.write_all(&[b'x'; 1000]).unwrap();
            diagnosis.drain();
        }
        assert!(diagnosis.stderr().is_some());
        theirs.write_all(b"\x1b[2J\xff\nlast").unwrap();
        drop(theirs);
        diagnosis.drain();
        assert!(diagnosis.stderr().is_none());
        let text = diagnosis.into_text();
        assert!(text.ends_with("x [2J\u{fffd}\nlast") && text.len() <= MAX_BYTES + 2);
    }
}

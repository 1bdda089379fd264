//! Where the MP3 goes: a body that is written in order, and a head that is written last.
//!
//! The tag frame at the start of an MP3 holds numbers that are known only at the end (frames,
//! bytes, seek table). Its length is known at the beginning, so a sink reserves it, takes the body,
//! and is given the head when it is complete. A file seeks back; an object store uploads its first
//! part last; nothing needs a temporary copy.

use std::io::{self, Seek, SeekFrom, Write};

/// Takes one MP3.
///
/// Calls come in this order: `begin` once, `write_body` any number of times, `finish` once. A sink
/// that is dropped without `finish` must leave nothing behind that looks like a result.
pub trait OutputSink: Send {
    /// Reserves `head_bytes` at the start of the output.
    fn begin(&mut self, head_bytes: usize) -> io::Result<()>;

    /// Appends `bytes` to the body.
    fn write_body(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Takes the head, which is exactly as long as was reserved, and completes the output.
    fn finish(&mut self, head: &[u8]) -> io::Result<()>;
}

impl<S: OutputSink + ?Sized> OutputSink for &mut S {
    fn begin(&mut self, head_bytes: usize) -> io::Result<()> {
        (**self).begin(head_bytes)
    }

    fn write_body(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).write_body(bytes)
    }

    fn finish(&mut self, head: &[u8]) -> io::Result<()> {
        (**self).finish(head)
    }
}

/// A sink over anything that writes and seeks, such as a file. The output starts at offset 0.
#[derive(Debug)]
pub struct SeekSink<W>(pub W);

impl<W: Write + Seek + Send> OutputSink for SeekSink<W> {
    fn begin(&mut self, head_bytes: usize) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(head_bytes as u64)).map(drop)
    }

    fn write_body(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn finish(&mut self, head: &[u8]) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(head)?;
        self.0.flush()
    }
}

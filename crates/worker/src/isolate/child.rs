//! The child's side: shuts itself in, says hello, converts, and ends.
//!
//! It holds nothing but its three standard descriptors. The parent answers for the source and takes
//! the output; whatever becomes of the child is of no consequence but for this one job.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::process::ExitCode;
use std::time::Duration;

use rayon::ThreadPoolBuilder;
use tonemill_codec::{CancelToken, CodecError, ErrorKind, OutputSink};

use super::error::RemoteError;
use super::sandbox;
use super::wire::{self, Conversion, MAX_CHUNK, MAX_READ, Order, Request, Tag};
use crate::fault;
use crate::options::codec_options;

/// How long a child may take to describe an input that it could not convert.
const PROBE_TIME: Duration = Duration::from_secs(5);

/// What a process does that was started with [`CHILD_ARGUMENT`](super::CHILD_ARGUMENT): one
/// conversion for its parent.
///
/// Must be called first in `main`, while there is no other thread.
#[must_use]
pub fn child_main() -> ExitCode {
    match obey() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn obey() -> io::Result<()> {
    let protections = sandbox::enter()?;
    // The parent's own words, no media. How high the other walls are to be stands there.
    let order = Order::read(&mut Input)?;
    sandbox::close(&order.sandbox)?;
    wire::send_json(&mut Output, Tag::Hello, &protections)?;
    match order.conversion {
        Some(conversion) => convert(&conversion, &order.limits),
        None => Ok(()),
    }
}

fn convert(order: &Conversion, limits: &tonemill_codec::Limits) -> io::Result<()> {
    let options = codec_options(&order.options, limits).map_err(io::Error::other)?;
    let pool = ThreadPoolBuilder::new().num_threads(order.threads).build();
    let pool = match pool.map_err(io::Error::other) {
        Ok(pool) => pool,
        Err(error) => return fail(&CodecError::Thread(error)),
    };
    let source = || RemoteSource { position: 0, len: order.source_bytes, was_read: false };
    let cancel = CancelToken::new();
    let tell = |progress| {
        // Who does not listen any more will say so at the next write.
        let _ = wire::send(&mut Output, Tag::Progress, &wire::encode_progress(progress));
    };
    let sink = RemoteSink { was_written: false };
    match tonemill_codec::transcode(source(), sink, &options, &pool, &cancel, tell) {
        Ok(report) => wire::send_json(&mut Output, Tag::Done, &report),
        Err(error) => {
            fail(&error)?;
            describe(source(), &error, &options)
        }
    }
}

fn fail(error: &CodecError) -> io::Result<()> {
    wire::send_json(&mut Output, Tag::Failed, &RemoteError::from(error))
}

/// Says what the input says about itself, if that may explain the error. The error has been sent:
/// if this fails or crashes, nothing is lost.
fn describe(
    source: RemoteSource,
    error: &CodecError,
    options: &tonemill_codec::Options,
) -> io::Result<()> {
    if !matches!(error.kind(), ErrorKind::BadInput | ErrorKind::LimitExceeded) {
        return Ok(());
    }
    let wall_clock = options.limits.wall_clock.min(PROBE_TIME);
    let limits = tonemill_codec::Limits { wall_clock, ..options.limits.clone() };
    let probe = tonemill_codec::probe(source, options.decoder, &limits, &CancelToken::new());
    match probe {
        Ok(probe) => wire::send_json(&mut Output, Tag::Probe, &probe),
        Err(_) => Ok(()),
    }
}

/// Standard input, without a buffer.
struct Input;

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin(), buf)?)
    }
}

/// Standard output, without a buffer.
struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The source as the parent gives it.
struct RemoteSource {
    position: u64,
    len: u64,
    was_read: bool,
}

impl Read for RemoteSource {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.was_read, true) {
            fault::point("decode", &[("bytes", self.len)])?;
        }
        let rest = self.len.saturating_sub(self.position);
        let len = rest.min(MAX_READ.into()).min(buf.len() as u64) as u32;
        if len == 0 {
            return Ok(0);
        }
        let request = Request { offset: self.position, len };
        // The parent reads it in one piece: 12 bytes always fit.
        rustix::io::write(io::stdin(), &request.encode())?;
        let mut count = [0; 4];
        Input.read_exact(&mut count)?;
        let count = u32::from_le_bytes(count);
        if count > len {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Input.read_exact(&mut buf[..count as usize])?;
        self.position += u64::from(count);
        Ok(count as usize)
    }
}

impl Seek for RemoteSource {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(target) => (target, 0),
            SeekFrom::End(offset) => (self.len, offset),
            SeekFrom::Current(offset) => (self.position, offset),
        };
        self.position = base.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Hands the output to the parent.
struct RemoteSink {
    was_written: bool,
}

impl OutputSink for RemoteSink {
    fn begin(&mut self, head_bytes: usize) -> io::Result<()> {
        wire::send(&mut Output, Tag::Begin, &(head_bytes as u64).to_le_bytes())
    }

    fn write_body(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !std::mem::replace(&mut self.was_written, true) {
            fault::point("encode", &[])?;
        }
        let mut chunks = bytes.chunks(MAX_CHUNK as usize);
        chunks.try_for_each(|chunk| wire::send(&mut Output, Tag::Body, chunk))
    }

    fn finish(&mut self, head: &[u8]) -> io::Result<()> {
        fault::point("finish", &[])?;
        let mut chunks = head.chunks(MAX_CHUNK as usize);
        chunks.try_for_each(|chunk| wire::send(&mut Output, Tag::Head, chunk))
    }
}

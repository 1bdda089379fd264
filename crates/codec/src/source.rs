//! Where media comes from: anything that reads and seeks, behind a guard.
//!
//! The decoders call [`GuardedSource`] from inside C. It therefore never panics into its caller,
//! polls cancellation and the deadline on every call (FFmpeg's own interrupt callback hardly fires
//! under custom I/O), and keeps the first error, because FFmpeg hands back no more than a number
//! and treats some errors as a quiet end of file.

use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cancel::CancelToken;
use crate::envelope::Envelope;
use crate::error::{CodecError, Result};
use crate::isobmff::BoxWatch;
use crate::limits::{Deadline, Limits};

/// Media to read. It must block until it has bytes, an error or the end.
pub trait MediaSource: Read + Seek + Send + 'static {}
impl<T: Read + Seek + Send + 'static> MediaSource for T {}

/// What the guard has seen, shared with the stage that drives the decoder.
#[derive(Debug, Default)]
pub(crate) struct SourceState {
    bytes_read: AtomicU64,
    first_error: Mutex<Option<CodecError>>,
    boxes: Mutex<Option<BoxWatch>>,
}

impl SourceState {
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The first thing that went wrong while reading, once.
    pub(crate) fn take_error(&self) -> Option<CodecError> {
        self.first_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Follows the boxes of an MP4 from now on.
    pub(crate) fn watch_boxes(&self, watch: Option<BoxWatch>) {
        *self.boxes.lock().unwrap_or_else(PoisonError::into_inner) = watch;
    }

    /// What the boxes that were read past say about a file of `len` bytes.
    pub(crate) fn watched_envelope(&self, len: u64) -> Envelope {
        let boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        boxes.as_ref().map_or(Envelope::Unknown, |watch| watch.envelope(len))
    }

    fn see(&self, at: u64, bytes: &[u8]) {
        let mut boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = &mut *boxes {
            watch.see(at, bytes);
        }
    }

    fn is_watching(&self) -> bool {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn keep(&self, error: CodecError) {
        self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Stops every stage of one conversion.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// The caller's wish.
    pub(crate) cancel: CancelToken,
    /// Another stage has failed.
    pub(crate) abort: CancelToken,
    pub(crate) deadline: Deadline,
}

impl Stop {
    /// For a conversion that starts now.
    pub(crate) fn new(limits: &Limits, cancel: &CancelToken) -> Self {
        let deadline = Deadline::starting_now(limits.wall_clock);
        Self { cancel: cancel.clone(), abort: CancelToken::new(), deadline }
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.cancel.check()?;
        self.abort.check()?;
        self.deadline.check()
    }
}

/// A [`MediaSource`] that is safe to call from C. Clones share one source and its position, so that
/// an input can be opened again after a first look at it.
#[derive(Clone)]
pub(crate) struct GuardedSource {
    inner: Arc<Mutex<Box<dyn ReadSeek>>>,
    len: u64,
    /// What is read in place of what the source has, by offset.
    disguise: Arc<[(u64, [u8; 4])]>,
    stop: Stop,
    state: Arc<SourceState>,
}

trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

impl GuardedSource {
    /// Measures the source, checks it against the limits and rewinds it.
    pub(crate) fn new(mut source: impl MediaSource, limits: &Limits, stop: Stop) -> Result<Self> {
        let len = source.seek(SeekFrom::End(0)).map_err(CodecError::Source)?;
        if len == 0 {
            return Err(CodecError::EmptyInput);
        }
        limits.check_input(len)?;
        source.rewind().map_err(CodecError::Source)?;
        let inner: Arc<Mutex<Box<dyn ReadSeek>>> = Arc::new(Mutex::new(Box::new(source)));
        Ok(Self { inner, len, disguise: Arc::default(), stop, state: Arc::default() })
    }

    pub(crate) fn state(&self) -> Arc<SourceState> {
        Arc::clone(&self.state)
    }

    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Reads other bytes at the offsets given.
    pub(crate) fn disguise(self, bytes: Vec<(u64, [u8; 4])>) -> Self {
        Self { disguise: bytes.into(), ..self }
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    fn guarded<T>(
        &mut self,
        call: impl FnOnce(&mut dyn ReadSeek) -> io::Result<T>,
    ) -> io::Result<T> {
        if let Err(stopped) = self.stop.check() {
            self.state.keep(stopped);
            return Err(io::ErrorKind::Other.into());
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            call(self.inner.lock().unwrap_or_else(PoisonError::into_inner).as_mut())
        }));
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Ok(Err(error)) => {
                let kind = error.kind();
                self.state.keep(CodecError::Source(error));
                Err(kind.into())
            }
            Err(_) => {
                let detail = "the media source panicked".to_owned();
                self.state.keep(CodecError::Bug { stage: "read", detail });
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

impl Read for GuardedSource {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let disguise = Arc::clone(&self.disguise);
        let state = Arc::clone(&self.state);
        let wants_place = !disguise.is_empty() || state.is_watching();
        let count = self.guarded(|inner| {
            let at = if wants_place { inner.stream_position()? } else { 0 };
            let count = inner.read(buf)?;
            state.see(at, &buf[..count]);
            for (offset, bytes) in disguise.iter() {
                overlay(&mut buf[..count], at, *offset, *bytes);
            }
            Ok(count)
        })?;
        self.state.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Puts `bytes`, which belong at `offset`, over what of them lies in `buf`, which was read at `at`.
fn overlay(buf: &mut [u8], at: u64, offset: u64, bytes: [u8; 4]) {
    for (position, byte) in (offset..).zip(bytes) {
        let index = position.checked_sub(at).and_then(|index| usize::try_from(index).ok());
        if let Some(target) = index.and_then(|index| buf.get_mut(index)) {
            *target = byte;
        }
    }
}

impl Seek for GuardedSource {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // Seeking before the start or far behind the end is a question that demuxers of damaged
        // files ask, not a failure of the source; it must not be remembered as one.
        let (base, offset) = match to {
            SeekFrom::Start(target) => (target, 0),
            SeekFrom::End(offset) => (self.len, offset),
            SeekFrom::Current(offset) => (self.guarded(|inner| inner.stream_position())?, offset),
        };
        let Some(target) = base.checked_add_signed(offset) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let target = target.min(self.len);
        self.guarded(|inner| inner.seek(SeekFrom::Start(target)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use std::time::Duration;

    fn stop() -> Stop {
        Stop {
            cancel: CancelToken::new(),
            abort: CancelToken::new(),
            deadline: Deadline::starting_now(Duration::MAX),
        }
    }

    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("reader defect")
        }
    }
    impl Seek for Panics {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(1)
        }
    }

    #[test]
    fn a_panic_in_the_source_becomes_an_error() {
        let mut source = GuardedSource::new(Panics, &Limits::default(), stop()).unwrap();
        assert!(source.read(&mut [0; 4]).is_err());
        assert!(matches!(source.state().take_error(), Some(CodecError::Bug { .. })));
    }

    #[test]
    fn cancellation_is_seen_by_the_next_read_and_kept() {
        let stop = stop();
        let mut source =
            GuardedSource::new(Cursor::new(vec![1, 2, 3]), &Limits::default(), stop.clone())
                .unwrap();
        assert_eq!(source.read(&mut [0; 2]).unwrap(), 2);
        stop.cancel.cancel();
        assert!(source.read(&mut [0; 2]).is_err());
        assert!(matches!(source.state().take_error(), Some(CodecError::Cancelled)));
        assert_eq!(source.state().bytes_read(), 2);
    }

    #[test]
    fn an_impossible_seek_is_no_failure_of_the_source() {
        let mut source =
            GuardedSource::new(Cursor::new(vec![0; 8]), &Limits::default(), stop()).unwrap();
        assert!(source.seek(SeekFrom::Current(-1)).is_err());
        assert!(source.seek(SeekFrom::End(-9)).is_err());
        assert_eq!(source.seek(SeekFrom::Start(u64::MAX)).unwrap(), 8);
        assert!(source.state().take_error().is_none());
        assert_eq!(source.seek(SeekFrom::End(-8)).unwrap(), 0);
    }

    #[test]
    fn a_disguise_is_seen_however_it_is_read() {
        let file = b"....trak....trak....".to_vec();
        for step in 1..=file.len() {
            let mut source =
                GuardedSource::new(Cursor::new(file.clone()), &Limits::default(), stop())
                    .unwrap()
                    .disguise(vec![(4, *b"free"), (12, *b"FREE")]);
            let mut read = Vec::new();
            let mut buf = vec![0; step];
            while let count @ 1.. = source.read(&mut buf).unwrap() {
                read.extend_from_slice(&buf[..count]);
            }
            assert_eq!(read, b"....free....FREE....", "{step}");
        }
    }

    #[test]
    fn an_empty_source_is_refused() {
        let empty = GuardedSource::new(Cursor::new(vec![]), &Limits::default(), stop());
        assert!(matches!(empty.err(), Some(CodecError::EmptyInput)));
    }
}

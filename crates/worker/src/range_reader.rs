//! Reads an object of the store as if it were a file, by ranges.
//!
//! Ranges grow while they are read one after the other, and the next is fetched while this one is
//! decoded; a jump starts small again. Ranges are kept, the least recently used go first, so that a
//! decoder that goes back and forth between an index and its media finds both at hand. Nothing is
//! fetched ahead that was fetched before. Memory is bounded by [`KEPT_BYTES`] and two ranges.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tonemill_job::ObjectKey;
use tonemill_job::objects::{ObjectInfo, ObjectStore, StoreError};

use crate::control::Control;
use crate::coverage::Coverage;
use crate::fault;
use crate::stages::Watch;

/// An object that is no longer is read at once.
const WHOLE_BYTES: u64 = 1 << 20;
/// The first range at the start of an object, where media begins or its index lies.
const FIRST_BYTES: u64 = 1 << 20;
/// The first range after a jump.
const JUMP_BYTES: u64 = 256 << 10;
/// What is fetched again is fetched in small pieces: the index of an MP4 is read in several places
/// at once, a little at a time.
const AGAIN_BYTES: u64 = 64 << 10;
/// Longest range.
const LONGEST_BYTES: u64 = 4 << 20;
/// Ranges that are kept.
const KEPT_BYTES: u64 = 8 << 20;
/// A rest of the object that is no longer is fetched with what is before it.
const REST_BYTES: u64 = 64 << 10;

/// An object as a source of media.
pub(crate) struct RangeReader {
    input: Arc<Input>,
    position: u64,
    kept: Vec<Kept>,
    /// Number of the latest use.
    uses: u64,
    /// How long the next range is, if it follows the one before.
    window: u64,
    ahead: Option<Ahead>,
}

/// The object, and what was read of it; outlives the reader.
pub(crate) struct Input {
    store: Arc<dyn ObjectStore>,
    key: ObjectKey,
    bytes: u64,
    control: Control,
    runtime: Handle,
    /// The fetching of all of it.
    fetching: Watch,
    seen: Mutex<Seen>,
}

/// What was read of an object.
struct Seen {
    coverage: Coverage,
    bytes: u64,
    requests: u64,
    last_offset: u64,
}

struct Kept {
    start: u64,
    bytes: Bytes,
    used: u64,
}

/// A range that is being fetched.
struct Ahead {
    range: Range<u64>,
    task: JoinHandle<Result<Bytes, StoreError>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Input {
    /// The object `key`, of which the store says `info`.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        key: ObjectKey,
        info: &ObjectInfo,
        control: Control,
        runtime: Handle,
    ) -> Arc<Self> {
        let coverage = Coverage::new(info.checksum);
        let seen = Mutex::new(Seen { coverage, bytes: 0, requests: 0, last_offset: 0 });
        let fetching = Watch::default();
        Arc::new(Self { store, key, bytes: info.bytes, control, runtime, fetching, seen })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes fetched, and the requests that it took.
    pub(crate) fn fetched(&self) -> (u64, u64) {
        let seen = self.seen();
        (seen.bytes, seen.requests)
    }

    /// The fetching of all of it.
    pub(crate) fn fetching(&self) -> &Watch {
        &self.fetching
    }

    /// Where was read last.
    pub(crate) fn last_offset(&self) -> u64 {
        self.seen().last_offset
    }

    /// Whether what was read is what the store says it holds, after fetching what was not read, up
    /// to `budget` bytes. `None` if that cannot be told.
    pub(crate) fn verify(self: &Arc<Self>, budget: u64) -> io::Result<Option<bool>> {
        let gaps = self.seen().coverage.gaps(0..self.bytes);
        if gaps.iter().map(|gap| gap.end - gap.start).sum::<u64>() <= budget {
            for gap in gaps {
                let mut at = gap.start;
                while at < gap.end {
                    let end = gap.end.min(at + LONGEST_BYTES);
                    self.wait(self.fetch(at..end))?;
                    at = end;
                }
            }
        }
        Ok(self.seen().coverage.is_intact(self.bytes))
    }

    /// Fetches a range in the background.
    fn fetch(self: &Arc<Self>, range: Range<u64>) -> JoinHandle<Result<Bytes, StoreError>> {
        let input = Arc::clone(self);
        self.runtime.spawn(async move {
            let began = Instant::now();
            let fetched = input.store.get(&input.key, range.clone()).await;
            input.fetching.worked(began, fetched.as_ref().map_or(0, Bytes::len) as u64);
            let bytes = fetched?;
            let mut seen = input.seen();
            seen.coverage.add(range.start, &bytes);
            seen.bytes += bytes.len() as u64;
            seen.requests += 1;
            metrics::counter!("tonemill_store_read_bytes_total").increment(bytes.len() as u64);
            drop(seen);
            Ok(bytes)
        })
    }

    /// Waits for a range, or for the end of the attempt.
    fn wait(&self, mut task: JoinHandle<Result<Bytes, StoreError>>) -> io::Result<Bytes> {
        let _waiting = self.control.waiting();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.control.stopped() => {
                    task.abort();
                    Err(io::Error::other("the attempt was stopped"))
                }
                fetched = &mut task => match fetched {
                    Ok(Ok(bytes)) => Ok(bytes),
                    Ok(Err(error)) => Err(io::Error::other(error)),
                    Err(panicked) => Err(io::Error::other(panicked)),
                },
            }
        })
    }
}

impl RangeReader {
    pub(crate) fn new(input: Arc<Input>) -> Self {
        Self { input, position: 0, kept: Vec::new(), uses: 0, window: JUMP_BYTES, ahead: None }
    }

    /// The kept range that holds the byte at `offset`.
    fn find(&self, offset: u64) -> Option<usize> {
        self.kept
            .iter()
            .position(|kept| kept.start <= offset && offset < kept.start + kept.bytes.len() as u64)
    }

    /// Makes sure that the byte at the position is at hand, and says where.
    fn fill(&mut self) -> io::Result<usize> {
        if let Some(found) = self.find(self.position) {
            return Ok(found);
        }
        let (start, task) = match self.ahead.take() {
            Some(mut ahead) if ahead.range.contains(&self.position) => {
                let never = self.input.runtime.spawn(std::future::pending());
                (ahead.range.start, std::mem::replace(&mut ahead.task, never))
            }
            _ => {
                let range = self.next_range(self.position);
                (range.start, self.input.fetch(range))
            }
        };
        let bytes = self.input.wait(task)?;
        self.keep(start, bytes);
        self.find(self.position).ok_or_else(|| io::Error::other("the store gave another range"))
    }

    /// What to fetch to have the byte at `offset`.
    fn next_range(&mut self, offset: u64) -> Range<u64> {
        let len = self.input.bytes;
        if len <= WHOLE_BYTES {
            return 0..len;
        }
        let seen = self.input.seen();
        if seen.coverage.contains(offset) {
            return offset..len.min(offset + AGAIN_BYTES);
        }
        let follows = offset > 0 && seen.coverage.contains(offset - 1);
        self.window = match (offset, follows) {
            (0, _) => FIRST_BYTES,
            (_, true) => (self.window * 2).min(LONGEST_BYTES),
            (_, false) => JUMP_BYTES,
        };
        let gaps = seen.coverage.gaps(offset..len);
        let gap_end = gaps.first().map_or(len, |gap| gap.end);
        let end = gap_end.min(offset + self.window);
        if gap_end - end <= REST_BYTES { offset..gap_end } else { offset..end }
    }

    /// Starts on what follows the range `at`, if it is being read in order.
    fn fetch_ahead(&mut self, at: usize) {
        let kept = &self.kept[at];
        let end = kept.start + kept.bytes.len() as u64;
        let half_read = self.position - kept.start >= kept.bytes.len() as u64 / 2;
        // A jump of the usual length says nothing yet; what follows it will.
        let in_order = kept.bytes.len() as u64 > JUMP_BYTES;
        if self.ahead.is_some() || !half_read || !in_order || end >= self.input.bytes {
            return;
        }
        if self.input.seen().coverage.contains(end) {
            return;
        }
        let range = self.next_range(end);
        let task = self.input.fetch(range.clone());
        self.ahead = Some(Ahead { range, task });
    }

    fn keep(&mut self, start: u64, bytes: Bytes) {
        self.uses += 1;
        self.kept.push(Kept { start, bytes, used: self.uses });
        let size = |kept: &Kept| kept.bytes.len() as u64;
        while self.kept.len() > 1 && self.kept.iter().map(size).sum::<u64>() > KEPT_BYTES {
            let oldest = self.kept.iter().enumerate().min_by_key(|(_, kept)| kept.used);
            let Some((oldest, _)) = oldest else { break };
            self.kept.swap_remove(oldest);
        }
    }
}

impl Read for RangeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.input.bytes || buf.is_empty() {
            return Ok(0);
        }
        fault::point("fetch", &[("bytes", self.input.bytes)])?;
        let at = self.fill()?;
        self.uses += 1;
        let kept = &mut self.kept[at];
        kept.used = self.uses;
        let from = (self.position - kept.start) as usize;
        let count = buf.len().min(kept.bytes.len() - from);
        buf[..count].copy_from_slice(&kept.bytes[from..from + count]);
        self.position += count as u64;
        self.input.seen().last_offset = self.position;
        self.input.control.alive();
        self.fetch_ahead(at);
        Ok(count)
    }
}

impl Seek for RangeReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(target) => (target, 0),
            SeekFrom::End(offset) => (self.input.bytes, offset),
            SeekFrom::Current(offset) => (self.position, offset),
        };
        let target = base.checked_add_signed(offset);
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests;

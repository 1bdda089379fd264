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
            let bytes = input.store.get(&input.key, range.clone()).await?;
            input.fetching.worked(began, bytes.len() as u64);
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
mod tests {
    use super::*;
    use crate::control::Stop;
    use tonemill_job::JobId;
    use tonemill_job::objects::FolderStore;

    /// An object of `len` bytes in a folder, and a reader.
    struct Shelf {
        runtime: tokio::runtime::Runtime,
        _folder: tempfile::TempDir,
        store: Arc<dyn ObjectStore>,
        key: ObjectKey,
        bytes: Vec<u8>,
    }

    impl Shelf {
        fn new(len: usize) -> Self {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let folder = tempfile::tempdir().unwrap();
            let store: Arc<dyn ObjectStore> = Arc::new(FolderStore::new(folder.path()));
            let key = ObjectKey::upload(JobId::new());
            let mut random = fastrand::Rng::with_seed(len as u64);
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
            runtime.block_on(async {
                let mut upload = store.create(&key, "video/mp4", 0).await.unwrap();
                upload.write(Bytes::from(bytes.clone())).await.unwrap();
                upload.finish(Bytes::new()).await.unwrap();
            });
            Self { runtime, _folder: folder, store, key, bytes }
        }

        fn input(&self, control: &Control) -> Arc<Input> {
            let info = self.runtime.block_on(self.store.head(&self.key)).unwrap();
            let (store, key) = (Arc::clone(&self.store), self.key.clone());
            Input::new(store, key, &info, control.clone(), self.runtime.handle().clone())
        }
    }

    fn read_all(reader: &mut RangeReader) -> Vec<u8> {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn reading_in_order_fetches_each_byte_once_in_long_ranges() {
        for len in [1, 1 << 16, 1 << 20, (1 << 20) + 1, 30_000_000] {
            let shelf = Shelf::new(len);
            let input = shelf.input(&Control::default());
            assert!(read_all(&mut RangeReader::new(Arc::clone(&input))) == shelf.bytes, "{len}");
            let (bytes, requests) = input.fetched();
            assert_eq!(bytes, len as u64);
            assert!(requests <= 4 + len as u64 / LONGEST_BYTES, "{len}: {requests}");
        }
    }

    #[test]
    fn an_index_at_the_end_is_read_without_reading_anything_twice() {
        let shelf = Shelf::new(20_000_000);
        let input = shelf.input(&Control::default());
        let mut reader = RangeReader::new(Arc::clone(&input));
        let mut head = [0; 32];
        reader.read_exact(&mut head).unwrap();
        reader.seek(SeekFrom::End(-700_000)).unwrap();
        let index = read_all(&mut reader);
        assert!(index == shelf.bytes[shelf.bytes.len() - 700_000..]);
        reader.seek(SeekFrom::Start(32)).unwrap();
        let mut media = vec![0; shelf.bytes.len() - 700_000 - 32];
        reader.read_exact(&mut media).unwrap();
        assert!(media == shelf.bytes[32..shelf.bytes.len() - 700_000]);
        let (bytes, _) = input.fetched();
        let times = bytes as f64 / shelf.bytes.len() as f64;
        assert!(times < 1.01, "{times}");
    }

    #[test]
    fn any_reads_and_seeks_give_the_bytes_of_the_object() {
        let shelf = Shelf::new(12_000_001);
        for seed in 0..8 {
            let mut random = fastrand::Rng::with_seed(seed);
            let input = shelf.input(&Control::default());
            let mut reader = RangeReader::new(Arc::clone(&input));
            for _ in 0..300 {
                let at = random.usize(..=shelf.bytes.len());
                reader.seek(SeekFrom::Start(at as u64)).unwrap();
                let mut buf = vec![0; random.usize(1..200_000)];
                let wanted = buf.len().min(shelf.bytes.len() - at);
                reader.read_exact(&mut buf[..wanted]).unwrap();
                assert!(buf[..wanted] == shelf.bytes[at..at + wanted], "{seed}");
                let kept: u64 = reader.kept.iter().map(|kept| kept.bytes.len() as u64).sum();
                assert!(kept <= KEPT_BYTES);
            }
        }
    }

    #[test]
    fn a_stopped_attempt_reads_no_more_and_a_missing_object_is_an_error() {
        let shelf = Shelf::new(3_000_000);
        let control = Control::default();
        let input = shelf.input(&control);
        let mut reader = RangeReader::new(input);
        control.stop(Stop::Cancelled);
        assert!(reader.read(&mut [0; 8]).is_err());
        let input = shelf.input(&Control::default());
        shelf.runtime.block_on(shelf.store.delete(&shelf.key)).unwrap();
        let error = RangeReader::new(input).read(&mut [0; 8]).unwrap_err();
        assert!(crate::failure::store_error(&error).is_some(), "{error:?}");
    }
}

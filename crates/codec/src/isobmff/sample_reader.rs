//! Goes through a sample table, a window of each array at a time.

use std::io::{self, Read, Seek};

use super::boxes::{int, read_up_to};
use super::samples::{Array, Sample, SampleTable};

/// Bytes of an array that are held at a time: six minutes of AAC's sizes.
const WINDOW_BYTES: u64 = 64 << 10;

/// Goes through a table, sample by sample.
pub(crate) struct SampleReader {
    durations: Window,
    chunks: Window,
    sizes: Window,
    offsets: Window,
    /// The next sample.
    sample: u32,
    /// Where it lies, unless its chunk is over.
    offset: u64,
    left_in_chunk: u32,
    /// The next chunk, from 0, and the run it may belong to.
    chunk: u32,
    chunk_run: u32,
    left_in_duration: u32,
    duration: u32,
    duration_run: u32,
}

impl SampleReader {
    pub(crate) fn new(table: &SampleTable) -> Self {
        Self {
            durations: Window::new(table.durations),
            chunks: Window::new(table.chunks),
            sizes: Window::new(table.sizes),
            offsets: Window::new(table.offsets),
            sample: 0,
            offset: 0,
            left_in_chunk: 0,
            chunk: 0,
            chunk_run: 0,
            left_in_duration: 0,
            duration: 0,
            duration_run: 0,
        }
    }

    /// How many samples it has given.
    pub(super) fn samples(&self) -> u32 {
        self.sample
    }

    /// How many chunks it has given, and the runs that they are in, if it is at the end of a chunk.
    pub(super) fn whole_chunks(&self) -> Option<(u32, u32)> {
        (self.left_in_chunk == 0).then_some((self.chunk, self.chunk_run + 1))
    }

    /// The next sample; `None` after the last, and where the table ends too early.
    pub(crate) fn next(&mut self, source: &mut (impl Read + Seek)) -> io::Result<Option<Sample>> {
        if self.sample >= self.sizes.array.entries {
            return Ok(None);
        }
        while self.left_in_chunk == 0 {
            let Some(offset) = self.offsets.get(source, self.chunk)? else { return Ok(None) };
            self.offset = int(offset);
            self.left_in_chunk = self.samples_in_next_chunk(source)?;
            self.chunk += 1;
        }
        while self.left_in_duration == 0 {
            let Some(run) = self.durations.get(source, self.duration_run)? else { break };
            self.left_in_duration = int(&run[..4]) as u32;
            // Some writers mean a negative number.
            self.duration = u32::try_from((int(&run[4..]) as u32).cast_signed()).unwrap_or(0);
            self.duration_run += 1;
        }
        let Some(bytes) = self.sizes.get(source, self.sample)? else { return Ok(None) };
        let bytes = int(bytes) as u32;
        let sample = Sample { offset: self.offset, bytes, duration: self.duration };
        self.sample += 1;
        self.offset = self.offset.saturating_add(u64::from(bytes));
        self.left_in_chunk -= 1;
        self.left_in_duration = self.left_in_duration.saturating_sub(1);
        Ok(Some(sample))
    }

    fn samples_in_next_chunk(&mut self, source: &mut (impl Read + Seek)) -> io::Result<u32> {
        while let Some(run) = self.chunks.get(source, self.chunk_run + 1)? {
            if int(&run[..4]) > u64::from(self.chunk) + 1 {
                break;
            }
            self.chunk_run += 1;
        }
        Ok(self.chunks.get(source, self.chunk_run)?.map_or(0, |run| int(&run[4..8]) as u32))
    }
}

/// A part of an array.
struct Window {
    array: Array,
    /// The entry with which `bytes` starts.
    first: u32,
    bytes: Vec<u8>,
}

impl Window {
    fn new(array: Array) -> Self {
        Self { array, first: 0, bytes: Vec::new() }
    }

    /// The entry's bytes; `None` behind the last.
    fn get(&mut self, source: &mut (impl Read + Seek), entry: u32) -> io::Result<Option<&[u8]>> {
        let Array { at, entries, entry_bytes } = self.array;
        if entry >= entries {
            return Ok(None);
        }
        let held = self.bytes.len() as u64 / entry_bytes;
        if entry < self.first || u64::from(entry - self.first) >= held {
            let wanted = u64::from(entries - entry).min(WINDOW_BYTES / entry_bytes);
            let from = at + u64::from(entry) * entry_bytes;
            self.bytes = read_up_to(source, from, wanted * entry_bytes)?;
            self.first = entry;
        }
        let start = (u64::from(entry - self.first) * entry_bytes) as usize;
        Ok(self.bytes.get(start..start + entry_bytes as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::tests::{file, samples};

    #[test]
    fn samples_lie_one_after_another_in_their_chunks() {
        let found =
            samples(file(&[3, 10, 2, 7], &[1, 2, 1, 3, 1, 1], &[5, 6, 7, 8, 9], &[100, 200, 300]));
        let expected = [(100, 5, 10), (105, 6, 10), (200, 7, 10), (207, 8, 7), (300, 9, 7)];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn windows_join() {
        let sizes: Vec<u32> = (0..40_000).collect();
        let offsets: Vec<u32> = (0..20_000).map(|chunk| chunk * 3).collect();
        let found = samples(file(&[40_000, 1], &[1, 2, 1], &sizes, &offsets)).unwrap();
        assert_eq!(found.len(), 40_000);
        for (n, (offset, bytes, _)) in found.into_iter().enumerate() {
            let chunk = n as u64 / 2 * 3;
            let before = if n % 2 == 1 { n as u64 - 1 } else { 0 };
            assert_eq!((offset, bytes as usize), (chunk + before, n));
        }
    }

    #[test]
    fn tables_that_end_too_early_end_the_track() {
        assert_eq!(samples(file(&[9, 1], &[1, 2, 1], &[4; 9], &[0])).unwrap().len(), 2);
        assert_eq!(samples(file(&[9, 1], &[1, 0, 1], &[4; 9], &[0])).unwrap().len(), 0);
        assert_eq!(samples(file(&[9, 1], &[], &[4; 9], &[0])).unwrap().len(), 0);
        // The last duration goes on.
        assert_eq!(
            samples(file(&[1, 5], &[1, 2, 1], &[4; 2], &[0])).unwrap(),
            [(0, 4, 5), (4, 4, 5)]
        );
    }
}

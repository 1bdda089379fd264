//! Which bytes of an object were read, and a checksum of them that can be held against the store's.
//!
//! Ranges come in any order. The checksum of two neighbours is made from theirs, without their
//! bytes; when every byte was read once, it is the object's.

use std::collections::BTreeMap;
use std::ops::Range;

use crc_fast::{CrcAlgorithm, checksum, checksum_combine};
use tonemill_job::objects::{Checksum, ChecksumAlgorithm};

/// What was read of an object, as ranges that neither overlap nor touch.
#[derive(Debug)]
pub(crate) struct Coverage {
    algorithm: CrcAlgorithm,
    expected: Option<u64>,
    /// End and checksum, by start.
    ranges: BTreeMap<u64, (u64, u64)>,
}

impl Coverage {
    /// Nothing was read of an object whose checksum is `expected`, if it is known.
    pub(crate) fn new(expected: Option<Checksum>) -> Self {
        let algorithm = match expected.map(|checksum| checksum.algorithm) {
            Some(ChecksumAlgorithm::Crc32c) => CrcAlgorithm::Crc32Iscsi,
            Some(ChecksumAlgorithm::Crc64Nvme) => CrcAlgorithm::Crc64Nvme,
            Some(ChecksumAlgorithm::Crc32) | None => CrcAlgorithm::Crc32IsoHdlc,
        };
        let expected = expected.map(|checksum| checksum.value);
        Self { algorithm, expected, ranges: BTreeMap::new() }
    }

    /// Adds `bytes`, which lie at `start`. What was read before does not count again.
    pub(crate) fn add(&mut self, start: u64, bytes: &[u8]) {
        let end = start + bytes.len() as u64;
        for gap in self.gaps(start..end) {
            let part = &bytes[(gap.start - start) as usize..(gap.end - start) as usize];
            let sum = if self.expected.is_some() { checksum(self.algorithm, part) } else { 0 };
            self.insert(gap, sum);
        }
    }

    fn insert(&mut self, mut range: Range<u64>, mut sum: u64) {
        if let Some((&start, &(end, before))) = self.ranges.range(..range.start).next_back()
            && end == range.start
        {
            sum = self.combine(before, sum, range.end - range.start);
            range.start = start;
        }
        if let Some((end, after)) = self.ranges.remove(&range.end) {
            sum = self.combine(sum, after, end - range.end);
            range.end = end;
        }
        self.ranges.insert(range.start, (range.end, sum));
    }

    fn combine(&self, first: u64, second: u64, second_bytes: u64) -> u64 {
        if self.expected.is_none() {
            return 0;
        }
        checksum_combine(self.algorithm, first, second, second_bytes)
    }

    /// The parts of `range` that were not read.
    pub(crate) fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        let before = self.ranges.range(..=range.start).next_back();
        let inside = self.ranges.range(range.start + 1..range.end.max(range.start + 1));
        for (&start, &(end, _)) in before.into_iter().chain(inside) {
            if start > at {
                gaps.push(at..start);
            }
            at = at.max(end);
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    /// Whether the byte at `offset` was read.
    pub(crate) fn contains(&self, offset: u64) -> bool {
        self.ranges.range(..=offset).next_back().is_some_and(|(_, (end, _))| *end > offset)
    }

    /// Whether the `len` bytes of the object are what the store says; `None` if it says nothing, or
    /// not all were read.
    pub(crate) fn is_intact(&self, len: u64) -> Option<bool> {
        let (end, sum) = self.ranges.get(&0)?;
        (*end == len).then_some(*sum == self.expected?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(bytes: &[u8]) -> Checksum {
        let value = checksum(CrcAlgorithm::Crc64Nvme, bytes);
        Checksum { algorithm: ChecksumAlgorithm::Crc64Nvme, value }
    }

    #[test]
    fn ranges_in_any_order_make_the_whole() {
        let bytes: Vec<u8> = (0..5000_u32).map(|n| (n * n % 251) as u8).collect();
        let whole = sum_of(&bytes);
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut coverage = Coverage::new(Some(whole));
            while coverage.is_intact(5000).is_none() {
                let start = random.usize(0..5000);
                let end = random.usize(start + 1..=5000);
                coverage.add(start as u64, &bytes[start..end]);
                assert!(coverage.gaps(start as u64..end as u64).is_empty());
            }
            assert_eq!(coverage.is_intact(5000), Some(true), "{seed}");
        }
    }

    #[test]
    fn one_flipped_bit_shows() {
        let mut bytes = vec![7; 1000];
        let whole = sum_of(&bytes);
        bytes[400] ^= 16;
        let mut coverage = Coverage::new(Some(whole));
        coverage.add(500, &bytes[500..]);
        coverage.add(0, &bytes[..500]);
        assert_eq!(coverage.is_intact(1000), Some(false));
    }

    #[test]
    fn nothing_is_said_of_what_was_not_read() {
        let bytes = vec![7; 1000];
        let mut coverage = Coverage::new(Some(sum_of(&bytes)));
        coverage.add(1, &bytes[1..]);
        assert_eq!(coverage.is_intact(1000), None);
        assert!(!coverage.contains(0) && coverage.contains(1) && coverage.contains(999));
        assert_eq!(coverage.gaps(0..2000), [0..1, 1000..2000]);
        let mut without = Coverage::new(None);
        without.add(0, &bytes);
        assert_eq!(without.is_intact(1000), None);
    }
}

//! Follows the boxes on the top level of a file while somebody else reads it: do they end where the
//! file ends?
//!
//! A fragmented file has two boxes or more for every second or two. To look them up one by one
//! before the demuxer reads the file would read a remote file twice.

use super::boxes::int;
use crate::envelope::Envelope;

/// The longest header: size, type, and a size of 64 bits.
const MAX_HEADER_BYTES: usize = 16;

/// Where the next box starts, by the sizes of those that were read past.
#[derive(Debug)]
pub(crate) struct BoxWatch {
    next: u64,
    /// What was seen of its header.
    header: Vec<u8>,
}

impl BoxWatch {
    /// Boxes from the one that starts at `next`.
    pub(super) fn new(next: u64) -> Self {
        Self { next, header: Vec::new() }
    }

    /// Takes note of `bytes`, which lie at `at`. Boxes are followed in order; what is read of those
    /// behind the next one says nothing.
    pub(crate) fn see(&mut self, at: u64, bytes: &[u8]) {
        loop {
            let wanted = self.next.saturating_add(self.header.len() as u64);
            let start = wanted.checked_sub(at).and_then(|start| usize::try_from(start).ok());
            let Some(seen) = start.and_then(|start| bytes.get(start..)) else { return };
            let missing = self.header_bytes() - self.header.len();
            self.header.extend_from_slice(&seen[..missing.min(seen.len())]);
            if self.header.len() < self.header_bytes() {
                if seen.len() <= missing {
                    return;
                }
                continue;
            }
            let size = match int(&self.header[..4]) {
                // To the end of the file; what that is, this box does not say.
                0 => return,
                1 => int(&self.header[8..]),
                size => size,
            };
            if size < self.header.len() as u64 {
                return;
            }
            self.next = self.next.saturating_add(size);
            self.header.clear();
        }
    }

    /// As far as its first four bytes are known.
    fn header_bytes(&self) -> usize {
        match self.header.get(..4) {
            Some([0, 0, 0, 1]) => MAX_HEADER_BYTES,
            _ => 8,
        }
    }

    /// What the boxes say about a file of `len` bytes.
    pub(crate) fn envelope(&self, len: u64) -> Envelope {
        if self.next == len && self.header.is_empty() {
            Envelope::Complete
        } else if self.next > len || (self.next + 8 > len && self.next < len) {
            Envelope::Truncated
        } else {
            Envelope::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        for size in [8_u32, 300, 9, 70_000] {
            file.extend(size.to_be_bytes());
            file.extend(b"moof");
            file.resize(file.len() + size as usize - 8, 0);
        }
        file.extend([0, 0, 0, 1]);
        file.extend(b"mdat");
        file.extend(20_u64.to_be_bytes());
        file.extend([0; 4]);
        file
    }

    #[test]
    fn boxes_are_followed_however_they_are_read() {
        let file = file();
        for step in [1, 3, 7, 8, 16, 4096, 100_000] {
            let mut watch = BoxWatch::new(0);
            for (index, bytes) in file.chunks(step).enumerate() {
                watch.see((index * step) as u64, bytes);
            }
            assert_eq!(watch.envelope(file.len() as u64), Envelope::Complete, "{step}");
            assert_eq!(watch.envelope(file.len() as u64 - 1), Envelope::Truncated);
            assert_eq!(watch.envelope(file.len() as u64 + 5), Envelope::Truncated);
            assert_eq!(watch.envelope(file.len() as u64 + 50), Envelope::Unknown);
        }
    }

    #[test]
    fn bodies_may_be_skipped_and_read_again() {
        let file = file();
        let mut watch = BoxWatch::new(0);
        for (at, len) in [(0, 30), (100, 50), (0, 400), (317, 8), (70_317, 10), (70_317, 20)] {
            watch.see(at as u64, &file[at..at + len]);
        }
        assert_eq!(watch.envelope(file.len() as u64), Envelope::Complete);
    }

    #[test]
    fn a_size_that_cannot_be_ends_the_walk() {
        let mut watch = BoxWatch::new(0);
        watch.see(0, b"\0\0\0\x04mdat\0\0\0\0");
        assert_eq!(watch.envelope(12), Envelope::Unknown);
        let mut watch = BoxWatch::new(0);
        watch.see(0, b"\0\0\0\x01mdat\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(watch.envelope(1 << 40), Envelope::Truncated);
    }
}

//! Where the samples of a track lie: its sample table (ISO/IEC 14496-12 §8.6.1, §8.7), read a
//! window at a time, so that it takes the same memory whatever its length.
//!
//! A "sample" of MP4 is a packet of the codec; a "chunk" is a run of them without gaps. Nothing in
//! the table is believed but that its arrays lie within the file.

use std::io::{self, Read, Seek};

use super::boxes::{int, read_up_to};
use super::sample_reader::SampleReader;

/// A demuxer is shown at least as many samples from the start of what is to be heard, enough for
/// any decoder to come to its final format.
const MIN_SHOWN: u32 = 32;
/// A demuxer is shown at most as many samples, three minutes of AAC.
const MAX_SHOWN: u32 = 8192;

/// Ranges of the bodies of a table's boxes, as far as they were found.
#[derive(Debug, Default)]
pub(super) struct TableBoxes {
    pub(super) stts: Option<(u64, u64)>,
    pub(super) stsc: Option<(u64, u64)>,
    pub(super) stsz: Option<(u64, u64)>,
    pub(super) stco: Option<(u64, u64)>,
    pub(super) co64: Option<(u64, u64)>,
}

impl TableBoxes {
    /// Notes a box of type `kind` if it belongs to the table.
    pub(super) fn add(&mut self, kind: &[u8; 4], from: u64, to: u64) {
        let place = match kind {
            b"stts" => &mut self.stts,
            b"stsc" => &mut self.stsc,
            b"stsz" => &mut self.stsz,
            b"stco" => &mut self.stco,
            b"co64" => &mut self.co64,
            _ => return,
        };
        place.get_or_insert((from, to));
    }
}

/// A table whose samples have sizes of their own, as those of compressed audio do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SampleTable {
    /// Runs of samples of one duration: how many, and the duration.
    pub(super) durations: Array,
    /// Runs of chunks of as many samples: the first chunk, from 1, and the samples in each.
    pub(super) chunks: Array,
    pub(super) sizes: Array,
    /// Where chunks start in the file.
    pub(super) offsets: Array,
    shown: Shown,
}

/// The part of a table that a demuxer is shown: whole chunks, or FFmpeg drops the edit list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    samples: u32,
    chunks: u32,
    /// Runs of chunks.
    runs: u32,
    /// The last sample.
    last: Sample,
}

/// The entries of a box that is an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Array {
    /// Where the first entry lies.
    pub(super) at: u64,
    pub(super) entries: u32,
    pub(super) entry_bytes: u64,
}

/// A packet's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    /// In units of the media's time scale.
    pub(crate) duration: u32,
}

impl SampleTable {
    /// The table in `boxes` of a track that is to be heard from `start` of its media. `None` if a
    /// part is missing or damaged, all samples have one size, or a demuxer may as well see it all.
    pub(super) fn read(
        source: &mut (impl Read + Seek),
        boxes: &TableBoxes,
        start: u64,
    ) -> io::Result<Option<Self>> {
        let Some(whole) = Self::read_whole(source, boxes)? else { return Ok(None) };
        let shown = whole.first_chunks(source, start)?;
        Ok(shown.map(|shown| Self { shown, ..whole }))
    }

    /// A table of which nothing is shown yet.
    fn read_whole(source: &mut (impl Read + Seek), boxes: &TableBoxes) -> io::Result<Option<Self>> {
        // Sizes have one for all samples before their count; 0 says that each has its own.
        let sizes = match boxes.stsz {
            Some((from, to)) if read_up_to(source, from, 8)?.get(4..) == Some(&[0; 4][..]) => {
                Array::read(source, Some((from + 4, to)), 4)?
            }
            _ => None,
        };
        let offsets = match boxes.co64 {
            Some(_) => Array::read(source, boxes.co64, 8)?,
            None => Array::read(source, boxes.stco, 4)?,
        };
        let durations = Array::read(source, boxes.stts, 8)?;
        let chunks = Array::read(source, boxes.stsc, 12)?;
        let last = Sample { offset: 0, bytes: 0, duration: 0 };
        let shown = Shown { samples: 0, chunks: 0, runs: 0, last };
        Ok(durations.zip(chunks).zip(sizes).zip(offsets).map(
            |(((durations, chunks), sizes), offsets)| Self {
                durations,
                chunks,
                sizes,
                offsets,
                shown,
            },
        ))
    }

    /// As many chunks as hold [`MIN_SHOWN`] samples from `start` on.
    fn first_chunks(
        &self,
        source: &mut (impl Read + Seek),
        start: u64,
    ) -> io::Result<Option<Shown>> {
        let mut reader = SampleReader::new(self);
        let (mut time, mut needed) = (0_u64, MIN_SHOWN);
        while let Some(last) = reader.next(source)? {
            needed -= u32::from(time >= start && needed > 0);
            time = time.saturating_add(last.duration.into());
            let samples = reader.samples();
            if samples == self.sizes.entries || samples > MAX_SHOWN {
                break;
            }
            if let (0, Some((chunks, runs))) = (needed, reader.whole_chunks()) {
                return Ok(Some(Shown { samples, chunks, runs, last }));
            }
        }
        Ok(None)
    }

    /// How a demuxer is shown the first samples only: what it is to read in place of the bytes at
    /// an offset.
    pub(super) fn disguise(&self) -> [(u64, [u8; 4]); 3] {
        let count = |array: &Array, shown: u32| (array.at - 4, shown.to_be_bytes());
        [
            count(&self.sizes, self.shown.samples),
            count(&self.offsets, self.shown.chunks),
            count(&self.chunks, self.shown.runs),
        ]
    }

    /// How many samples a demuxer is shown.
    pub(crate) fn shown_samples(&self) -> u32 {
        self.shown.samples
    }

    /// The last of them, whose duration a demuxer takes for what is left of the track.
    pub(crate) fn last_shown(&self) -> Sample {
        self.shown.last
    }
}

impl Array {
    /// Reads the count that stands before the entries, after 4 bytes of version and flags. `None`
    /// if they are not all within the box.
    fn read(
        source: &mut (impl Read + Seek),
        body: Option<(u64, u64)>,
        entry_bytes: u64,
    ) -> io::Result<Option<Self>> {
        let Some((from, to)) = body else { return Ok(None) };
        let head = read_up_to(source, from, 8)?;
        let Some(count) = head.get(4..) else { return Ok(None) };
        let (at, entries) = (from + 8, int(count) as u32);
        let fits = to.checked_sub(at).is_some_and(|room| u64::from(entries) * entry_bytes <= room);
        Ok(fits.then_some(Self { at, entries, entry_bytes }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Cursor;

    /// A file of the four boxes' bodies, one after another, and their ranges.
    pub(in crate::isobmff) fn file(
        durations: &[u32],
        chunks: &[u32],
        sizes: &[u32],
        offsets: &[u32],
    ) -> (Vec<u8>, TableBoxes) {
        let mut file = Vec::new();
        let mut add = |constant: &[u32], entries: &[u32], fields: usize| {
            let from = file.len() as u64;
            let count = (entries.len() / fields) as u32;
            let words = [&[0][..], constant, &[count], entries].concat();
            file.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            Some((from, file.len() as u64))
        };
        let boxes = TableBoxes {
            stts: add(&[], durations, 2),
            stsc: add(&[], chunks, 3),
            stsz: add(&[0], sizes, 1),
            stco: add(&[], offsets, 1),
            co64: None,
        };
        (file, boxes)
    }

    pub(in crate::isobmff) fn samples(
        (file, boxes): (Vec<u8>, TableBoxes),
    ) -> Option<Vec<(u64, u32, u32)>> {
        let mut file = Cursor::new(file);
        let table = SampleTable::read_whole(&mut file, &boxes).unwrap()?;
        let mut reader = SampleReader::new(&table);
        let next = || reader.next(&mut file).unwrap().map(|s| (s.offset, s.bytes, s.duration));
        Some(std::iter::from_fn(next).collect())
    }

    #[test]
    fn arrays_must_lie_within_their_boxes() {
        let whole = || file(&[9, 1], &[1, 9, 1], &[4; 9], &[0]);
        assert!(samples(whole()).is_some());
        let (bytes, mut boxes) = whole();
        boxes.stsz = boxes.stsz.map(|(from, to)| (from, to - 1));
        assert_eq!(samples((bytes, boxes)), None);
        let (bytes, mut boxes) = whole();
        boxes.stco = None;
        assert_eq!(samples((bytes, boxes)), None);
    }

    fn shown(start: u64, samples: usize, chunks: &[u32]) -> Option<(u32, u32, u32, u64)> {
        let (file, boxes) = file(&[u32::MAX, 10], chunks, &vec![1; samples], &[0, 100, 200, 300]);
        let table = SampleTable::read(&mut Cursor::new(file), &boxes, start).unwrap()?;
        let Shown { samples, chunks, runs, last } = table.shown;
        Some((samples, chunks, runs, last.offset))
    }

    #[test]
    fn a_demuxer_is_shown_whole_chunks_from_the_start_on() {
        let chunks = [1, 20, 1, 3, 30, 1];
        assert_eq!(shown(0, 100, &chunks), Some((40, 2, 1, 119)));
        assert_eq!(shown(80, 100, &chunks), Some((40, 2, 1, 119)));
        assert_eq!(shown(81, 100, &chunks), Some((70, 3, 2, 229)));
        // It may as well see it all.
        assert_eq!(shown(381, 100, &chunks), None);
        assert_eq!(shown(0, 40, &chunks), None);
    }

    #[test]
    fn a_start_far_into_the_track_is_left_to_the_demuxer() {
        let chunks = [1, 1, 1, 4, u32::MAX, 1];
        assert_eq!(shown(10, MAX_SHOWN as usize * 2, &chunks), None);
        let chunks = [1, MAX_SHOWN, 1];
        assert_eq!(shown(10, MAX_SHOWN as usize * 2, &chunks).unwrap().0, MAX_SHOWN);
        let chunks = [1, MAX_SHOWN + 1, 1];
        assert_eq!(shown(10, MAX_SHOWN as usize * 2, &chunks), None);
    }
}

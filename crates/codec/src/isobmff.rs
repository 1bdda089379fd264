//! A look into ISO base media files (MP4, MOV, M4A, 3GP; ISO/IEC 14496-12) without a demuxer: does
//! the file end before it says it does, is its audio encrypted, where do edit lists cut it, and
//! where do its packets lie.
//!
//! Everything is read through small bounded reads; damage ends the walk, never the conversion.

mod box_watch;
mod boxes;
mod edit;
mod sample_reader;
mod samples;

use std::io::{self, Read, Seek};

pub(crate) use self::box_watch::BoxWatch;
pub(crate) use self::boxes::read_up_to;
pub(crate) use self::edit::Edit;
pub(crate) use self::sample_reader::SampleReader;
pub(crate) use self::samples::{Sample, SampleTable};

use self::boxes::{children, int, read_body, read_header};
use self::edit::{only_edit, time_scale};
use self::samples::TableBoxes;

/// Boxes looked at on the top level: fragmented files have two or more a fragment.
const MAX_TOP_LEVEL_BOXES: usize = 1 << 16;
/// How far below `trak` the boxes of interest lie: mdia, minf, stbl, stsd. A file can nest as deep
/// as it is long, and the walk is recursive.
const MAX_DEPTH: usize = 3;

/// What a file says.
#[derive(Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent findings")]
pub(crate) struct Movie {
    /// Its packets lie in fragments, which follow it.
    pub(crate) is_fragmented: bool,
    /// How long they say they are, together.
    pub(crate) fragments_seconds: Option<f64>,
    /// Where they begin. They are followed while they are read.
    fragments_at: Option<u64>,
    /// A box extends past the end of the file.
    pub(crate) truncated: bool,
    /// The walk reached the end of the file exactly.
    pub(crate) complete: bool,
    /// An audio sample entry is `enca` or `drms`.
    pub(crate) encrypted_audio: bool,
    /// There is encryption somewhere.
    pub(crate) encrypted: bool,
    /// The data of an audio track lies in another file.
    pub(crate) external_audio: bool,
    /// Edits of the audio tracks, by track ID.
    pub(crate) edits: Vec<(u32, Edit)>,
    /// Where the type fields of the video tracks' boxes lie, unless the movie is fragmented.
    pub(crate) video_tracks: Vec<u64>,
    /// Where the type fields of edit lists lie that no demuxer is to see: FFmpeg plays nothing of
    /// an edit without a length. Unless the movie is fragmented, where that is the rule.
    open_edits: Vec<u64>,
    /// Sample tables, by track ID, of the audio tracks of which a demuxer need only see the start.
    pub(crate) samples: Vec<(u32, SampleTable)>,
}

/// The bodies of a track's boxes, as far as they were found.
#[derive(Default)]
struct Track {
    tkhd: Vec<u8>,
    mdhd: Vec<u8>,
    hdlr: Vec<u8>,
    stsd: Vec<u8>,
    elst: Vec<u8>,
    /// Where the type field of `edts` lies.
    edts_at: u64,
    dref: Vec<u8>,
    table: TableBoxes,
}

impl Movie {
    /// Reads from `source`, whose length is `len`. `None` if it is no such file.
    pub(crate) fn read(source: &mut (impl Read + Seek), len: u64) -> io::Result<Option<Self>> {
        let mut movie = Self::default();
        let mut at = 0;
        for index in 0..MAX_TOP_LEVEL_BOXES {
            if at == len {
                movie.complete = true;
                break;
            }
            let Some((kind, header, size)) = read_header(source, at, len)? else {
                if index == 0 {
                    return Ok(None);
                }
                movie.truncated |= len - at < 8;
                break;
            };
            if index == 0 && !TOP_LEVEL.contains(&kind) {
                return Ok(None);
            }
            let end = at.saturating_add(size);
            if end > len {
                movie.truncated = true;
            } else if kind == *b"moov" {
                movie.read_moov(source, at + header, end)?;
            }
            if end > len {
                break;
            }
            at = end;
            if movie.is_fragmented {
                movie.fragments_at = Some(at);
                break;
            }
        }
        Ok(Some(movie))
    }

    /// What follows the boxes that this did not look at.
    pub(crate) fn box_watch(&self) -> Option<BoxWatch> {
        self.fragments_at.map(BoxWatch::new)
    }

    fn read_moov(&mut self, source: &mut (impl Read + Seek), from: u64, to: u64) -> io::Result<()> {
        let mut movie_scale = None;
        let mut extends = None;
        let mut ids = Vec::new();
        // Where the next box starts: its header may be of 8 or 16 bytes.
        let mut next = from;
        for (kind, from, to) in children(source, from, to)? {
            let start = std::mem::replace(&mut next, to);
            match &kind {
                b"mvhd" => movie_scale = time_scale(&read_body(source, from, to)?),
                b"mvex" => extends = Some((from, to)),
                b"pssh" => self.encrypted = true,
                b"trak" => {
                    let mut track = Track::default();
                    track.read(source, from, to, 0)?;
                    match track.hdlr.get(8..12) {
                        Some(b"soun") => self.add_audio(source, &track, movie_scale)?,
                        Some(b"vide") => self.video_tracks.push(start + 4),
                        _ => {}
                    }
                    self.encrypted |= track.is_encrypted();
                    ids.extend(track_id(&track.tkhd));
                }
                _ => {}
            }
        }
        // What is known of a track is found again by its ID.
        let is_unique = |id: u32| ids.iter().filter(|other| **other == id).count() == 1;
        self.edits.retain(|(id, _)| is_unique(*id));
        self.samples.retain(|(id, _)| is_unique(*id));
        if let Some((from, to)) = extends {
            self.is_fragmented = true;
            self.fragments_seconds = movie_scale
                .map(|scale| fragments_ticks(source, from, to).map(|t| t.map(|t| (t, scale))))
                .transpose()?
                .flatten()
                .map(|(ticks, scale)| ticks as f64 / f64::from(scale))
                .filter(|seconds| seconds.is_finite());
            self.video_tracks.clear();
            self.open_edits.clear();
            self.samples.clear();
        }
        Ok(())
    }

    fn add_audio(
        &mut self,
        source: &mut (impl Read + Seek),
        track: &Track,
        movie_scale: Option<u32>,
    ) -> io::Result<()> {
        self.encrypted_audio |= track.is_encrypted();
        // Version and flags of the first entry; flag 1 is "in this file" (§8.7.2).
        self.external_audio |= track.dref.get(16..20).is_some_and(|flags| flags[3] & 1 == 0);
        let Some(id) = track_id(&track.tkhd) else { return Ok(()) };
        let edit = movie_scale.and_then(|scale| only_edit(&track.elst, scale, &track.mdhd));
        let understood = edit.is_some() || track.elst.is_empty();
        self.open_edits.extend(edit.filter(|edit| edit.is_open).map(|_| track.edts_at));
        let edit = edit.filter(|edit| !edit.is_open);
        self.edits.extend(edit.map(|edit| (id, edit)));
        let start = edit.map_or(0, |edit| edit.start);
        if understood
            && track.is_simple()
            && let Some(table) = SampleTable::read(source, &track.table, start)?
        {
            self.samples.push((id, table));
        }
        Ok(())
    }

    /// What a demuxer is to read in place of four bytes at an offset, lest it build indexes that
    /// grow with the length: no video tracks, and no more than the first samples of audio whose
    /// others are read by their table.
    pub(crate) fn disguise(&self) -> Vec<(u64, [u8; 4])> {
        let unseen = self.video_tracks.iter().chain(&self.open_edits);
        let unseen = unseen.map(|at| (*at, *b"free"));
        unseen.chain(self.samples.iter().flat_map(|(_, table)| table.disguise())).collect()
    }
}

impl Track {
    /// The first sample entry's type: `stsd` and `dref` start with version, flags and a count; then
    /// come boxes, one per entry.
    fn sample_entry(&self) -> Option<&[u8]> {
        self.stsd.get(12..16)
    }

    fn is_encrypted(&self) -> bool {
        matches!(self.sample_entry(), Some(b"enca" | b"encv" | b"drms"))
    }

    /// Whether there is one sample description, of a codec whose packets the samples are.
    fn is_simple(&self) -> bool {
        self.stsd.get(4..8).map(int) == Some(1)
            && matches!(self.sample_entry(), Some(b"mp4a" | b"alac" | b"Opus" | b"fLaC"))
    }

    /// `depth` is that of the boxes from `from` to `to` below `trak`.
    fn read(
        &mut self,
        source: &mut (impl Read + Seek),
        from: u64,
        to: u64,
        depth: usize,
    ) -> io::Result<()> {
        let mut next = from;
        for (kind, from, to) in children(source, from, to)? {
            let start = std::mem::replace(&mut next, to);
            if kind == *b"edts" {
                self.edts_at = start + 4;
            }
            let body = match &kind {
                b"edts" | b"mdia" | b"minf" | b"stbl" | b"dinf" => {
                    if depth < MAX_DEPTH {
                        self.read(source, from, to, depth + 1)?;
                    }
                    continue;
                }
                b"tkhd" => &mut self.tkhd,
                b"mdhd" => &mut self.mdhd,
                b"hdlr" => &mut self.hdlr,
                b"stsd" => &mut self.stsd,
                b"elst" => &mut self.elst,
                b"dref" => &mut self.dref,
                kind => {
                    self.table.add(kind, from, to);
                    continue;
                }
            };
            // In QuickTime, minf has an hdlr of its own; the media's comes first.
            if body.is_empty() {
                *body = read_body(source, from, to)?;
            }
        }
        Ok(())
    }
}

/// What a file may start with.
const TOP_LEVEL: [[u8; 4]; 7] =
    [*b"ftyp", *b"moov", *b"mdat", *b"free", *b"skip", *b"wide", *b"styp"];

fn track_id(tkhd: &[u8]) -> Option<u32> {
    let at = if *tkhd.first()? == 1 { 20 } else { 12 };
    Some(int(tkhd.get(at..at + 4)?) as u32)
}

/// The length of all fragments, in the movie's ticks, as the header of `mvex` states it (§8.8.2).
fn fragments_ticks(source: &mut (impl Read + Seek), from: u64, to: u64) -> io::Result<Option<u64>> {
    for (kind, from, to) in children(source, from, to)? {
        if kind == *b"mehd" {
            let body = read_body(source, from, to)?;
            let ticks = if body.first() == Some(&1) { body.get(4..12) } else { body.get(4..8) };
            return Ok(ticks.map(int).filter(|ticks| *ticks > 0));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
    }

    /// A movie of time scale 1,000 with one audio track of 442,024 units of 1/44,100 s and the
    /// edits given.
    fn movie(edits: &[(u32, i32)], entry: &[u8; 4]) -> Vec<u8> {
        movie_with(edits, entry, 1)
    }

    fn movie_with(edits: &[(u32, i32)], entry: &[u8; 4], dref_flags: u8) -> Vec<u8> {
        let scale =
            |s: u32| [&[0; 12][..], &s.to_be_bytes(), &442_024_u32.to_be_bytes(), &[0; 4]].concat();
        let mut elst = vec![0, 0, 0, 0];
        elst.extend((edits.len() as u32).to_be_bytes());
        for (duration, start) in edits {
            elst.extend(duration.to_be_bytes());
            elst.extend(start.to_be_bytes());
            elst.extend([0, 1, 0, 0]);
        }
        let stsd = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &boxed(entry, &[0; 28])].concat();
        let url = boxed(b"url ", &[0, 0, 0, dref_flags]);
        let dref = boxed(b"dref", &[&[0, 0, 0, 0, 0, 0, 0, 1][..], &url].concat());
        let stbl = boxed(b"stbl", &boxed(b"stsd", &stsd));
        let minf = boxed(b"minf", &[boxed(b"dinf", &dref), stbl].concat());
        let hdlr = boxed(b"hdlr", b"\0\0\0\0\0\0\0\0soun");
        let mdia = boxed(b"mdia", &[boxed(b"mdhd", &scale(44_100)), hdlr, minf].concat());
        let tkhd = boxed(b"tkhd", &[&[0; 12][..], &7_u32.to_be_bytes()].concat());
        let edit_box = boxed(b"edts", &boxed(b"elst", &elst));
        let trak = boxed(b"trak", &[tkhd, edit_box, mdia].concat());
        let moov = boxed(b"moov", &[boxed(b"mvhd", &scale(1_000)), trak].concat());
        [boxed(b"ftyp", b"isom"), moov, boxed(b"mdat", &[0; 9])].concat()
    }

    fn read(bytes: &[u8]) -> Option<Movie> {
        Movie::read(&mut Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    #[test]
    fn a_whole_movie_and_its_edit() {
        let found = read(&movie(&[(500, -1), (10_000, 1024)], b"mp4a")).unwrap();
        assert!(found.complete && !found.truncated && !found.encrypted_audio);
        let (start, length, media, time_scale) = (1024, 441_000, 442_024, 44_100);
        let edit = Edit { start, length, media, time_scale, is_open: false };
        assert_eq!(found.edits, [(7, edit)]);
    }

    #[test]
    fn an_edit_without_a_length_is_not_shown() {
        let bytes = movie(&[(0, 1024)], b"mp4a");
        let found = read(&bytes).unwrap();
        let at = bytes.windows(4).position(|w| w == b"edts").unwrap() as u64;
        assert_eq!((found.edits.len(), found.disguise()), (0, vec![(at, *b"free")]));
        assert_eq!(read(&movie(&[(10_000, 1024)], b"mp4a")).unwrap().disguise(), []);
    }

    #[test]
    fn coarse_movie_time_does_not_cost_samples() {
        let length = |edit| read(&movie(&[edit], b"mp4a")).unwrap().edits[0].1.length;
        assert_eq!(length((10_000, 1024)), 441_000);
        assert_eq!(length((9_999, 1024)), 441_000);
        assert_eq!(length((9_998, 1024)), 440_911);
        assert_eq!(length((20_000, 1024)), 441_000);
    }

    #[test]
    fn several_edits_are_left_to_the_demuxer() {
        assert_eq!(read(&movie(&[(1, 0), (1, 9)], b"mp4a")).unwrap().edits, []);
    }

    #[test]
    fn encryption_is_seen() {
        assert!(read(&movie(&[(1, 0)], b"enca")).unwrap().encrypted_audio);
    }

    #[test]
    fn data_in_another_file_is_seen() {
        assert!(!read(&movie(&[(1, 0)], b"mp4a")).unwrap().external_audio);
        assert!(read(&movie_with(&[(1, 0)], b"mp4a", 0)).unwrap().external_audio);
    }

    #[test]
    fn every_cut_is_seen_and_none_panics() {
        let whole = movie(&[(10_000, 0)], b"mp4a");
        for len in 12..whole.len() {
            let cut = read(&whole[..len]).unwrap();
            assert!(cut.truncated || cut.complete, "{len}");
            assert!(len == 12 || !cut.complete || len == whole.len() - 17, "{len}");
        }
    }

    #[test]
    fn other_files_are_none() {
        assert_eq!(read(b"RIFF\x10\0\0\0WAVEfmt "), None);
        assert_eq!(read(b"\0\0"), None);
    }
}

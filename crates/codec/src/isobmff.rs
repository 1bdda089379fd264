//! A look into ISO base media files (MP4, MOV, M4A, 3GP; ISO/IEC 14496-12) without a demuxer: does
//! the file end before it says it does, is its audio encrypted, and where do edit lists cut it.
//!
//! Everything is read through small bounded reads; damage ends the walk, never the conversion.

use std::io::{self, Read, Seek, SeekFrom};

/// Boxes looked at on one level. Fragmented files have two a second; what lies behind is left to
/// the demuxer.
const MAX_BOXES: usize = 64;
/// Bytes read of a box that is looked into; those of interest are small.
const MAX_BODY_BYTES: u64 = 64 << 10;
/// How far below `trak` the boxes of interest lie: mdia, minf, stbl, stsd. A file can nest as deep
/// as it is long, and the walk is recursive.
const MAX_DEPTH: usize = 3;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent findings")]
pub(crate) struct Movie {
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
}

/// The part of a track that is to be heard, in units of the media's time scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Where it starts in the media.
    pub(crate) start: u64,
    /// Its length.
    pub(crate) length: u64,
    /// Length of all media.
    pub(crate) media: u64,
    /// Units per second.
    pub(crate) time_scale: u32,
}

/// The bodies of a track's boxes, as far as they were found.
#[derive(Default)]
struct Track {
    tkhd: Vec<u8>,
    mdhd: Vec<u8>,
    hdlr: Vec<u8>,
    stsd: Vec<u8>,
    elst: Vec<u8>,
    dref: Vec<u8>,
}

impl Movie {
    /// Reads from `source`, whose length is `len`. `None` if it is no such file.
    pub(crate) fn read(source: &mut (impl Read + Seek), len: u64) -> io::Result<Option<Self>> {
        let mut movie = Self::default();
        let mut at = 0;
        for index in 0..MAX_BOXES {
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
        }
        Ok(Some(movie))
    }

    fn read_moov(&mut self, source: &mut (impl Read + Seek), from: u64, to: u64) -> io::Result<()> {
        let mut movie_scale = None;
        let mut fragmented = false;
        // Where the next box starts: its header may be of 8 or 16 bytes.
        let mut next = from;
        for (kind, from, to) in children(source, from, to)? {
            let start = std::mem::replace(&mut next, to);
            match &kind {
                b"mvhd" => movie_scale = time_scale(&read_body(source, from, to)?),
                b"mvex" => fragmented = true,
                b"pssh" => self.encrypted = true,
                b"trak" => {
                    let mut track = Track::default();
                    track.read(source, from, to, 0)?;
                    self.add(&track, movie_scale);
                    if track.hdlr.get(8..12) == Some(b"vide") {
                        self.video_tracks.push(start + 4);
                    }
                }
                _ => {}
            }
        }
        if fragmented {
            self.video_tracks.clear();
        }
        Ok(())
    }

    fn add(&mut self, track: &Track, movie_scale: Option<u32>) {
        // stsd and dref start with version, flags and count; then come boxes, one per entry.
        let entry = track.stsd.get(12..16);
        let encrypted = matches!(entry, Some(b"enca" | b"encv" | b"drms"));
        self.encrypted |= encrypted;
        if track.hdlr.get(8..12) != Some(b"soun") {
            return;
        }
        self.encrypted_audio |= encrypted;
        // Version and flags of the first entry; flag 1 is "in this file" (§8.7.2).
        self.external_audio |= track.dref.get(16..20).is_some_and(|flags| flags[3] & 1 == 0);
        let edit = || {
            let edit = only_edit(&track.elst, movie_scale?, &track.mdhd)?;
            Some((track_id(&track.tkhd)?, edit))
        };
        self.edits.extend(edit());
    }
}

impl Track {
    /// `depth` is that of the boxes from `from` to `to` below `trak`.
    fn read(
        &mut self,
        source: &mut (impl Read + Seek),
        from: u64,
        to: u64,
        depth: usize,
    ) -> io::Result<()> {
        for (kind, from, to) in children(source, from, to)? {
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
                _ => continue,
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

/// The one edit that plays media, if there is just one (empty edits aside).
fn only_edit(elst: &[u8], movie_scale: u32, mdhd: &[u8]) -> Option<Edit> {
    let wide = *elst.first()? == 1;
    let count = int(elst.get(4..8)?);
    let size = if wide { 20 } else { 12 };
    let mut edits = elst.get(8..)?.chunks_exact(size).take(count as usize).filter_map(|entry| {
        let (duration, start) = if wide {
            (int(&entry[..8]), int(&entry[8..16]).cast_signed())
        } else {
            (int(&entry[..4]), i64::from((int(&entry[4..8]) as u32).cast_signed()))
        };
        Some((duration, u64::try_from(start).ok()?))
    });
    let (duration, start) = edits.next()?;
    let time_scale = time_scale(mdhd)?;
    if edits.next().is_some() || movie_scale == 0 || time_scale == 0 {
        return None;
    }
    // Movie time is coarse, often milliseconds: within one tick of the media's end, the end is
    // meant. A duration of zero means the end, too (fragmented movies).
    let scaled = |ticks: u64| u128::from(ticks) * u128::from(time_scale) / u128::from(movie_scale);
    let media = media_duration(mdhd);
    let rest = media.checked_sub(start).filter(|rest| *rest > 0)?;
    let to_the_end = duration == 0 || scaled(duration.saturating_add(1)) >= u128::from(rest);
    let length = if to_the_end { rest } else { u64::try_from(scaled(duration)).ok()? };
    Some(Edit { start, length, media, time_scale })
}

fn track_id(tkhd: &[u8]) -> Option<u32> {
    let at = if *tkhd.first()? == 1 { 20 } else { 12 };
    Some(int(tkhd.get(at..at + 4)?) as u32)
}

/// The duration of an `mdhd`; 0 where there is none.
fn media_duration(mdhd: &[u8]) -> u64 {
    let range = if mdhd.first() == Some(&1) { 24..32 } else { 16..20 };
    mdhd.get(range).map_or(0, int)
}

/// The time scale of an `mvhd` or `mdhd`, which agree up to there.
fn time_scale(header: &[u8]) -> Option<u32> {
    let at = if *header.first()? == 1 { 20 } else { 12 };
    Some(int(header.get(at..at + 4)?) as u32)
}

/// The boxes from `from` to `to`, as type and range of the body, up to the first damaged one.
fn children(
    source: &mut (impl Read + Seek),
    from: u64,
    to: u64,
) -> io::Result<Vec<([u8; 4], u64, u64)>> {
    let mut found = Vec::new();
    let mut at = from;
    while at < to && found.len() < MAX_BOXES {
        match read_header(source, at, to)? {
            Some((kind, header, size)) if size <= to - at => {
                found.push((kind, at + header, at + size));
                at += size;
            }
            _ => break,
        }
    }
    Ok(found)
}

/// Type, header bytes and whole size of the box at `at`; a size of 0 means "to the end", which is
/// `end`.
fn read_header(
    source: &mut (impl Read + Seek),
    at: u64,
    end: u64,
) -> io::Result<Option<([u8; 4], u64, u64)>> {
    source.seek(SeekFrom::Start(at))?;
    let mut head = Vec::with_capacity(16);
    source.take(16.min(end - at)).read_to_end(&mut head)?;
    let Some(kind) = head.get(4..8).and_then(|kind| kind.first_chunk()) else { return Ok(None) };
    if !kind.iter().all(|b| b.is_ascii_graphic() || matches!(b, b' ' | 0xa9)) {
        return Ok(None);
    }
    let (header, size) = match (int(&head[..4]), head.get(8..16)) {
        (0, _) => (8, end - at),
        (1, Some(wide)) => (16, int(wide)),
        (1, None) => return Ok(None),
        (size, _) => (8, size),
    };
    Ok((size >= header).then_some((*kind, header, size)))
}

fn read_body(source: &mut (impl Read + Seek), from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    source.seek(SeekFrom::Start(from))?;
    source.take((to - from).min(MAX_BODY_BYTES)).read_to_end(&mut body)?;
    Ok(body)
}

/// A big-endian integer of at most 8 bytes.
fn int(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
    }

    /// A movie of time scale 1,000 with one audio track of 442,024 units of 1/44,100 s and the edits
    /// given.
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
        let edit = Edit { start: 1024, length: 441_000, media: 442_024, time_scale: 44_100 };
        assert_eq!(found.edits, [(7, edit)]);
    }

    #[test]
    fn coarse_movie_time_does_not_cost_samples() {
        let length = |edit| read(&movie(&[edit], b"mp4a")).unwrap().edits[0].1.length;
        assert_eq!(length((10_000, 1024)), 441_000);
        assert_eq!(length((9_999, 1024)), 441_000);
        assert_eq!(length((9_998, 1024)), 440_911);
        assert_eq!(length((0, 1024)), 441_000);
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

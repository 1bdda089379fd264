//! Does a file end before it says it does? Containers that state their own size are held to it,
//! because demuxers take a cut file for a short one.

use std::io::{self, Read, Seek, SeekFrom};

use crate::isobmff::Movie;
use crate::mp3::tag::InfoTag;

/// What a container's stated size says about the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// All that was announced is there.
    Complete,
    /// The file ends early.
    Truncated,
    /// The container does not say.
    Unknown,
}

/// Looks at the head of `source` (and the tail of Ogg), whose length is `len`. `movie` is what
/// [`Movie::read`] found in the same source.
pub(crate) fn inspect(
    source: &mut (impl Read + Seek),
    len: u64,
    movie: Option<&Movie>,
) -> io::Result<Envelope> {
    if let Some(movie) = movie {
        return Ok(match movie {
            Movie { truncated: true, .. } => Envelope::Truncated,
            Movie { complete: true, .. } => Envelope::Complete,
            _ => Envelope::Unknown,
        });
    }
    let mut head = [0; 64];
    source.rewind()?;
    let read = source.read(&mut head)?;
    let head = &head[..read];
    let declared = match head {
        [b'R', b'I', b'F', b'F', size @ ..] => riff_len(size),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => matroska_len(head),
        [b'O', b'g', b'g', b'S', ..] => return ogg(source, len),
        [b'F', b'L', b'V', 1, ..] => return flv(source, len),
        [b'I', b'D', b'3', ..] | [0xff, 0xe2..=0xff, ..] => mp3_len(source, head)?,
        _ => None,
    };
    Ok(match declared {
        Some(declared) if declared > len => Envelope::Truncated,
        Some(_) => Envelope::Complete,
        None => Envelope::Unknown,
    })
}

/// The container that `head` starts, by its signature: what a file is meant to be even if a demuxer
/// cannot read it.
pub(crate) fn signature(head: &[u8]) -> Option<&'static str> {
    Some(match head {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "MP4",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "WAV",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => "AVI",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "Matroska",
        [b'O', b'g', b'g', b'S', ..] => "Ogg",
        [b'f', b'L', b'a', b'C', ..] => "FLAC",
        [b'F', b'L', b'V', 1, ..] => "FLV",
        [b'I', b'D', b'3', ..] => "MP3",
        [0x30, 0x26, 0xb2, 0x75, ..] => "ASF",
        [b'F', b'O', b'R', b'M', ..] => "AIFF",
        _ => return None,
    })
}

/// RIFF: the size after the first 8 bytes; 0 and the maximum are placeholders of live recorders.
/// AVI files over 1 GiB continue in further RIFF chunks, which this does not look at.
fn riff_len(after_tag: &[u8]) -> Option<u64> {
    let size = u32::from_le_bytes(*after_tag.first_chunk()?);
    (size != 0 && size != u32::MAX).then_some(u64::from(size) + 8)
}

/// EBML header, then a Segment whose size may be unknown (all ones; RFC 8794 §6.2).
fn matroska_len(head: &[u8]) -> Option<u64> {
    let (header, after) = ebml_size(head, 4)?;
    let segment = after.checked_add(usize::try_from(header?).ok()?)?;
    if head.get(segment..segment + 4)? != [0x18, 0x53, 0x80, 0x67] {
        return None;
    }
    let (size, after) = ebml_size(head, segment + 4)?;
    (after as u64).checked_add(size?)
}

/// The variable-length size at `at` (`None` if unknown) and where it ends.
fn ebml_size(bytes: &[u8], at: usize) -> Option<(Option<u64>, usize)> {
    let first = *bytes.get(at)?;
    let length = first.leading_zeros() as usize + 1;
    if length > 8 {
        return None;
    }
    let rest = bytes.get(at + 1..at + length)?;
    let value = rest
        .iter()
        .fold(u64::from(first) & ((1 << (8 - length)) - 1), |v, b| v << 8 | u64::from(*b));
    let unknown = value == (1 << (7 * length)) - 1;
    Some(((!unknown).then_some(value), at + length))
}

/// FLV: whether the last tag is whole. Each is followed by its size (Video File Format 10.1, annex
/// E.3), which leads back to a header that says the same.
fn flv(source: &mut (impl Read + Seek), len: u64) -> io::Result<Envelope> {
    const HEADER_BYTES: u64 = 11;
    let mut at = |offset: u64| {
        let mut bytes = [0; 4];
        source.seek(SeekFrom::Start(offset))?;
        source.read_exact(&mut bytes)?;
        Ok::<_, io::Error>(u64::from(u32::from_be_bytes(bytes)))
    };
    if len < HEADER_BYTES + 8 {
        return Ok(Envelope::Unknown);
    }
    let tag_bytes = at(len - 4)?;
    if tag_bytes < HEADER_BYTES || tag_bytes > len - 4 {
        return Ok(Envelope::Truncated);
    }
    // Type, then 24 bits of length.
    let header = at(len - 4 - tag_bytes)?;
    let is_whole = (header & 0x00ff_ffff) + HEADER_BYTES == tag_bytes;
    Ok(if is_whole { Envelope::Complete } else { Envelope::Truncated })
}

/// MP3: what the tag frame behind the ID3v2 tag says, if LAME's checksum vouches for it. Other
/// encoders count differently.
fn mp3_len(source: &mut (impl Read + Seek), head: &[u8]) -> io::Result<Option<u64>> {
    /// Longer than the head of a tag frame with all its fields.
    const TAG_FRAME_BYTES: u64 = 256;
    let start = id3v2_len(head).unwrap_or(0);
    let mut frame = Vec::new();
    source.seek(SeekFrom::Start(start))?;
    source.take(TAG_FRAME_BYTES).read_to_end(&mut frame)?;
    Ok(InfoTag::parse(&frame).map(|tag| start + u64::from(tag.bytes)))
}

/// Length of an ID3v2 tag, header and footer included (ID3v2.4 §3.1).
fn id3v2_len(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', _, _, flags, size @ ..] = head else { return None };
    let size = size.first_chunk::<4>()?.iter().fold(0, |size, b| size << 7 | u64::from(b & 0x7f));
    let footer = if flags & 0x10 != 0 { 10 } else { 0 };
    Some(10 + size + footer)
}

/// Ogg: whether the last page is whole (RFC 3533 §6).
fn ogg(source: &mut (impl Read + Seek), len: u64) -> io::Result<Envelope> {
    /// Longer than the longest page.
    const TAIL_BYTES: u64 = 27 + 255 + 255 * 255;
    source.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    source.take(TAIL_BYTES).read_to_end(&mut tail)?;
    let Some(page) = tail.windows(4).rposition(|w| w == b"OggS").map(|at| &tail[at..]) else {
        return Ok(Envelope::Unknown);
    };
    let lacing = page.get(26).and_then(|count| page.get(27..27 + usize::from(*count)));
    let Some(lacing) = lacing else { return Ok(Envelope::Truncated) };
    let size = 27 + lacing.len() + lacing.iter().map(|b| usize::from(*b)).sum::<usize>();
    Ok(if size > page.len() {
        Envelope::Truncated
    } else if page[5] & 4 != 0 {
        Envelope::Complete
    } else if size < page.len() {
        // What follows is no page.
        Envelope::Truncated
    } else {
        Envelope::Unknown
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mp3::settings::Mp3Settings;
    use crate::pcm::{ChannelLayout, PcmFormat, SampleRate};
    use std::io::Cursor;

    fn look(bytes: &[u8]) -> Envelope {
        inspect(&mut Cursor::new(bytes), bytes.len() as u64, None).unwrap()
    }

    #[test]
    fn riff_is_held_to_its_size() {
        let riff = |size: u32| [b"RIFF", &size.to_le_bytes()[..], b"WAVE"].concat();
        assert_eq!(look(&riff(4)), Envelope::Complete);
        assert_eq!(look(&riff(5)), Envelope::Truncated);
        assert_eq!(look(&riff(u32::MAX)), Envelope::Unknown);
    }

    #[test]
    fn matroska_is_held_to_its_segment() {
        let file = |size: u8| {
            [&[0x1a, 0x45, 0xdf, 0xa3, 0x81, 0, 0x18, 0x53, 0x80, 0x67, size][..], b"abc"].concat()
        };
        assert_eq!(look(&file(0x83)), Envelope::Complete);
        assert_eq!(look(&file(0x84)), Envelope::Truncated);
        assert_eq!(look(&file(0xff)), Envelope::Unknown);
        assert_eq!(look(&[0x1a, 0x45, 0xdf, 0xa3, 0]), Envelope::Unknown);
    }

    #[test]
    fn flv_is_held_to_its_last_tag() {
        let mut file = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
        for kind in [8, 9] {
            file.extend([kind, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
            file.extend(b"sound");
            file.extend(16_u32.to_be_bytes());
        }
        assert_eq!(look(&file), Envelope::Complete);
        for missing in 1..20 {
            assert_eq!(look(&file[..file.len() - missing]), Envelope::Truncated, "{missing}");
        }
        assert_eq!(look(&file[..file.len() - 20]), Envelope::Complete);
        assert_eq!(look(&file[..13]), Envelope::Unknown);
    }

    #[test]
    fn mp3_is_held_to_its_tag_frame() {
        let rate = SampleRate::new(44_100).unwrap();
        let layout = ChannelLayout { channels: 2, mask: 0 };
        let (format, _) = Mp3Settings::default().resolve(PcmFormat { rate, layout });
        let tag_frame_bytes = InfoTag::frame_bytes(&format);
        let tag = InfoTag {
            constant_bitrate: true,
            frames: 1,
            bytes: tag_frame_bytes as u32 + 100,
            toc: [0; 100],
            delay: 576,
            padding: 0,
            lowpass_hz: 0,
            music_crc: 0,
        };
        let mut file = [&b"ID3\x04\0\0\0\0\x01\x02"[..], &[0; 130]].concat();
        file.extend(tag.encode(&format));
        file.extend([0; 100]);
        assert_eq!(look(&file), Envelope::Complete);
        assert_eq!(look(&file[140..]), Envelope::Complete);
        assert_eq!(look(&file[..file.len() - 1]), Envelope::Truncated);
        // Not LAME's word.
        let crc = 140 + 4 + 32 + 154;
        file[crc] ^= 1;
        assert_eq!(look(&file[..file.len() - 1]), Envelope::Unknown);
    }

    #[test]
    fn ogg_is_held_to_its_last_page() {
        let page = |flags: u8| {
            let mut page = [&b"OggS\0"[..], &[flags], &[0; 20], &[1, 5]].concat();
            page.extend(b"audio");
            page
        };
        assert_eq!(look(&page(4)), Envelope::Complete);
        assert_eq!(look(&page(0)), Envelope::Unknown);
        let whole = page(4);
        assert_eq!(look(&whole[..whole.len() - 1]), Envelope::Truncated);
    }
}

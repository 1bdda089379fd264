//! Boxes: a size, a type and a body (ISO/IEC 14496-12 §4.2), read without believing any of it.

use std::io::{self, Read, Seek, SeekFrom};

/// Boxes looked at in a box; what lies behind is left to the demuxer.
const MAX_BOXES: usize = 64;
/// Bytes read of a box that is looked into; those of interest are small.
const MAX_BODY_BYTES: u64 = 64 << 10;

/// The boxes from `from` to `to`, as type and range of the body, up to the first damaged one.
pub(super) fn children(
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
pub(super) fn read_header(
    source: &mut (impl Read + Seek),
    at: u64,
    end: u64,
) -> io::Result<Option<([u8; 4], u64, u64)>> {
    let head = read_up_to(source, at, 16.min(end - at))?;
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

/// The body of a box, up to a limit.
pub(super) fn read_body(
    source: &mut (impl Read + Seek),
    from: u64,
    to: u64,
) -> io::Result<Vec<u8>> {
    read_up_to(source, from, (to - from).min(MAX_BODY_BYTES))
}

/// `len` bytes from `at`, fewer at the end of the source.
pub(crate) fn read_up_to(
    source: &mut (impl Read + Seek),
    at: u64,
    len: u64,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len as usize);
    source.seek(SeekFrom::Start(at))?;
    source.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A big-endian integer of at most 8 bytes.
pub(super) fn int(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

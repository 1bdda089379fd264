//! Where things are in an MP3 of ours, and how long it plays: what can be told of one of which
//! nothing else is known any more.

use crate::mp3::header::FrameHeader;
use crate::mp3::tag::InfoTag;

/// Bytes from which [`id3_bytes`] tells how long the tag is.
pub const ID3_HEADER_BYTES: usize = 10;
/// No tag frame is longer, in bytes: 320 kbit/s at 32 kHz.
pub const MAX_TAG_FRAME_BYTES: usize = 1441;

/// An MP3 of ours, from its tag frame on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outline {
    /// Bytes of the tag frame: after it come the audio frames.
    pub tag_frame_bytes: usize,
    /// Bytes of the audio frames; `None` if they are more than the tag can say: 4 GiB.
    pub audio_bytes: Option<u64>,
    /// How long it plays.
    pub duration_seconds: f64,
}

/// Bytes of the ID3v2 tag that a file starts with; 0 if it has none.
#[must_use]
pub fn id3_bytes(start: &[u8; ID3_HEADER_BYTES]) -> u64 {
    if !start.starts_with(b"ID3") {
        return 0;
    }
    // Seven bits of each byte (ID3v2.4 §3.1).
    let size = start[6..].iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f));
    size + ID3_HEADER_BYTES as u64
}

/// Reads the tag frame that `frames` start with; `None` if it is none of ours.
#[must_use]
pub fn outline(frames: &[u8]) -> Option<Outline> {
    let header = FrameHeader::parse(*frames.first_chunk()?)?;
    let tag = InfoTag::parse(frames)?;
    let samples = u64::from(tag.frames) * header.samples() as u64;
    let heard = samples.checked_sub(u64::from(tag.delay) + u64::from(tag.padding))?;
    let tag_frame_bytes = header.frame_bytes();
    let audio_bytes = u64::from(tag.bytes).checked_sub(tag_frame_bytes as u64)?;
    Some(Outline {
        tag_frame_bytes,
        audio_bytes: (tag.bytes < u32::MAX).then_some(audio_bytes),
        duration_seconds: heard as f64 / f64::from(header.sample_rate_hz),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_in_front_have_their_length() {
        assert_eq!(id3_bytes(b"ID3\x04\0\0\0\0\x02\x01"), 257 + 10);
        assert_eq!(id3_bytes(b"\xff\xfb\x90\x64ID3\0\0\0"), 0);
    }

    #[test]
    fn what_is_none_of_ours_has_no_outline() {
        for bytes in [&b""[..], &[0xff], &[0xff, 0xfb, 0x90, 0x64], &[0; 1441]] {
            assert_eq!(outline(bytes), None);
        }
    }
}

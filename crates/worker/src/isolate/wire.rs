//! What parent and child say to each other, byte by byte.
//!
//! On the child's standard input, a socket: first the parent's [`Order`], as a length and JSON;
//! then
//! [`Request`]s of the child, each answered by a length and as many bytes of the source. On its
//! standard output, a pipe: frames, each a tag, a length and a payload. Numbers are little-endian.
//!
//! No length is believed: each kind of frame has the most that it may have, and a longer one is
//! refused before room is made for it.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tonemill_codec::Limits;
use tonemill_job::JobOptions;

use super::SandboxLimits;

/// The most of the source that is read at once, in bytes.
pub(super) const MAX_READ: u32 = 256 << 10;
/// The most of the output in one frame, in bytes.
pub(super) const MAX_CHUNK: u32 = 256 << 10;
/// The most JSON that a child may send at once, in bytes.
pub(super) const MAX_JSON: u32 = 1 << 20;
/// The longest order, in bytes: tags at their longest, each byte escaped.
const MAX_ORDER: u32 = 16 << 20;

/// What the child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) sandbox: SandboxLimits,
    pub(super) limits: Limits,
    /// `None`: nothing but to say hello.
    pub(super) conversion: Option<Conversion>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Conversion {
    pub(super) options: JobOptions,
    pub(super) source_bytes: u64,
    pub(super) threads: usize,
}

impl Order {
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let mut bytes = (json.len() as u32).to_le_bytes().to_vec();
        bytes.extend(json);
        Ok(bytes)
    }

    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut len = [0; 4];
        from.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len);
        if len > MAX_ORDER {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut json = vec![0; len as usize];
        from.read_exact(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

/// A part of the source that the child wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) offset: u64,
    /// At most [`MAX_READ`].
    pub(super) len: u32,
}

impl Request {
    pub(super) const BYTES: usize = 12;

    pub(super) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let (mut offset, mut len) = ([0; 8], [0; 4]);
        offset.copy_from_slice(&bytes[..8]);
        len.copy_from_slice(&bytes[8..]);
        Self { offset: u64::from_le_bytes(offset), len: u32::from_le_bytes(len) }
    }
}

/// The kinds of frames, in the order in which a sound child sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// The sandbox holds; its protections, as JSON.
    Hello,
    /// Bytes of the head to reserve.
    Begin,
    /// Some of the body.
    Body,
    /// Seconds encoded and declared; the latter may be missing.
    Progress,
    /// Some of the head.
    Head,
    /// The report, as JSON. Nothing follows.
    Done,
    /// An error, as JSON. Instead of whatever else would follow.
    Failed,
    /// What the input says about itself, as JSON, after an error.
    Probe,
}

impl Tag {
    const ALL: [Self; 8] = [
        Self::Hello,
        Self::Begin,
        Self::Body,
        Self::Progress,
        Self::Head,
        Self::Done,
        Self::Failed,
        Self::Probe,
    ];

    /// The longest payload.
    fn max_bytes(self) -> u32 {
        match self {
            Self::Begin => 8,
            Self::Progress => 16,
            Self::Body | Self::Head => MAX_CHUNK,
            Self::Hello | Self::Done | Self::Failed | Self::Probe => MAX_JSON,
        }
    }
}

/// What precedes a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) tag: Tag,
    pub(super) len: u32,
}

impl Header {
    pub(super) const BYTES: usize = 5;

    fn encode(self) -> [u8; Self::BYTES] {
        let [a, b, c, d] = self.len.to_le_bytes();
        [self.tag as u8, a, b, c, d]
    }

    /// `None` for an unknown tag or a length that is too much for it.
    pub(super) fn decode(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let [tag, len @ ..] = bytes;
        let tag = *Tag::ALL.get(usize::from(tag))?;
        let len = u32::from_le_bytes(len);
        (len <= tag.max_bytes()).then_some(Self { tag, len })
    }
}

/// Sends `payload`, which is as long as its tag allows.
pub(super) fn send(to: &mut impl Write, tag: Tag, payload: &[u8]) -> io::Result<()> {
    let header = Header { tag, len: payload.len() as u32 };
    to.write_all(&header.encode())?;
    to.write_all(payload)
}

/// Sends `value`, or fails if it is too long.
pub(super) fn send_json(to: &mut impl Write, tag: Tag, value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(value)?;
    if json.len() > tag.max_bytes() as usize {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    send(to, tag, &json)
}

pub(super) fn json<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    serde_json::from_slice(payload).ok()
}

/// The payload of [`Tag::Progress`].
pub(super) fn encode_progress(progress: tonemill_codec::Progress) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&progress.encoded_seconds.to_le_bytes());
    bytes[8..].copy_from_slice(&progress.declared_seconds.unwrap_or(f64::NAN).to_le_bytes());
    bytes
}

/// `None` for what is no progress.
pub(super) fn decode_progress(payload: &[u8]) -> Option<tonemill_codec::Progress> {
    let (encoded, declared) = payload.split_first_chunk()?;
    let declared = f64::from_le_bytes(declared.try_into().ok()?);
    let encoded_seconds = Some(f64::from_le_bytes(*encoded)).filter(|s| s.is_finite())?;
    let declared_seconds = Some(declared).filter(|s| s.is_finite());
    Some(tonemill_codec::Progress { encoded_seconds, declared_seconds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonemill_codec::Progress;

    #[test]
    fn lengths_hold_at_their_edges_and_break_past_them() {
        for (number, tag) in Tag::ALL.into_iter().enumerate() {
            assert_eq!(tag as usize, number);
            let header = Header { tag, len: tag.max_bytes() };
            assert_eq!(Header::decode(header.encode()), Some(header));
            let longer = Header { tag, len: tag.max_bytes() + 1 };
            assert_eq!(Header::decode(longer.encode()), None);
        }
        assert_eq!(Header::decode([8, 0, 0, 0, 0]), None);
        assert_eq!(Header::decode([0xff; 5]), None);
    }

    #[test]
    fn what_is_sent_arrives() {
        let request = Request { offset: u64::MAX - 7, len: 0x0102_0304 };
        assert_eq!(Request::decode(request.encode()), request);
        for declared_seconds in [None, Some(2.5)] {
            let progress = Progress { encoded_seconds: 1.25, declared_seconds };
            assert_eq!(decode_progress(&encode_progress(progress)), Some(progress));
        }
        let sandbox = SandboxLimits::default();
        let order = Order { sandbox, limits: Limits::default(), conversion: None };
        let bytes = order.encode().unwrap();
        let again = Order::read(&mut bytes.as_slice()).unwrap();
        assert_eq!((again.limits, again.sandbox), (order.limits, order.sandbox));
    }

    #[test]
    fn what_is_no_number_is_no_progress() {
        assert_eq!(decode_progress(&[0xff; 16]), None);
        assert_eq!(decode_progress(&[0; 15]), None);
        assert_eq!(decode_progress(&[]), None);
    }

    #[test]
    fn an_endless_order_is_refused() {
        assert!(Order::read(&mut [0xff_u8; 64].as_slice()).is_err());
    }
}

//! Uploads of any length that look like an MP4: a head, and a box of bytes that mean nothing. Each
//! block is stamped, so that one in the wrong place, or of another upload, changes the hash.

use std::convert::Infallible;
use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use super::http::Body;

/// Bytes of a block, stamp and all.
const BLOCK_BYTES: usize = 1 << 20;
const STAMP_BYTES: usize = 16;
/// The bytes of a `ftyp` box and of the head of a `free` box with a long length.
const HEAD_BYTES: u64 = 40;

/// What every block is made of. It does not repeat within a block, so that nothing can compress it.
static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut noise = vec![0; BLOCK_BYTES - STAMP_BYTES];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
    noise.into()
});

/// An upload: which one, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Video {
    pub(super) number: u64,
    /// At least those of the head.
    pub(super) bytes: u64,
}

impl Video {
    /// Its bytes, some at a time.
    fn pieces(self) -> impl Iterator<Item = Bytes> + Send {
        let blocks = (self.bytes - HEAD_BYTES).div_ceil(BLOCK_BYTES as u64);
        let mut left = self.bytes - HEAD_BYTES;
        let blocks = (0..blocks).flat_map(move |block| {
            let mut stamp = [0; STAMP_BYTES];
            stamp[..8].copy_from_slice(&self.number.to_le_bytes());
            stamp[8..].copy_from_slice(&block.to_le_bytes());
            [Bytes::copy_from_slice(&stamp), NOISE.clone()]
        });
        let filling = blocks.map(move |piece| {
            let length = left.min(piece.len() as u64);
            left -= length;
            piece.slice(..length as usize)
        });
        std::iter::once(self.head()).chain(filling.filter(|piece| !piece.is_empty()))
    }

    fn head(self) -> Bytes {
        let mut head = b"\0\0\0\x18ftypisom\0\0\x02\0isommp41\0\0\0\x01free".to_vec();
        head.extend_from_slice(&(self.bytes - 24).to_be_bytes());
        head.into()
    }

    pub(super) fn body(self) -> Body {
        let frames = self.pieces().map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    }

    /// BLAKE3 of it, in hexadecimal.
    pub(super) fn blake3(self) -> String {
        let mut hash = blake3::Hasher::new();
        self.pieces().for_each(|piece| {
            hash.update(&piece);
        });
        hash.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_is_as_long_as_was_said_and_like_no_other() {
        let end = HEAD_BYTES + BLOCK_BYTES as u64;
        for bytes in [HEAD_BYTES, HEAD_BYTES + 1, end - 1, end, end + 1, end + 16, end + 17] {
            let video = Video { number: 1, bytes };
            assert_eq!(video.head().len() as u64, HEAD_BYTES);
            assert_eq!(video.pieces().map(|piece| piece.len() as u64).sum::<u64>(), bytes);
        }
        let [one, other] = [1, 2].map(|number| Video { number, bytes: end }.blake3());
        assert_ne!(one, other);
    }
}

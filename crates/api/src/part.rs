//! A part of an upload that fills up in memory, on its way into the store.

use axum::body::Bytes;
use tonemill_job::objects::PART_BYTES;

use crate::media::{HEAD_BYTES, sniff};
use crate::memory::Slot;
use crate::problem::Answer;

/// What a part may have in memory without a slot.
const FREE_BYTES: usize = 64 << 10;

/// At most [`PART_BYTES`], and the slot that they are in, if they need one.
#[derive(Debug, Default)]
pub(crate) struct Part {
    bytes: Vec<u8>,
    slot: Option<Slot>,
}

impl Part {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() == PART_BYTES
    }

    /// Whether it needs a slot to take of `chunk` what fits.
    pub(crate) fn needs_slot(&self, chunk: &[u8]) -> bool {
        let fits = chunk.len().min(PART_BYTES - self.bytes.len());
        self.slot.is_none() && self.bytes.len() + fits > FREE_BYTES
    }

    pub(crate) fn set_slot(&mut self, slot: Slot) {
        self.slot = Some(slot);
        self.bytes.reserve_exact(PART_BYTES - self.bytes.len());
    }

    /// Takes of `chunk` what fits; the rest.
    pub(crate) fn fill<'a>(&mut self, chunk: &'a [u8]) -> Answer<&'a [u8]> {
        self.slot.as_ref().map_or(Ok(()), Slot::check)?;
        let (fits, rest) = chunk.split_at(chunk.len().min(PART_BYTES - self.bytes.len()));
        self.bytes.extend_from_slice(fits);
        Ok(rest)
    }

    /// What an upload looks like whose first part this is.
    pub(crate) fn media(&self) -> Option<&'static str> {
        sniff(&self.bytes[..self.bytes.len().min(HEAD_BYTES)])
    }

    /// Takes all of it away. The slot is to be kept for as long as the bytes are.
    pub(crate) fn take(&mut self) -> (Bytes, Option<Slot>) {
        (Bytes::from(std::mem::take(&mut self.bytes)), self.slot.take())
    }
}

//! What an MP3 in a store says of itself, when nothing else is known of it any more.

use tonemill_codec::mp3::outline::{ID3_HEADER_BYTES, MAX_TAG_FRAME_BYTES, id3_bytes, outline};
use tonemill_job::ObjectKey;
use tonemill_job::objects::{ObjectStore, StoreError};
use tonemill_ledger::recovery::Sound;

/// What of an output is read at a time, in bytes.
const STEP: u64 = 8 << 20;

/// What an MP3 of ours says of itself, and the hash of its audio; `None` if it is none, or not
/// whole.
pub async fn examine(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    bytes: u64,
) -> Result<Option<Sound>, StoreError> {
    if bytes < ID3_HEADER_BYTES as u64 {
        return Ok(None);
    }
    let start = store.get(key, 0..ID3_HEADER_BYTES as u64).await?;
    let frames = start.first_chunk().map(id3_bytes).unwrap_or_default();
    let end = bytes.min(frames.saturating_add(MAX_TAG_FRAME_BYTES as u64));
    if frames >= end {
        return Ok(None);
    }
    let Some(found) = outline(&store.get(key, frames..end).await?) else { return Ok(None) };
    let mut at = frames + found.tag_frame_bytes as u64;
    if found.audio_bytes.is_some_and(|due| bytes.checked_sub(at) != Some(due)) {
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new();
    while at < bytes {
        let end = bytes.min(at + STEP);
        hasher.update(&store.get(key, at..end).await?);
        at = end;
    }
    let audio_blake3 = hasher.finalize().to_hex().to_string();
    Ok(Some(Sound { duration_seconds: found.duration_seconds, audio_blake3 }))
}

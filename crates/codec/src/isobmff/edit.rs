//! Edit lists: which part of a track's media is to be heard (ISO/IEC 14496-12 §8.6.6).

use super::boxes::int;

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
    /// Whether its length is not stated, or absurd: it goes to the end.
    pub(crate) is_open: bool,
}

/// The one edit that plays media, if there is just one (empty edits aside). `elst` and `mdhd` are
/// bodies of boxes, `movie_scale` is the movie's time scale.
pub(super) fn only_edit(elst: &[u8], movie_scale: u32, mdhd: &[u8]) -> Option<Edit> {
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
    // meant.
    let scaled = |ticks: u64| u128::from(ticks) * u128::from(time_scale) / u128::from(movie_scale);
    let media = media_duration(mdhd);
    let rest = media.checked_sub(start).filter(|rest| *rest > 0)?;
    // FFmpeg takes what it cannot count for zero.
    let is_open = duration == 0 || scaled(duration) + u128::from(start) > i64::MAX as u128;
    let to_the_end = is_open || scaled(duration.saturating_add(1)) >= u128::from(rest);
    let length = if to_the_end { rest } else { u64::try_from(scaled(duration)).ok()? };
    Some(Edit { start, length, media, time_scale, is_open })
}

/// The duration of an `mdhd`; 0 where there is none.
fn media_duration(mdhd: &[u8]) -> u64 {
    let range = if mdhd.first() == Some(&1) { 24..32 } else { 16..20 };
    mdhd.get(range).map_or(0, int)
}

/// The time scale of an `mvhd` or `mdhd`, which agree up to there.
pub(super) fn time_scale(header: &[u8]) -> Option<u32> {
    let at = if *header.first()? == 1 { 20 } else { 12 };
    Some(int(header.get(at..at + 4)?) as u32)
}

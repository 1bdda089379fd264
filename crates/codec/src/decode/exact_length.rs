//! The length of a track to the sample, where its container knows it.
//!
//! Codecs work in frames: the last one is longer than the sound, and MP4 says by how much, in an
//! edit list or in the duration of the media. Decoders give out whole frames.

use crate::isobmff::Edit;
use crate::pcm::PcmBlock;

/// Counts what an MP4's packets hold and cuts the last block. For other containers it does nothing.
#[derive(Debug, Default)]
pub(crate) struct ExactLength {
    /// Units per second of what follows.
    time_scale: u32,
    /// Length of what is to be heard, if an edit list says so.
    edit: Option<u64>,
    /// Length of all media, priming included.
    media: Option<u64>,
    packets: u64,
    longest_packet: u64,
    /// Samples given out.
    given: u64,
}

impl ExactLength {
    /// For packets whose durations are in units of 1/`time_scale` seconds; `declared` is the
    /// track's duration where there is no edit.
    pub(crate) fn new(time_scale: u32, edit: Option<Edit>, declared: Option<u64>) -> Self {
        let media = edit.map_or(declared, |edit| Some(edit.media));
        Self { time_scale, edit: edit.map(|edit| edit.length), media, ..Self::default() }
    }

    /// Notes a packet that goes to the decoder.
    pub(crate) fn packet(&mut self, duration: u64) {
        self.packets += 1;
        self.longest_packet = self.longest_packet.max(duration);
    }

    /// Notes samples that were given out.
    pub(crate) fn gave(&mut self, samples: usize) {
        self.given += samples as u64;
    }

    /// Cuts the last block. A surplus of a packet or more means that the declaration is wrong.
    pub(crate) fn cut_last(&self, block: &mut PcmBlock) {
        let (len, rate) = (block.len() as u64, block.format.rate.hz());
        let packet = self.samples(self.longest_packet, rate).unwrap_or(0).min(len);
        let surplus = self.surpluses(len, rate).into_iter().flatten().filter(|s| *s < packet).max();
        block.truncate(block.len() - surplus.unwrap_or(0) as usize);
    }

    /// By what has been given out, and by what the packets hold: decoders that know their encoder
    /// swallow its priming, which the container counts.
    fn surpluses(&self, last: u64, rate_hz: u32) -> [Option<u64>; 2] {
        let heard = self.edit.and_then(|edit| self.samples(edit, rate_hz));
        let by_edit = heard.map(|heard| (self.given + last).saturating_sub(heard));
        // Not every decoder gives the last frame whole.
        let before = self.packets.saturating_sub(1).saturating_mul(self.longest_packet);
        let coded = self.samples(before, rate_hz).map(|before| before + last);
        let media = self.media.and_then(|media| self.samples(media, rate_hz));
        let by_media = coded.zip(media).map(|(coded, media)| coded.saturating_sub(media));
        [by_edit, by_media]
    }

    /// Samples in `units`, if the time scale can say so exactly.
    fn samples(&self, units: u64, rate_hz: u32) -> Option<u64> {
        let scale = u64::from(self.time_scale);
        let samples = units.checked_mul(u64::from(rate_hz))?;
        (scale > 0 && samples % scale == 0).then(|| samples / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcm::{ChannelLayout, PcmFormat, SampleRate};

    fn last_of(exact: &mut ExactLength, given: usize) -> usize {
        cut(exact, given, 1024)
    }

    fn cut(exact: &mut ExactLength, given: usize, last: usize) -> usize {
        let rate = SampleRate::new(44_100).unwrap();
        let format = PcmFormat { rate, layout: ChannelLayout { channels: 1, mask: 0 } };
        let mut block = PcmBlock { format, planes: vec![vec![0.0; last]] };
        exact.gave(given);
        exact.cut_last(&mut block);
        block.len()
    }

    fn edit(length: u64) -> Edit {
        Edit { start: 1024, length, media: length + 1024, time_scale: 44_100, is_open: false }
    }

    #[test]
    fn an_edit_list_says_where_the_sound_ends() {
        let mut exact = ExactLength::new(44_100, Some(edit(441_000)), None);
        (0..432).for_each(|_| exact.packet(1024));
        assert_eq!(last_of(&mut exact, 430 * 1024), 441_000 - 430 * 1024);
    }

    #[test]
    fn without_one_the_duration_of_the_media_does() {
        // 44 packets of 1,024 and one of 68, of which the decoder swallows the first.
        let mut exact = ExactLength::new(44_100, None, Some(44 * 1024 + 68));
        (0..45).for_each(|_| exact.packet(1024));
        assert_eq!(last_of(&mut exact, 43 * 1024), 68);
    }

    #[test]
    fn a_last_frame_that_is_short_already_is_not_cut_again() {
        let length = 73 * 4096 + 2992;
        let whole = Edit { start: 0, length, media: length, time_scale: 44_100, is_open: false };
        for edit in [None, Some(whole)] {
            let mut exact = ExactLength::new(44_100, edit, Some(length));
            (0..73).for_each(|_| exact.packet(4096));
            exact.packet(2992);
            assert_eq!(cut(&mut exact, 73 * 4096, 2992), 2992);
        }
    }

    #[test]
    fn wrong_declarations_cut_nothing() {
        let mut exact = ExactLength::new(44_100, Some(edit(100_000)), None);
        exact.packet(1024);
        assert_eq!(last_of(&mut exact, 430 * 1024), 1024);
        assert_eq!(last_of(&mut ExactLength::default(), 5), 1024);
    }
}

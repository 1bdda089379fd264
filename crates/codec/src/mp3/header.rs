//! MPEG audio Layer III frame headers (ISO/IEC 11172-3 §2.4.1.3, 13818-3): just enough to walk
//! frames and to write the one of the tag frame.

/// Bitrates by header index, in kbit/s: MPEG-1, then MPEG-2 and 2.5. Index 0 is "free", 15 invalid.
const KBPS: [[u16; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// One frame's header, as far as Tonemill cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) sample_rate_hz: u32,
    pub(crate) bitrate_kbps: u16,
    pub(crate) padding: bool,
    /// The two bits of the channel mode; 3 is mono.
    pub(crate) channel_mode: u8,
}

impl FrameHeader {
    /// Reads the four bytes of a Layer III header. `None` if they are not one, or free format.
    pub(crate) fn parse(bytes: [u8; 4]) -> Option<Self> {
        if bytes[0] != 0xff || bytes[1] & 0xe6 != 0xe2 {
            return None;
        }
        let base = [44_100, 48_000, 32_000].get(usize::from(bytes[2] >> 2 & 3))?;
        let sample_rate_hz = match bytes[1] >> 3 & 3 {
            3 => *base,
            2 => base / 2,
            0 => base / 4,
            _ => return None,
        };
        let table = KBPS[usize::from(sample_rate_hz < 32_000)];
        let bitrate_kbps = *table.get(usize::from(bytes[2] >> 4))?;
        (bitrate_kbps > 0).then_some(Self {
            sample_rate_hz,
            bitrate_kbps,
            padding: bytes[2] & 2 != 0,
            channel_mode: bytes[3] >> 6,
        })
    }

    /// The header's bytes, without CRC; "original" is set, as LAME sets it. `None` if the bitrate
    /// does not exist at the rate.
    pub(crate) fn encode(self) -> Option<[u8; 4]> {
        let (version, divisor) = match self.sample_rate_hz {
            32_000.. => (3, 1),
            16_000.. => (2, 2),
            _ => (0, 4),
        };
        let base = self.sample_rate_hz * divisor;
        let rate = [44_100, 48_000, 32_000].iter().position(|&hz| hz == base)? as u8;
        let table = KBPS[usize::from(self.sample_rate_hz < 32_000)];
        let bitrate = table.iter().position(|&kbps| kbps == self.bitrate_kbps && kbps > 0)? as u8;
        Some([
            0xff,
            0xe3 | version << 3,
            bitrate << 4 | rate << 2 | u8::from(self.padding) << 1,
            self.channel_mode << 6 | 4,
        ])
    }

    /// Samples per channel.
    pub(crate) fn samples(self) -> usize {
        if self.sample_rate_hz >= 32_000 { 1152 } else { 576 }
    }

    /// Bytes of the frame, header included.
    pub(crate) fn frame_bytes(self) -> usize {
        let slots = self.samples() / 8 * usize::from(self.bitrate_kbps) * 1000;
        slots / self.sample_rate_hz as usize + usize::from(self.padding)
    }

    /// Bytes of the side information that follows the header (§2.4.1.7).
    pub(crate) fn side_info_bytes(self) -> usize {
        match (self.sample_rate_hz >= 32_000, self.channel_mode == 3) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        }
    }
}

/// The sizes in bytes of the frames that `bytes` consists of, end to end; an `Err` holds the offset
/// at which there is none.
pub(crate) fn frame_sizes(bytes: &[u8]) -> impl Iterator<Item = Result<usize, usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let header = bytes[at..].first_chunk().and_then(|b| FrameHeader::parse(*b));
        let size = header.map_or(usize::MAX, FrameHeader::frame_bytes);
        if size > bytes.len() - at {
            let broken = at;
            at = bytes.len();
            return Some(Err(broken));
        }
        at += size;
        Some(Ok(size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_a_round_trip() {
        for hz in crate::mp3::settings::SAMPLE_RATES_HZ {
            for kbps in &KBPS[usize::from(hz < 32_000)][1..] {
                for (channel_mode, padding) in [(0, false), (1, true), (3, false)] {
                    let header = FrameHeader {
                        sample_rate_hz: hz,
                        bitrate_kbps: *kbps,
                        padding,
                        channel_mode,
                    };
                    assert_eq!(FrameHeader::parse(header.encode().unwrap()), Some(header));
                }
            }
        }
    }

    #[test]
    fn sizes_are_those_of_the_standard() {
        let header = FrameHeader {
            sample_rate_hz: 44_100,
            bitrate_kbps: 128,
            padding: false,
            channel_mode: 1,
        };
        assert_eq!(header.frame_bytes(), 417);
        let low = FrameHeader { sample_rate_hz: 8_000, bitrate_kbps: 8, ..header };
        assert_eq!(low.frame_bytes(), 72);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [[0; 4], [0xff; 4], [0xff, 0xfb, 0x00, 0], [0xff, 0xfd, 0x90, 0]] {
            assert_eq!(FrameHeader::parse(bytes), None);
        }
        assert_eq!(frame_sizes(&[0xff, 0xfb, 0x90]).collect::<Vec<_>>(), [Err(0)]);
    }
}

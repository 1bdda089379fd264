//! The tag frame must never lose or change what it is told, take a damaged frame for a whole one,
//! or panic over one.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tonemill_codec::mp3::settings::{BITRATES_KBPS, SAMPLE_RATES_HZ};
use tonemill_codec::mp3::tag::InfoTag;
use tonemill_codec::pcm::{ChannelLayout, PcmFormat, SampleRate};
use tonemill_codec::{
    Bitrate, BitrateMode, ChannelChoice, MeanBitrate, Mp3Format, Mp3Rate, Mp3Settings, Quality,
    RateChoice, VbrLevel,
};

/// Bytes of a tag from "Xing" or "Info" to its CRC.
const TAG_BYTES: usize = 156;
/// Bytes of a frame's header and side information, for every version and channel mode.
const TAG_STARTS: [usize; 3] = [4 + 9, 4 + 17, 4 + 32];

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    settings: Settings,
    tag: Tag,
    damage: (u8, u8),
    bytes: &'a [u8],
}

#[derive(Debug, Arbitrary)]
struct Settings {
    mode: Mode,
    quality: u8,
    mono: Option<bool>,
    fixed_rate: Option<u8>,
    source_hz: u32,
    source_channels: u8,
}

#[derive(Debug, Arbitrary)]
enum Mode {
    Cbr(u8),
    Abr(u16),
    Vbr(u8),
}

#[derive(Debug, Arbitrary)]
struct Tag {
    constant_bitrate: bool,
    frames: u32,
    bytes: u32,
    toc: [u8; 100],
    delay: u16,
    padding: u16,
    lowpass_hz: u32,
    music_crc: u16,
}

fuzz_target!(|input: Input| {
    let Some(format) = input.settings.format() else { return };
    assert!(SAMPLE_RATES_HZ.contains(&format.rate.hz()) && (1..=2).contains(&format.channels));
    encoded_tags_are_read_back(&input.tag, &format, input.damage);

    for bytes in std::iter::once(input.bytes.to_vec()).chain(mended(input.bytes)) {
        if let Some(tag) = InfoTag::parse(&bytes) {
            assert_eq!(InfoTag::parse(&tag.encode(&format)), Some(tag));
        }
    }
});

fn encoded_tags_are_read_back(tag: &Tag, format: &Mp3Format, (at, bit): (u8, u8)) {
    let &Tag { constant_bitrate, frames, bytes, toc, delay, padding, lowpass_hz, music_crc } = tag;
    let tag =
        InfoTag { constant_bitrate, frames, bytes, toc, delay, padding, lowpass_hz, music_crc };
    let mut frame = tag.encode(format);
    assert_eq!(frame.len(), InfoTag::frame_bytes(format));
    // The fields have 12 bits, and 8 for the hundreds of Hz.
    let hundreds = (u64::from(lowpass_hz) + 50) / 100;
    let kept = InfoTag {
        delay: delay & 0xfff,
        padding: padding & 0xfff,
        lowpass_hz: hundreds.min(255) as u32 * 100,
        ..tag
    };
    assert_eq!(InfoTag::parse(&frame), Some(kept));

    let start = TAG_STARTS[usize::from(format.is_mpeg1()) + usize::from(format.channels == 2)];
    let at = usize::from(at) % TAG_BYTES;
    assert_eq!(InfoTag::parse(&frame[..start + at]), None, "cut at byte {at} of the tag");
    frame[start + at] ^= 1 << (bit % 8);
    assert_eq!(InfoTag::parse(&frame), None, "damaged at byte {at} of the tag");
}

/// `bytes` as the fields of a whole tag, for every place where one may start.
fn mended(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    TAG_STARTS.into_iter().filter(|start| bytes.len() >= start + TAG_BYTES).map(|start| {
        let mut bytes = bytes.to_vec();
        bytes[start..start + 4].copy_from_slice(b"Info");
        bytes[start + 4..start + 8].copy_from_slice(&[0, 0, 0, 0x0f]);
        let crc_at = start + TAG_BYTES - 2;
        let crc = crc16(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 2].copy_from_slice(&crc.to_be_bytes());
        bytes
    })
}

/// CRC-16/ARC.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xa001 } else { 0 })
    })
}

impl Settings {
    /// `None` where a number is out of its type's range.
    fn format(&self) -> Option<Mp3Format> {
        let pick = |index: u8, len: usize| usize::from(index) % len;
        let mode = match self.mode {
            Mode::Cbr(n) => {
                BitrateMode::Cbr(Bitrate::new(BITRATES_KBPS[pick(n, BITRATES_KBPS.len())])?)
            }
            Mode::Abr(kbps) => BitrateMode::Abr(MeanBitrate::new(8 + kbps % 303)?),
            Mode::Vbr(level) => BitrateMode::Vbr(VbrLevel::new(level % 10)?),
        };
        let rate = match self.fixed_rate {
            Some(n) => {
                RateChoice::Fixed(Mp3Rate::new(SAMPLE_RATES_HZ[pick(n, SAMPLE_RATES_HZ.len())])?)
            }
            None => RateChoice::Auto,
        };
        let channels = match self.mono {
            Some(true) => ChannelChoice::Mono,
            Some(false) => ChannelChoice::Stereo,
            None => ChannelChoice::Auto,
        };
        let quality = Quality::new(self.quality % 10)?;
        let layout = ChannelLayout { channels: u32::from(self.source_channels).max(1), mask: 0 };
        let source = PcmFormat { rate: SampleRate::new(self.source_hz)?, layout };
        Some(Mp3Settings { mode, quality, channels, rate }.resolve(source).0)
    }
}

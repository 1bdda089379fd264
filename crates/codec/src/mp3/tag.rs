//! The tag frame: Xing/Info header with LAME extension, written over the whole file.
//!
//! Layout and values follow LAME 3.100's `VbrTag.c` and the description at
//! <http://gabriel.mp3-tech.org/mp3infotag.html>; unit tests hold every byte against LAME's own.
//! Players take from it the length, the seek table, and how many samples to drop at both ends.

use crate::mp3::header::FrameHeader;
use crate::mp3::settings::{BitrateMode, Mp3Format};

/// Bytes after the side information: "Xing", flags, frames, bytes, TOC, scale, LAME extension.
const TAG_BYTES: usize = 4 + 4 + 4 + 4 + 100 + 4 + 36;
/// FRAMES | BYTES | TOC | VBR SCALE: all fields are there.
const ALL_FIELDS: u32 = 0x0f;
/// The version field; some players honour delay and padding only if it starts with "LAME".
const ENCODER: &[u8; 9] = b"LAME3.100";

/// What a tag frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfoTag {
    /// Whether the bitrate is constant ("Info"), not variable ("Xing").
    pub constant_bitrate: bool,
    /// Audio frames, this one not counted.
    pub frames: u32,
    /// Bytes of this frame and all audio frames.
    pub bytes: u32,
    /// For each percent of the time, 256ths of the bytes.
    pub toc: [u8; 100],
    /// Samples to drop at the start.
    pub delay: u16,
    /// Samples to drop at the end.
    pub padding: u16,
    /// Lowpass in Hz, in steps of 100; 0 if unknown.
    pub lowpass_hz: u32,
    /// CRC-16 of the audio frames.
    pub music_crc: u16,
}

impl InfoTag {
    /// The header of the tag frame for `format`: LAME's choice of bitrate, or the lowest one that
    /// has room for the tag where LAME would leave it out.
    fn frame_header(format: &Mp3Format) -> FrameHeader {
        let preferred = match format.mode {
            BitrateMode::Cbr(kbps) => kbps.get(),
            _ if format.is_mpeg1() => 128,
            _ if format.rate.hz() < 16_000 => 32,
            _ => 64,
        };
        let header = |bitrate_kbps| FrameHeader {
            sample_rate_hz: format.rate.hz(),
            bitrate_kbps,
            padding: false,
            channel_mode: if format.channels == 1 { 3 } else { 1 },
        };
        super::settings::BITRATES_KBPS
            .into_iter()
            .filter(|&kbps| kbps >= preferred)
            .map(header)
            .find(|h| {
                h.encode().is_some() && h.frame_bytes() >= 4 + h.side_info_bytes() + TAG_BYTES
            })
            .unwrap_or(header(preferred))
    }

    /// Bytes of the tag frame for `format`. Known before the first sample.
    #[must_use]
    pub fn frame_bytes(format: &Mp3Format) -> usize {
        Self::frame_header(format).frame_bytes()
    }

    /// The whole frame.
    #[must_use]
    pub fn encode(&self, format: &Mp3Format) -> Vec<u8> {
        let header = Self::frame_header(format);
        let mut frame = Vec::with_capacity(header.frame_bytes());
        frame.extend(header.encode().unwrap_or_default());
        frame.resize(4 + header.side_info_bytes(), 0);
        frame.extend(if self.constant_bitrate { b"Info" } else { b"Xing" });
        frame.extend(ALL_FIELDS.to_be_bytes());
        frame.extend(self.frames.to_be_bytes());
        frame.extend(self.bytes.to_be_bytes());
        frame.extend(self.toc);
        frame.extend(quality_indicator(format).to_be_bytes());
        frame.extend(ENCODER);
        frame.push(vbr_method(format.mode));
        frame.push((self.lowpass_hz.saturating_add(50) / 100).min(255) as u8);
        frame.extend([0; 8]); // peak amplitude and replay gains: not measured
        frame.push(psycho_flags(format));
        frame.push(bitrate_field(format));
        let gaps = u32::from(self.delay & 0xfff) << 12 | u32::from(self.padding & 0xfff);
        frame.extend(&gaps.to_be_bytes()[1..]);
        frame.push(misc_field(format));
        frame.push(0); // MP3 gain
        frame.extend(preset(format.mode).to_be_bytes());
        frame.extend(self.bytes.to_be_bytes());
        frame.extend(self.music_crc.to_be_bytes());
        let crc = crc16(0, &frame);
        frame.extend(crc.to_be_bytes());
        frame.resize(header.frame_bytes(), 0);
        frame
    }

    /// Reads a tag frame back. `None` if `frame` does not start with one that has all fields and a
    /// LAME extension whose CRC is right.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let header = FrameHeader::parse(*frame.first_chunk()?)?;
        let start = 4 + header.side_info_bytes();
        let tag = frame.get(start..start + TAG_BYTES)?;
        let constant_bitrate = match &tag[..4] {
            b"Info" => true,
            b"Xing" => false,
            _ => return None,
        };
        let int32 = |at: usize| tag[at..].first_chunk().map(|b| u32::from_be_bytes(*b));
        let int16 = |at: usize| tag[at..].first_chunk().map(|b| u16::from_be_bytes(*b));
        let crc_at = TAG_BYTES - 2;
        if int32(4)? != ALL_FIELDS || int16(crc_at)? != crc16(0, &frame[..start + crc_at]) {
            return None;
        }
        let gaps = u32::from_be_bytes([0, tag[141], tag[142], tag[143]]);
        Some(Self {
            constant_bitrate,
            frames: int32(8)?,
            bytes: int32(12)?,
            toc: *tag[16..].first_chunk()?,
            delay: (gaps >> 12) as u16,
            padding: (gaps & 0xfff) as u16,
            lowpass_hz: u32::from(tag[130]) * 100,
            music_crc: int16(crc_at - 2)?,
        })
    }
}

/// LAME's "VBR scale": 100 − 10 · V − q. CBR and ABR have the default V of 4.
fn quality_indicator(format: &Mp3Format) -> u32 {
    let level = match format.mode {
        BitrateMode::Vbr(level) => u32::from(level.get()),
        _ => 4,
    };
    (100 - 10 * level).saturating_sub(u32::from(effective_quality(format)))
}

/// In its new VBR LAME knows only three efforts below 8, and none above 7.
fn effective_quality(format: &Mp3Format) -> u8 {
    match (format.mode, format.quality.get()) {
        (BitrateMode::Vbr(_), ..5) => 0,
        (BitrateMode::Vbr(_), 7..) | (_, 8) => 7,
        (_, quality) => quality,
    }
}

fn vbr_method(mode: BitrateMode) -> u8 {
    match mode {
        BitrateMode::Cbr(_) => 1,
        BitrateMode::Abr(_) => 2,
        BitrateMode::Vbr(_) => 4, // "VBR-new": vbr_mtrh
    }
}

/// Bits 0–3: ATH type, 5 in LAME's new VBR, else 4; bit 4: nspsytune; bit 5: safe joint stereo, on
/// in LAME's better presets.
fn psycho_flags(format: &Mp3Format) -> u8 {
    let (ath, safe) = match format.mode {
        BitrateMode::Vbr(level) => (5, level.get() <= 7),
        // From the middle between 128 and 160 up.
        mode => (4, preset(mode) >= 144),
    };
    u8::from(safe && format.channels == 2) << 5 | 1 << 4 | ath
}

/// The bitrate in kbit/s (CBR, ABR) or the lowest one used (VBR), at most 255.
fn bitrate_field(format: &Mp3Format) -> u8 {
    let kbps = match format.mode {
        BitrateMode::Cbr(kbps) => kbps.get(),
        BitrateMode::Abr(kbps) => kbps.get(),
        BitrateMode::Vbr(_) if format.is_mpeg1() => 32,
        BitrateMode::Vbr(_) => 8,
    };
    kbps.min(255) as u8
}

/// Bits 0–1: noise shaping; 2–4: stereo mode; 5: unwise settings; 6–7: source rate.
fn misc_field(format: &Mp3Format) -> u8 {
    let noise_shaping = match (format.mode, effective_quality(format)) {
        (_, 7..) => 0,
        // LAME's presets below the middle between 160 and 192 have the coarser scale.
        (BitrateMode::Cbr(_) | BitrateMode::Abr(_), _) if preset(format.mode) < 176 => 2,
        _ => 1,
    };
    let stereo_mode = if format.channels == 1 { 0 } else { 3 }; // mono, joint
    let (low_rate, source_rate) = match format.rate.hz() {
        ..=32_000 => (1, 0),
        48_000 => (0, 2),
        _ => (0, 1),
    };
    noise_shaping | stereo_mode << 2 | low_rate << 5 | source_rate << 6
}

/// LAME's preset number: the bitrate, or 500 − 10 · V.
fn preset(mode: BitrateMode) -> u16 {
    match mode {
        BitrateMode::Cbr(kbps) => kbps.get(),
        BitrateMode::Abr(kbps) => kbps.get(),
        BitrateMode::Vbr(level) => 500 - 10 * u16::from(level.get()),
    }
}

/// CRC-16/ARC (polynomial 0x8005, reflected), continued from `crc`.
pub(crate) fn crc16(mut crc: u16, bytes: &[u8]) -> u16 {
    for byte in bytes {
        crc = crc >> 8 ^ CRC_TABLE[usize::from((crc ^ u16::from(*byte)) & 0xff)];
    }
    crc
}

const CRC_TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::lame::Lame;
    use crate::mp3::header::frame_sizes;
    use crate::mp3::seek_table::SeekTable;
    use crate::mp3::settings::{Bitrate, MeanBitrate, Quality, SAMPLE_RATES_HZ, VbrLevel};
    use crate::pcm::SampleRate;
    use proptest::prelude::*;

    const TOC: std::ops::Range<usize> = 16..116;

    fn modes() -> Vec<BitrateMode> {
        let cbr = [64, 48, 128, 192, 320].map(|kbps| BitrateMode::Cbr(Bitrate::new(kbps).unwrap()));
        let abr = [64, 150].map(|kbps| BitrateMode::Abr(MeanBitrate::new(kbps).unwrap()));
        let vbr = [0, 2, 5, 9].map(|level| BitrateMode::Vbr(VbrLevel::new(level).unwrap()));
        [&cbr[..], &abr, &vbr].concat()
    }

    /// Every combination of mode, rate and channels that LAME takes unchanged.
    fn formats() -> Vec<Mp3Format> {
        let mut formats = Vec::new();
        for hz in SAMPLE_RATES_HZ {
            for mode in modes() {
                for (channels, quality) in [(1, 3), (2, 3), (2, 7), (2, 9), (1, 0)] {
                    let settings = crate::Mp3Settings { mode, ..Default::default() };
                    let rate = SampleRate::new(hz).unwrap();
                    let layout = crate::pcm::ChannelLayout { channels: 2, mask: 0 };
                    let source = crate::pcm::PcmFormat { rate, layout };
                    let (format, warning) = settings.resolve(source);
                    let quality = Quality::new(quality).unwrap();
                    if warning.is_none() && format.rate == rate {
                        formats.push(Mp3Format { channels, quality, ..format });
                    }
                }
            }
        }
        formats
    }

    fn sound(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 0.031).sin() * (i as f32 * 0.0007).sin()).collect()
    }

    #[test]
    fn every_byte_but_the_seek_table_is_lames() {
        let pcm = sound(20_000);
        let mut compared = 0;
        for format in formats() {
            let planes = vec![pcm.as_slice(); usize::from(format.channels)];
            let (theirs, body) = Lame::reference(&format, &planes);
            let lame = Lame::new(&format).unwrap();
            let grid = crate::mp3::segment::FrameGrid::of(&format).unwrap();
            // LAME's table counts bitrates of frames where ours counts bytes, the tag's included.
            // LAME's stream starts with room for the tag, unless that does not fit.
            let audio = &body[theirs.len()..];
            let mut seek_table = SeekTable::new();
            frame_sizes(audio).for_each(|size| seek_table.push(size.unwrap()));
            let tag_bytes = InfoTag::frame_bytes(&format);
            let ours = InfoTag {
                constant_bitrate: matches!(format.mode, BitrateMode::Cbr(_)),
                frames: seek_table.frames() as u32,
                bytes: (audio.len() + tag_bytes) as u32,
                toc: seek_table.toc(tag_bytes),
                delay: grid.delay as u16,
                padding: grid.padding(pcm.len() as u64) as u16,
                lowpass_hz: lame.lowpass_hz(),
                music_crc: crc16(0, audio),
            };
            let frame = ours.encode(&format);
            assert_eq!(InfoTag::parse(&frame).map(|tag| tag.frames), Some(ours.frames));
            assert_eq!(seek_table.frames(), grid.total_frames(pcm.len() as u64));
            if theirs.is_empty() {
                continue; // no room at this bitrate
            }
            let start =
                4 + FrameHeader::parse(*frame.first_chunk().unwrap()).unwrap().side_info_bytes();
            let mut masked = (frame.clone(), theirs.clone());
            let crc = start + TAG_BYTES - 2;
            for bytes in [&mut masked.0, &mut masked.1] {
                bytes[start + TOC.start..start + TOC.end].fill(0);
                bytes[crc..crc + 2].fill(0);
                // The last frame's mode extension, which means nothing without audio.
                bytes[3] &= 0b1100_1111;
            }
            let differing: Vec<_> = (0..masked.0.len().max(masked.1.len()))
                .map(|i| (i as isize - start as isize, masked.0.get(i), masked.1.get(i)))
                .filter(|(_, ours, theirs)| ours != theirs)
                .collect();
            assert_eq!(differing, [], "{format:?}");
            compared += 1;
        }
        assert!(compared > 150, "{compared}");
    }

    #[test]
    fn crc_is_crc16_arc() {
        assert_eq!(crc16(0, b"123456789"), 0xbb3d);
    }

    fn any_tag() -> impl Strategy<Value = InfoTag> {
        (any::<(bool, u32, u32, [u8; 32], u16, u16, u8, u16)>()).prop_map(
            |(constant_bitrate, frames, bytes, some, delay, padding, lowpass, music_crc)| InfoTag {
                constant_bitrate,
                frames,
                bytes,
                toc: std::array::from_fn(|i| some[i % 32].wrapping_add(i as u8)),
                delay: delay & 0xfff,
                padding: padding & 0xfff,
                lowpass_hz: u32::from(lowpass) * 100,
                music_crc,
            },
        )
    }

    proptest! {
        #[test]
        fn tags_survive_a_round_trip(tag in any_tag(), format in 0..formats().len()) {
            let frame = tag.encode(&formats()[format]);
            prop_assert_eq!(frame.len(), InfoTag::frame_bytes(&formats()[format]));
            prop_assert_eq!(InfoTag::parse(&frame), Some(tag));
        }

        #[test]
        fn a_flipped_bit_is_never_taken_for_a_tag(tag in any_tag(), bit in 0_usize..(4 + 9 + TAG_BYTES) * 8) {
            // Mono at 8 kHz has the shortest side information, 9 bytes.
            let mut frame = tag.encode(&formats()[0]);
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(InfoTag::parse(&frame), None);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = InfoTag::parse(&bytes);
        }
    }
}

//! What an MP3 can be, in types that cannot hold anything else.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pcm::{PcmFormat, SampleRate};

/// The sample rates of MPEG-1, MPEG-2 and MPEG-2.5 Layer III, in Hz (ISO/IEC 11172-3 §2.4.2.3,
/// 13818-3 §2.4.2.3; 2.5 is Fraunhofer's extension).
pub const SAMPLE_RATES_HZ: [u32; 9] =
    [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

/// Every constant bitrate that some MPEG version has, in kbit/s.
pub const BITRATES_KBPS: [u16; 18] =
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320];

macro_rules! bounded {
    ($(#[$attribute:meta])* $name:ident($int:ty), $valid:expr, $default:expr) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        $(#[$attribute])*
        pub struct $name($int);

        impl TryFrom<$int> for $name {
            type Error = &'static str;

            fn try_from(value: $int) -> Result<Self, Self::Error> {
                Self::new(value).ok_or(concat!("no ", stringify!($name)))
            }
        }

        impl $name {
            /// `None` where the value is out of range.
            #[must_use]
            pub fn new(value: $int) -> Option<Self> {
                let valid: fn($int) -> bool = $valid;
                valid(value).then_some(Self(value))
            }

            /// The number.
            #[must_use]
            pub fn get(self) -> $int {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

bounded! {
    /// A constant bitrate in kbit/s, one of [`BITRATES_KBPS`]. Default: 192.
    #[serde(try_from = "u16")]
    Bitrate(u16), |kbps| BITRATES_KBPS.contains(&kbps), 192
}
bounded! {
    /// A mean bitrate in kbit/s, 8 to 310. Default: 192.
    #[serde(try_from = "u16")]
    MeanBitrate(u16), |kbps| (8..=310).contains(&kbps), 192
}
bounded! {
    /// LAME's `-V` level, 0 (best) to 9 (smallest). Default: 2.
    #[serde(try_from = "u8")]
    VbrLevel(u8), |level| level <= 9, 2
}
bounded! {
    /// LAME's `-q` level, 0 (slowest) to 9 (fastest). Default: 3, as LAME's own.
    #[serde(try_from = "u8")]
    Quality(u8), |level| level <= 9, 3
}

/// How bits are spent over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BitrateMode {
    /// Constant, in kbit/s.
    Cbr(Bitrate),
    /// Around a mean, in kbit/s.
    Abr(MeanBitrate),
    /// Constant quality.
    Vbr(VbrLevel),
}

impl Default for BitrateMode {
    fn default() -> Self {
        Self::Cbr(Bitrate::default())
    }
}

impl fmt::Display for BitrateMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cbr(kbps) => write!(f, "CBR {kbps} kbit/s"),
            Self::Abr(kbps) => write!(f, "ABR {kbps} kbit/s"),
            Self::Vbr(level) => write!(f, "VBR V{level}"),
        }
    }
}

/// Channels of the MP3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelChoice {
    /// Mono for mono, stereo for everything else.
    #[default]
    Auto,
    /// One channel.
    Mono,
    /// Two channels.
    Stereo,
}

/// Sample rate of the MP3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RateChoice {
    /// The source's where MP3 has it, else the next higher, else 48 kHz. A constant bitrate that
    /// exists in MPEG-2 only (below 32 kbit/s, 144) halves rates from 32 kHz up.
    #[default]
    Auto,
    /// One of [`SAMPLE_RATES_HZ`].
    Fixed(Mp3Rate),
}

/// A sample rate that MP3 has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mp3Rate(u32);

impl Mp3Rate {
    /// `None` where MP3 has no such rate.
    #[must_use]
    pub fn new(hz: u32) -> Option<Self> {
        SAMPLE_RATES_HZ.contains(&hz).then_some(Self(hz))
    }

    /// The rate in Hz.
    #[must_use]
    pub fn hz(self) -> u32 {
        self.0
    }
}

/// What the user asks of the encoder. The default is CBR 192 at LAME's quality 3, rate and
/// channels as in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mp3Settings {
    /// How bits are spent.
    pub mode: BitrateMode,
    /// LAME's effort.
    pub quality: Quality,
    /// Mono, stereo or by the source.
    pub channels: ChannelChoice,
    /// Sample rate.
    pub rate: RateChoice,
}

/// What an encoder is set to: settings after they met a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mp3Format {
    /// Sample rate, one of [`SAMPLE_RATES_HZ`].
    #[serde(rename = "sample_rate_hz")]
    pub rate: SampleRate,
    /// 1 or 2.
    pub channels: u8,
    /// How bits are spent; the bitrate is one that the rate allows.
    pub mode: BitrateMode,
    /// LAME's effort.
    pub quality: Quality,
}

impl Mp3Format {
    /// Whether frames have 1,152 samples (MPEG-1), not 576.
    #[must_use]
    pub fn is_mpeg1(&self) -> bool {
        self.rate.hz() >= 32_000
    }

    /// Samples per channel and frame.
    #[must_use]
    pub fn samples_per_frame(&self) -> usize {
        if self.is_mpeg1() { 1152 } else { 576 }
    }
}

impl Mp3Settings {
    /// Fits the settings to a source. Where the rate does not allow the bitrate, the nearest one
    /// below is taken, and said so in the second value.
    #[must_use]
    pub fn resolve(&self, source: PcmFormat) -> (Mp3Format, Option<String>) {
        let channels = match self.channels {
            ChannelChoice::Mono => 1,
            ChannelChoice::Stereo => 2,
            ChannelChoice::Auto => source.layout.channels.clamp(1, 2) as u8,
        };
        let hz = match self.rate {
            RateChoice::Fixed(rate) => rate.hz(),
            RateChoice::Auto => self.auto_rate(source.rate.hz()),
        };
        let (mode, warning) = fit_bitrate(self.mode, hz);
        let rate = SampleRate::new(hz).unwrap_or(source.rate);
        (Mp3Format { rate, channels, mode, quality: self.quality }, warning)
    }

    fn auto_rate(&self, source_hz: u32) -> u32 {
        let hz = SAMPLE_RATES_HZ.into_iter().find(|&hz| hz >= source_hz).unwrap_or(48_000);
        match self.mode {
            BitrateMode::Cbr(kbps) if hz >= 32_000 && !allowed(kbps.get(), hz) => hz / 2,
            _ => hz,
        }
    }
}

/// Whether frames at `hz` can have a constant bitrate of `kbps`. MPEG-2.5 ends at 64 in LAME.
fn allowed(kbps: u16, hz: u32) -> bool {
    match hz {
        32_000.. => kbps >= 32 && kbps != 144,
        16_000.. => kbps <= 160,
        _ => kbps <= 64 && kbps != 144,
    }
}

fn fit_bitrate(mode: BitrateMode, hz: u32) -> (BitrateMode, Option<String>) {
    let most = BITRATES_KBPS.into_iter().rev().find(|&kbps| allowed(kbps, hz)).unwrap_or(64);
    let (wanted, fitted) = match mode {
        BitrateMode::Cbr(kbps) if !allowed(kbps.get(), hz) => {
            let below = BITRATES_KBPS.into_iter().rev().find(|&k| k < kbps.get() && allowed(k, hz));
            let fit = below.unwrap_or(32);
            (kbps.get(), BitrateMode::Cbr(Bitrate(fit)))
        }
        BitrateMode::Abr(kbps) if kbps.get() > most => {
            (kbps.get(), BitrateMode::Abr(MeanBitrate(most)))
        }
        _ => return (mode, None),
    };
    (fitted, Some(format!("{wanted} kbit/s do not exist at {hz} Hz: {fitted} is used")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcm::ChannelLayout;

    fn source(hz: u32, channels: u32) -> PcmFormat {
        PcmFormat {
            rate: SampleRate::new(hz).unwrap(),
            layout: ChannelLayout { channels, mask: 0 },
        }
    }

    fn cbr(kbps: u16) -> Mp3Settings {
        let mode = BitrateMode::Cbr(Bitrate::new(kbps).unwrap());
        Mp3Settings { mode, ..Mp3Settings::default() }
    }

    #[test]
    fn rates_are_kept_or_raised() {
        for (from, to) in [
            (44_100, 44_100),
            (8_000, 8_000),
            (7_350, 8_000),
            (37_800, 44_100),
            (96_000, 48_000),
            (192_000, 48_000),
            (18_900, 22_050),
        ] {
            assert_eq!(Mp3Settings::default().resolve(source(from, 2)).0.rate.hz(), to);
        }
    }

    #[test]
    fn channels_follow_the_source() {
        for (from, to) in [(1, 1), (2, 2), (6, 2)] {
            assert_eq!(Mp3Settings::default().resolve(source(48_000, from)).0.channels, to);
        }
    }

    #[test]
    fn bitrates_fit_their_rate() {
        let (format, warning) = cbr(192).resolve(source(8_000, 1));
        assert_eq!(format.mode, BitrateMode::Cbr(Bitrate(64)));
        assert!(warning.unwrap().contains("192"));
        let (format, warning) = cbr(192).resolve(source(24_000, 1));
        assert_eq!((format.mode, warning.is_some()), (BitrateMode::Cbr(Bitrate(160)), true));
        let (format, warning) = cbr(16).resolve(source(44_100, 2));
        assert_eq!((format.rate.hz(), warning), (22_050, None));
        let (format, warning) = cbr(320).resolve(source(44_100, 2));
        assert_eq!((format.mode, warning), (BitrateMode::Cbr(Bitrate(320)), None));
        let fixed = Mp3Settings { rate: RateChoice::Fixed(Mp3Rate(44_100)), ..cbr(16) };
        assert_eq!(fixed.resolve(source(44_100, 2)).0.mode, BitrateMode::Cbr(Bitrate(32)));
    }

    #[test]
    fn values_end_at_their_edges() {
        assert!(Quality::new(9).is_some() && Quality::new(10).is_none());
        assert!(VbrLevel::new(9).is_some() && VbrLevel::new(10).is_none());
        assert!(MeanBitrate::new(8).is_some() && MeanBitrate::new(7).is_none());
        assert!(MeanBitrate::new(310).is_some() && MeanBitrate::new(311).is_none());
        assert!(Bitrate::new(320).is_some() && Bitrate::new(319).is_none());
        assert!(Mp3Rate::new(44_100).is_some() && Mp3Rate::new(44_000).is_none());
    }

    #[test]
    fn only_what_can_be_is_read_back() {
        let (format, _) = cbr(128).resolve(source(44_100, 2));
        let json = serde_json::to_string(&format).unwrap();
        let expected = r#"{"sample_rate_hz":44100,"channels":2,"mode":{"cbr":128},"quality":3}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Mp3Format>(&json).unwrap(), format);
        for (valid, wrong) in [("128", "129"), (":3}", ":10}"), ("44100", "0"), ("cbr", "xbr")] {
            let changed = json.replace(valid, wrong);
            assert!(serde_json::from_str::<Mp3Format>(&changed).is_err(), "{changed}");
        }
    }
}

//! PCM on its way from a decoder to LAME: planar 32-bit floats, nominal range −1 to 1.

use serde::{Deserialize, Serialize};

/// Samples per second and channel, in Hz. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct SampleRate(u32);

impl TryFrom<u32> for SampleRate {
    type Error = &'static str;

    fn try_from(hz: u32) -> Result<Self, Self::Error> {
        Self::new(hz).ok_or("a sample rate of zero")
    }
}

impl SampleRate {
    /// `None` for zero.
    #[must_use]
    pub fn new(hz: u32) -> Option<Self> {
        (hz > 0).then_some(Self(hz))
    }

    /// The rate in Hz.
    #[must_use]
    pub fn hz(self) -> u32 {
        self.0
    }

    /// The time that `samples` (per channel) take, in seconds.
    #[must_use]
    pub fn seconds(self, samples: u64) -> f64 {
        samples as f64 / f64::from(self.0)
    }

    /// The sample nearest to a point in time; negative times are zero.
    #[must_use]
    pub fn sample_at(self, seconds: f64) -> u64 {
        (seconds * f64::from(self.0)).round().max(0.0) as u64
    }
}

/// What the channels of a block are, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelLayout {
    /// Number of channels, at least 1.
    pub channels: u32,
    /// FFmpeg's channel mask (that of `WAVEFORMATEXTENSIBLE`, extended); 0 where unknown.
    pub mask: u64,
}

/// Rate and channels of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcmFormat {
    /// Sample rate.
    pub rate: SampleRate,
    /// Channels.
    pub layout: ChannelLayout,
}

/// A run of audio: one `Vec` per channel, all of the same length.
#[derive(Debug, Clone)]
pub struct PcmBlock {
    /// Rate and channels.
    pub format: PcmFormat,
    /// Samples by channel.
    pub planes: Vec<Vec<f32>>,
}

impl PcmBlock {
    /// Samples per channel.
    #[must_use]
    pub fn len(&self) -> usize {
        self.planes.first().map_or(0, Vec::len)
    }

    /// Whether the block holds no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps the first `len` samples of each channel.
    pub fn truncate(&mut self, len: usize) {
        for plane in &mut self.planes {
            plane.truncate(len);
        }
    }

    /// Drops the first `count` samples of each channel.
    pub fn skip(&mut self, count: usize) {
        for plane in &mut self.planes {
            plane.drain(..count.min(plane.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_samples_agree() {
        let rate = SampleRate::new(44_100).unwrap();
        assert_eq!(rate.sample_at(rate.seconds(441_001)), 441_001);
        assert_eq!(rate.sample_at(-1.0), 0);
        assert!(SampleRate::new(0).is_none());
    }
}

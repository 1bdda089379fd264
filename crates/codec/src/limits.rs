//! Limits as budgets that are spent: nothing that a file declares is believed, and what it really
//! uses is counted where it is used.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{CodecError, LimitKind, Result};

/// What one conversion may use. Reaching a limit exactly is allowed; one past it is
/// [`CodecError::Limit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of the input. Default: 64 GiB.
    pub input_bytes: u64,
    /// Seconds of decoded audio, before trimming. Default: 12 h.
    pub decoded_seconds: u64,
    /// Bytes of the MP3, tags included. Default: 4 GiB.
    pub output_bytes: u64,
    /// Streams in the container. Default: 256.
    pub streams: u32,
    /// Channels of the chosen track. Default: 32.
    pub channels: u32,
    /// Lowest sample rate of the chosen track, in Hz. Default: 4,000.
    pub min_sample_rate_hz: u32,
    /// Highest sample rate of the chosen track, in Hz. Default: 768,000.
    pub max_sample_rate_hz: u32,
    /// Bytes of one attached picture; a larger one is left out with a warning. Default: 8 MiB.
    pub picture_bytes: usize,
    /// Bytes of one tag's text; a longer one is cut with a warning. Default: 4 KiB.
    pub tag_bytes: usize,
    /// Chapters that are kept; more are left out with a warning. Default: 255, as many as an
    /// ID3 table of contents can name.
    pub chapters: usize,
    /// Time from the start of the conversion. Default: 6 h.
    pub wall_clock: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            input_bytes: 64 << 30,
            decoded_seconds: 12 * 3600,
            output_bytes: 4 << 30,
            streams: 256,
            channels: 32,
            min_sample_rate_hz: 4_000,
            max_sample_rate_hz: 768_000,
            picture_bytes: 8 << 20,
            tag_bytes: 4 << 10,
            chapters: 255,
            wall_clock: Duration::from_hours(6),
        }
    }
}

impl Limits {
    /// Checks the length of the input, in bytes.
    pub fn check_input(&self, bytes: u64) -> Result<()> {
        at_most(LimitKind::InputBytes, self.input_bytes, bytes)
    }

    /// Checks the number of streams in a container.
    pub fn check_streams(&self, streams: usize) -> Result<()> {
        at_most(LimitKind::Streams, self.streams.into(), streams as u64)
    }

    /// Checks the shape of the audio: channels and sample rate in Hz.
    pub fn check_shape(&self, channels: u32, sample_rate_hz: u32) -> Result<()> {
        at_most(LimitKind::Channels, self.channels.into(), channels.into())?;
        if sample_rate_hz < self.min_sample_rate_hz {
            return Err(CodecError::Limit {
                limit: LimitKind::SampleRate,
                allowed: self.min_sample_rate_hz.into(),
                found: Some(sample_rate_hz.into()),
            });
        }
        at_most(LimitKind::SampleRate, self.max_sample_rate_hz.into(), sample_rate_hz.into())
    }

    /// Checks the shape that a container declares, in which zeros mean "unknown".
    pub fn check_declared_shape(&self, channels: u32, sample_rate_hz: u32) -> Result<()> {
        let known_rate = if sample_rate_hz == 0 { self.max_sample_rate_hz } else { sample_rate_hz };
        self.check_shape(channels, known_rate)
    }

    /// Checks decoded audio: `samples` per channel at `sample_rate_hz`.
    pub fn check_decoded(&self, samples: u64, sample_rate_hz: u32) -> Result<()> {
        if samples > self.decoded_seconds.saturating_mul(sample_rate_hz.into()) {
            return Err(CodecError::Limit {
                limit: LimitKind::DecodedSeconds,
                allowed: self.decoded_seconds,
                found: None,
            });
        }
        Ok(())
    }

    /// Checks the size of the MP3, in bytes.
    pub fn check_output(&self, bytes: u64) -> Result<()> {
        if bytes > self.output_bytes {
            return Err(CodecError::Limit {
                limit: LimitKind::OutputBytes,
                allowed: self.output_bytes,
                found: None,
            });
        }
        Ok(())
    }
}

fn at_most(limit: LimitKind, allowed: u64, found: u64) -> Result<()> {
    if found > allowed {
        return Err(CodecError::Limit { limit, allowed, found: Some(found) });
    }
    Ok(())
}

/// The wall-clock budget of one conversion, running since it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    allowed: Duration,
}

impl Deadline {
    pub(crate) fn starting_now(allowed: Duration) -> Self {
        // A limit beyond what the clock can express is no limit.
        Self { at: Instant::now().checked_add(allowed), allowed }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.at {
            Some(at) if Instant::now() > at => Err(CodecError::Limit {
                limit: LimitKind::WallClockSeconds,
                // Rounded up: half a second is no zero.
                allowed: self.allowed.as_secs_f64().ceil() as u64,
                found: None,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_holds_at_its_edge_and_breaks_one_past() {
        let l = Limits {
            input_bytes: 10,
            decoded_seconds: 2,
            output_bytes: 10,
            streams: 3,
            channels: 2,
            min_sample_rate_hz: 8000,
            max_sample_rate_hz: 48000,
            ..Limits::default()
        };
        assert!(l.check_input(10).is_ok() && l.check_input(11).is_err());
        assert!(l.check_output(10).is_ok() && l.check_output(11).is_err());
        assert!(l.check_streams(3).is_ok() && l.check_streams(4).is_err());
        assert!(l.check_decoded(16000, 8000).is_ok() && l.check_decoded(16001, 8000).is_err());
        assert!(l.check_shape(2, 8000).is_ok() && l.check_shape(3, 8000).is_err());
        assert!(l.check_shape(1, 48000).is_ok() && l.check_shape(1, 48001).is_err());
        assert!(l.check_shape(1, 7999).is_err());
    }

    #[test]
    fn an_endless_deadline_is_none() {
        assert!(Deadline::starting_now(Duration::MAX).check().is_ok());
        assert!(Deadline::starting_now(Duration::ZERO).check().is_err());
    }
}

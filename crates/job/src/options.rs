//! What a job may ask for: the options, and the rules that hold for them.
//!
//! Options come from outside and can hold any numbers. Whoever takes a job in refuses what no
//! worker could do, with the field to blame, and needs no codec for that: the tables here are what
//! the codec knows, and a test of the worker, which sees both, holds them against it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Constant bitrates, in kbit/s.
pub const BITRATES_KBPS: [u32; 18] =
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320];
/// Average bitrates, in kbit/s.
pub const MEAN_BITRATES_KBPS: RangeInclusive<u32> = 8..=310;
/// Levels of a variable bitrate, from best to smallest.
pub const VBR_LEVELS: RangeInclusive<u8> = 0..=9;
/// LAME's efforts, from best to fastest.
pub const QUALITIES: RangeInclusive<u8> = 0..=9;
/// Sample rates, in Hz.
pub const SAMPLE_RATES_HZ: [u32; 9] =
    [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
/// Names of tags.
pub const TAGS: [&str; 14] = [
    "title",
    "artist",
    "album",
    "album_artist",
    "track",
    "disc",
    "date",
    "genre",
    "composer",
    "comment",
    "description",
    "copyright",
    "publisher",
    "language",
];
/// The longest texts of all tags together that are accepted, in bytes: they go wherever the job
/// goes.
pub const MAX_TAGS_BYTES: usize = 16 << 10;
/// The longest code of a language that is accepted, in bytes.
pub const MAX_LANGUAGE_BYTES: usize = 64;

/// What to make of an input. What is not said is as for `tonemill convert`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobOptions {
    /// Constant bitrate, in kbit/s.
    pub bitrate_kbps: Option<u32>,
    /// Average bitrate, in kbit/s.
    pub abr_kbps: Option<u32>,
    /// Variable bitrate, from 0 (best) to 9 (smallest).
    pub vbr_level: Option<u8>,
    /// LAME's effort, from 0 (slowest, best) to 9 (fastest).
    pub quality: Option<u8>,
    /// Channels of the output.
    pub channels: ChannelOption,
    /// Sample rate of the output, in Hz.
    pub rate_hz: Option<u32>,
    /// Audio track, from 0.
    pub track: Option<usize>,
    /// Audio track in this language, by any ISO 639 code.
    pub language: Option<String>,
    /// Where to start, in seconds.
    pub start_seconds: Option<f64>,
    /// Where to end, in seconds of the input.
    pub end_seconds: Option<f64>,
    /// Tags that replace the input's; an empty text removes one.
    pub tags: BTreeMap<String, String>,
    /// Leave out the input's tags and chapters.
    pub drop_tags: bool,
    /// Leave out the input's cover.
    pub drop_cover: bool,
    /// Refuse input that ends early or is damaged.
    pub strict: bool,
    /// The library that decodes.
    pub decoder: DecoderOption,
}

/// Channels of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOption {
    /// As many as the input has, at most two.
    #[default]
    Auto,
    /// One.
    Mono,
    /// Two.
    Stereo,
}

/// The library that decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderOption {
    /// Everything that it knows.
    #[default]
    Ffmpeg,
    /// Memory-safe; fewer formats.
    Symphonia,
}

/// An option that no conversion can have: the job is to be refused, not tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the option {field} {reason}")]
pub struct InvalidOption {
    /// The field of [`JobOptions`].
    pub field: &'static str,
    /// What is wrong with it, as the end of a sentence.
    pub reason: String,
}

impl JobOptions {
    /// Whether a conversion can have these options; if not, the first that is wrong.
    pub fn validate(&self) -> Result<(), InvalidOption> {
        self.validate_times()?;
        self.validate_mode()?;
        let quality = self.quality.is_none_or(|level| QUALITIES.contains(&level));
        check("quality", quality, || range(&QUALITIES))?;
        let rate = self.rate_hz.is_none_or(|hz| SAMPLE_RATES_HZ.contains(&hz));
        check("rate_hz", rate, || one_of(SAMPLE_RATES_HZ))?;
        self.validate_track()?;
        self.validate_tags()
    }

    fn validate_times(&self) -> Result<(), InvalidOption> {
        let times = [("start_seconds", self.start_seconds), ("end_seconds", self.end_seconds)];
        for (field, seconds) in times {
            let is_time = seconds.is_none_or(|seconds| seconds.is_finite() && seconds >= 0.0);
            check(field, is_time, || "a time, in seconds from the start".to_owned())?;
        }
        let start_seconds = self.start_seconds.unwrap_or(0.0);
        if self.end_seconds.is_some_and(|end_seconds| end_seconds <= start_seconds) {
            return Err(invalid("end_seconds", "must come after start_seconds"));
        }
        Ok(())
    }

    fn validate_mode(&self) -> Result<(), InvalidOption> {
        match (self.bitrate_kbps, self.abr_kbps, self.vbr_level) {
            (None, None, None) => Ok(()),
            (Some(kbps), None, None) => {
                check("bitrate_kbps", BITRATES_KBPS.contains(&kbps), || one_of(BITRATES_KBPS))
            }
            (None, Some(kbps), None) => {
                let is_valid = MEAN_BITRATES_KBPS.contains(&kbps);
                check("abr_kbps", is_valid, || range(&MEAN_BITRATES_KBPS))
            }
            (None, None, Some(level)) => {
                check("vbr_level", VBR_LEVELS.contains(&level), || range(&VBR_LEVELS))
            }
            (Some(_), Some(_), _) => Err(invalid("abr_kbps", "excludes bitrate_kbps")),
            (Some(_), None, Some(_)) => Err(invalid("vbr_level", "excludes bitrate_kbps")),
            (None, Some(_), Some(_)) => Err(invalid("vbr_level", "excludes abr_kbps")),
        }
    }

    fn validate_track(&self) -> Result<(), InvalidOption> {
        let Some(code) = &self.language else { return Ok(()) };
        if self.track.is_some() {
            return Err(invalid("language", "excludes track"));
        }
        if code.trim().is_empty() {
            return Err(invalid("language", "is empty"));
        }
        if code.len() > MAX_LANGUAGE_BYTES {
            return Err(invalid("language", "is no code of a language"));
        }
        Ok(())
    }

    fn validate_tags(&self) -> Result<(), InvalidOption> {
        for tag in self.tags.keys() {
            if !TAGS.contains(&tag.as_str()) {
                return Err(invalid("tags", &format!("may name {}", TAGS.join(", "))));
            }
        }
        if self.tags.values().map(String::len).sum::<usize>() > MAX_TAGS_BYTES {
            return Err(invalid("tags", &format!("have more than {MAX_TAGS_BYTES} bytes")));
        }
        Ok(())
    }
}

fn check(
    field: &'static str,
    is_valid: bool,
    must_be: impl FnOnce() -> String,
) -> Result<(), InvalidOption> {
    if is_valid { Ok(()) } else { Err(invalid(field, &format!("must be {}", must_be()))) }
}

fn one_of<const N: usize>(values: [u32; N]) -> String {
    format!("one of {}", values.map(|value| value.to_string()).join(", "))
}

fn range<T: ToString>(values: &RangeInclusive<T>) -> String {
    format!("{} to {}", values.start().to_string(), values.end().to_string())
}

fn invalid(field: &'static str, reason: &str) -> InvalidOption {
    InvalidOption { field, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(change: impl FnOnce(&mut JobOptions)) -> Result<(), InvalidOption> {
        let mut options = JobOptions::default();
        change(&mut options);
        options.validate()
    }

    /// The field that is to blame.
    fn refused(change: impl FnOnce(&mut JobOptions)) -> &'static str {
        of(change).expect_err("it is invalid").field
    }

    #[test]
    fn numbers_hold_at_their_edges_and_break_past_them() {
        assert!(of(|_| ()).is_ok());
        for kbps in [8, 320] {
            assert!(of(|o| o.bitrate_kbps = Some(kbps)).is_ok());
        }
        for kbps in [0, 7, 9, 319, 321, 65_536 + 128, u32::MAX] {
            assert_eq!(refused(|o| o.bitrate_kbps = Some(kbps)), "bitrate_kbps");
        }
        for kbps in [8, 310] {
            assert!(of(|o| o.abr_kbps = Some(kbps)).is_ok());
        }
        for kbps in [0, 7, 311, 65_536 + 128] {
            assert_eq!(refused(|o| o.abr_kbps = Some(kbps)), "abr_kbps");
        }
        assert!(of(|o| o.vbr_level = Some(9)).is_ok() && of(|o| o.vbr_level = Some(0)).is_ok());
        assert_eq!(refused(|o| o.vbr_level = Some(10)), "vbr_level");
        assert!(of(|o| o.quality = Some(9)).is_ok() && of(|o| o.quality = Some(0)).is_ok());
        assert_eq!(refused(|o| o.quality = Some(10)), "quality");
        for hz in [8_000, 48_000] {
            assert!(of(|o| o.rate_hz = Some(hz)).is_ok());
        }
        for hz in [0, 7_999, 44_000, 48_001, 96_000] {
            assert_eq!(refused(|o| o.rate_hz = Some(hz)), "rate_hz");
        }
    }

    #[test]
    fn at_most_one_mode_is_chosen() {
        let both = |bitrate, abr, vbr| {
            refused(|o| (o.bitrate_kbps, o.abr_kbps, o.vbr_level) = (bitrate, abr, vbr))
        };
        assert_eq!(both(Some(128), Some(128), None), "abr_kbps");
        assert_eq!(both(Some(128), None, Some(2)), "vbr_level");
        assert_eq!(both(None, Some(128), Some(2)), "vbr_level");
        assert_eq!(both(Some(128), Some(128), Some(2)), "abr_kbps");
    }

    #[test]
    fn times_are_finite_and_in_order() {
        for wrong in [-0.001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(refused(|o| o.start_seconds = Some(wrong)), "start_seconds");
            assert_eq!(refused(|o| o.end_seconds = Some(wrong)), "end_seconds");
        }
        assert_eq!(refused(|o| o.end_seconds = Some(0.0)), "end_seconds");
        let part = |start, end| of(|o| (o.start_seconds, o.end_seconds) = (Some(start), Some(end)));
        assert!(part(5.0, 5.0).is_err() && part(5.0, 4.0).is_err() && part(5.0, 5.001).is_ok());
    }

    #[test]
    fn a_track_is_named_in_one_way() {
        assert!(of(|o| o.track = Some(1)).is_ok());
        for code in ["de-CH", &"x".repeat(MAX_LANGUAGE_BYTES)] {
            assert!(of(|o| o.language = Some(code.to_owned())).is_ok());
        }
        for wrong in ["", " ", &"x".repeat(MAX_LANGUAGE_BYTES + 1)] {
            assert_eq!(refused(|o| o.language = Some(wrong.to_owned())), "language");
        }
        let both = refused(|o| (o.track, o.language) = (Some(0), Some("de".to_owned())));
        assert_eq!(both, "language");
    }

    #[test]
    fn only_known_tags_of_bounded_length_are_taken() {
        let tag =
            |name: &str, length| of(|o| o.tags = [(name.to_owned(), "x".repeat(length))].into());
        for name in TAGS {
            assert!(tag(name, 0).is_ok());
        }
        assert_eq!(tag("lyrics", 1).unwrap_err().field, "tags");
        assert_eq!(tag("Title", 1).unwrap_err().field, "tags");
        assert!(tag("title", MAX_TAGS_BYTES).is_ok() && tag("title", MAX_TAGS_BYTES + 1).is_err());
        let two = |length| {
            let text = |name: &str| (name.to_owned(), "x".repeat(length));
            of(|o| o.tags = [text("title"), text("artist")].into())
        };
        assert!(two(MAX_TAGS_BYTES / 2).is_ok() && two(MAX_TAGS_BYTES / 2 + 1).is_err());
    }

    #[test]
    fn reasons_end_a_sentence() {
        let said = |change: fn(&mut JobOptions)| of(change).expect_err("it is invalid").to_string();
        assert_eq!(said(|o| o.abr_kbps = Some(7)), "the option abr_kbps must be 8 to 310");
        let rates = "8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000";
        let expected = format!("the option rate_hz must be one of {rates}");
        assert_eq!(said(|o| o.rate_hz = Some(1)), expected);
        let expected = "the option start_seconds must be a time, in seconds from the start";
        assert_eq!(said(|o| o.start_seconds = Some(-1.0)), expected);
    }
}

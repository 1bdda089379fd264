//! What a job asks for, in the codec's terms.
//!
//! A message comes from outside and can hold any numbers; the codec's types cannot. What is not said
//! is as for `tonemill convert`, and what that refuses is refused here, with the field to blame.

use std::collections::BTreeMap;

use tonemill_codec::metadata::TAGS;
use tonemill_codec::mp3::settings::{BITRATES_KBPS, SAMPLE_RATES_HZ};
use tonemill_codec::{
    Bitrate, BitrateMode, ChannelChoice, DecoderKind, Limits, MeanBitrate, Mp3Rate, Mp3Settings,
    Options, Quality, RateChoice, TrackChoice, VbrLevel,
};
use tonemill_job::JobOptions;
use tonemill_job::message::{ChannelOption, DecoderOption};

/// The longest text of a tag that is accepted, in bytes; the codec cuts it further.
const MAX_TAG_BYTES: usize = 64 << 10;
/// The longest code of a language that is accepted, in bytes.
const MAX_LANGUAGE_BYTES: usize = 64;

/// An option that no conversion can have: the job is to be refused, not tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the option {field} {reason}")]
pub struct InvalidOption {
    /// The field of [`JobOptions`].
    pub field: &'static str,
    /// What is wrong with it, as the end of a sentence.
    pub reason: String,
}

/// The codec's options for a job, within `limits`.
pub fn codec_options(options: &JobOptions, limits: &Limits) -> Result<Options, InvalidOption> {
    let start_seconds = seconds("start_seconds", options.start_seconds)?.unwrap_or(0.0);
    let end_seconds = seconds("end_seconds", options.end_seconds)?;
    if end_seconds.is_some_and(|end| end <= start_seconds) {
        return Err(invalid("end_seconds", "must come after start_seconds"));
    }
    Ok(Options {
        mp3: Mp3Settings {
            mode: mode(options)?,
            quality: match options.quality {
                Some(level) => number("quality", Quality::new(level), "0 to 9")?,
                None => Quality::default(),
            },
            channels: match options.channels {
                ChannelOption::Auto => ChannelChoice::Auto,
                ChannelOption::Mono => ChannelChoice::Mono,
                ChannelOption::Stereo => ChannelChoice::Stereo,
            },
            rate: match options.rate_hz {
                Some(hz) => RateChoice::Fixed(number(
                    "rate_hz",
                    Mp3Rate::new(hz),
                    &one_of(SAMPLE_RATES_HZ),
                )?),
                None => RateChoice::Auto,
            },
        },
        decoder: match options.decoder {
            DecoderOption::Ffmpeg => DecoderKind::Ffmpeg,
            DecoderOption::Symphonia => DecoderKind::Symphonia,
        },
        track: track(options)?,
        start_seconds,
        end_seconds,
        tags: tags(&options.tags)?,
        drop_tags: options.drop_tags,
        drop_cover: options.drop_cover,
        strict: options.strict,
        limits: limits.clone(),
        ..Options::default()
    })
}

fn mode(options: &JobOptions) -> Result<BitrateMode, InvalidOption> {
    let small = |kbps: u32| u16::try_from(kbps).ok();
    match (options.bitrate_kbps, options.abr_kbps, options.vbr_level) {
        (None, None, None) => Ok(BitrateMode::default()),
        (Some(kbps), None, None) => {
            let bitrate = small(kbps).and_then(Bitrate::new);
            number("bitrate_kbps", bitrate, &one_of(BITRATES_KBPS)).map(BitrateMode::Cbr)
        }
        (None, Some(kbps), None) => {
            let bitrate = small(kbps).and_then(MeanBitrate::new);
            number("abr_kbps", bitrate, "8 to 310").map(BitrateMode::Abr)
        }
        (None, None, Some(level)) => {
            number("vbr_level", VbrLevel::new(level), "0 to 9").map(BitrateMode::Vbr)
        }
        (Some(_), Some(_), _) => Err(invalid("abr_kbps", "excludes bitrate_kbps")),
        (Some(_), None, Some(_)) => Err(invalid("vbr_level", "excludes bitrate_kbps")),
        (None, Some(_), Some(_)) => Err(invalid("vbr_level", "excludes abr_kbps")),
    }
}

fn track(options: &JobOptions) -> Result<TrackChoice, InvalidOption> {
    match (options.track, &options.language) {
        (None, None) => Ok(TrackChoice::Auto),
        (Some(index), None) => Ok(TrackChoice::Index(index)),
        (Some(_), Some(_)) => Err(invalid("language", "excludes track")),
        (None, Some(code)) if code.trim().is_empty() => Err(invalid("language", "is empty")),
        (None, Some(code)) if code.len() > MAX_LANGUAGE_BYTES => {
            Err(invalid("language", "is no code of a language"))
        }
        (None, Some(code)) => Ok(TrackChoice::Language(code.clone())),
    }
}

fn tags(
    wanted: &BTreeMap<String, String>,
) -> Result<BTreeMap<&'static str, String>, InvalidOption> {
    let known = |(name, text): (&String, &String)| {
        let Some(tag) = TAGS.into_iter().find(|tag| tag == name) else {
            return Err(invalid("tags", &format!("may name {}", TAGS.join(", "))));
        };
        if text.len() > MAX_TAG_BYTES {
            return Err(invalid("tags", &format!("has more than {MAX_TAG_BYTES} bytes of {tag}")));
        }
        Ok((tag, text.clone()))
    };
    wanted.iter().map(known).collect()
}

fn seconds(field: &'static str, value: Option<f64>) -> Result<Option<f64>, InvalidOption> {
    if value.is_some_and(|seconds| !seconds.is_finite() || seconds < 0.0) {
        return Err(invalid(field, "must be a time, in seconds from the start"));
    }
    Ok(value)
}

fn number<T>(field: &'static str, value: Option<T>, valid: &str) -> Result<T, InvalidOption> {
    value.ok_or_else(|| invalid(field, &format!("must be {valid}")))
}

fn one_of<T: ToString, const N: usize>(values: [T; N]) -> String {
    format!("one of {}", values.map(|value| value.to_string()).join(", "))
}

fn invalid(field: &'static str, reason: &str) -> InvalidOption {
    InvalidOption { field, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(change: impl FnOnce(&mut JobOptions)) -> Result<Options, InvalidOption> {
        let mut options = JobOptions::default();
        change(&mut options);
        codec_options(&options, &Limits::default())
    }

    /// The field that is to blame.
    fn refused(change: impl FnOnce(&mut JobOptions)) -> &'static str {
        of(change).expect_err("it is invalid").field
    }

    #[test]
    fn nothing_said_is_the_codecs_default() {
        let limits = Limits { output_bytes: 7, ..Limits::default() };
        let options = codec_options(&JobOptions::default(), &limits).unwrap();
        let default = Options { limits, ..Options::default() };
        assert_eq!(format!("{options:?}"), format!("{default:?}"));
    }

    #[test]
    fn numbers_hold_at_their_edges_and_break_past_them() {
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
        assert!(
            of(|o| o.rate_hz = Some(8_000)).is_ok() && of(|o| o.rate_hz = Some(48_000)).is_ok()
        );
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
        let abr = of(|o| o.abr_kbps = Some(100)).unwrap().mp3.mode;
        assert_eq!(abr, BitrateMode::Abr(MeanBitrate::new(100).unwrap()));
    }

    #[test]
    fn times_are_finite_and_in_order() {
        for wrong in [-0.001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(refused(|o| o.start_seconds = Some(wrong)), "start_seconds");
            assert_eq!(refused(|o| o.end_seconds = Some(wrong)), "end_seconds");
        }
        assert_eq!(refused(|o| o.end_seconds = Some(0.0)), "end_seconds");
        let part = |start, end| {
            of(|o| (o.start_seconds, o.end_seconds) = (Some(start), Some(end))).map(|_| ())
        };
        assert!(part(5.0, 5.0).is_err() && part(5.0, 4.0).is_err() && part(5.0, 5.001).is_ok());
    }

    #[test]
    fn a_track_is_named_in_one_way() {
        assert_eq!(of(|o| o.track = Some(1)).unwrap().track, TrackChoice::Index(1));
        let language = of(|o| o.language = Some("de-CH".to_owned())).unwrap().track;
        assert_eq!(language, TrackChoice::Language("de-CH".to_owned()));
        for wrong in ["", " ", &"x".repeat(MAX_LANGUAGE_BYTES + 1)] {
            assert_eq!(refused(|o| o.language = Some(wrong.to_owned())), "language");
        }
        let both = refused(|o| (o.track, o.language) = (Some(0), Some("de".to_owned())));
        assert_eq!(both, "language");
    }

    #[test]
    fn only_known_tags_of_bounded_length_are_taken() {
        let tag = |name: &str, length| {
            of(|o| o.tags = [(name.to_owned(), "x".repeat(length))].into()).map(|o| o.tags)
        };
        for name in TAGS {
            assert!(tag(name, 0).unwrap().contains_key(name));
        }
        assert_eq!(tag("lyrics", 1).unwrap_err().field, "tags");
        assert_eq!(tag("Title", 1).unwrap_err().field, "tags");
        assert!(tag("title", MAX_TAG_BYTES).is_ok() && tag("title", MAX_TAG_BYTES + 1).is_err());
    }

    #[test]
    fn choices_are_passed_on() {
        let options = of(|o| {
            o.channels = ChannelOption::Mono;
            o.decoder = DecoderOption::Symphonia;
            (o.drop_tags, o.drop_cover, o.strict) = (true, true, true);
        })
        .unwrap();
        assert_eq!(options.mp3.channels, ChannelChoice::Mono);
        assert_eq!(options.decoder, DecoderKind::Symphonia);
        assert!(options.drop_tags && options.drop_cover && options.strict);
        assert_eq!(
            of(|o| o.channels = ChannelOption::Stereo).unwrap().mp3.channels,
            ChannelChoice::Stereo
        );
    }
}

//! What a job asks for, in the codec's terms.
//!
//! What may be asked for is decided in `tonemill_job::options`. What passed there has a place in
//! the codec's types: a test holds the two against each other, value by value.

use std::collections::BTreeMap;

use tonemill_codec::metadata::TAGS;
use tonemill_codec::{
    Bitrate, BitrateMode, ChannelChoice, DecoderKind, Limits, MeanBitrate, Mp3Rate, Mp3Settings,
    Options, Quality, RateChoice, TrackChoice, VbrLevel,
};
use tonemill_job::message::{ChannelOption, DecoderOption};
use tonemill_job::{InvalidOption, JobOptions};

/// The codec's options for a job, within `limits`.
pub fn codec_options(options: &JobOptions, limits: &Limits) -> Result<Options, InvalidOption> {
    options.validate()?;
    Ok(Options {
        mp3: Mp3Settings {
            mode: mode(options)?,
            quality: match options.quality {
                Some(level) => known("quality", Quality::new(level))?,
                None => Quality::default(),
            },
            channels: match options.channels {
                ChannelOption::Auto => ChannelChoice::Auto,
                ChannelOption::Mono => ChannelChoice::Mono,
                ChannelOption::Stereo => ChannelChoice::Stereo,
            },
            rate: match options.rate_hz {
                Some(hz) => RateChoice::Fixed(known("rate_hz", Mp3Rate::new(hz))?),
                None => RateChoice::Auto,
            },
        },
        decoder: match options.decoder {
            DecoderOption::Ffmpeg => DecoderKind::Ffmpeg,
            DecoderOption::Symphonia => DecoderKind::Symphonia,
        },
        track: match (options.track, &options.language) {
            (Some(index), _) => TrackChoice::Index(index),
            (None, Some(code)) => TrackChoice::Language(code.clone()),
            (None, None) => TrackChoice::Auto,
        },
        start_seconds: options.start_seconds.unwrap_or(0.0),
        end_seconds: options.end_seconds,
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
    if let Some(kbps) = options.bitrate_kbps {
        known("bitrate_kbps", small(kbps).and_then(Bitrate::new)).map(BitrateMode::Cbr)
    } else if let Some(kbps) = options.abr_kbps {
        known("abr_kbps", small(kbps).and_then(MeanBitrate::new)).map(BitrateMode::Abr)
    } else if let Some(level) = options.vbr_level {
        known("vbr_level", VbrLevel::new(level)).map(BitrateMode::Vbr)
    } else {
        Ok(BitrateMode::default())
    }
}

fn tags(
    wanted: &BTreeMap<String, String>,
) -> Result<BTreeMap<&'static str, String>, InvalidOption> {
    let find = |name: &String| known("tags", TAGS.into_iter().find(|tag| tag == name));
    wanted.iter().map(|(name, text)| Ok((find(name)?, text.clone()))).collect()
}

/// Without a value, the rules of the two crates differ, which is a defect.
fn known<T>(field: &'static str, value: Option<T>) -> Result<T, InvalidOption> {
    value.ok_or_else(|| InvalidOption {
        field,
        reason: "is valid, but the codec does not know it: a defect of Tonemill".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tonemill_codec::mp3::settings::SAMPLE_RATES_HZ;
    use tonemill_job::options;

    fn of(change: impl FnOnce(&mut JobOptions)) -> Result<Options, InvalidOption> {
        let mut options = JobOptions::default();
        change(&mut options);
        codec_options(&options, &Limits::default())
    }

    /// The job's rules and the codec's types agree on the option that `change` makes.
    fn agree(field: &str, is_known: bool, change: impl FnOnce(&mut JobOptions)) {
        let mut options = JobOptions::default();
        change(&mut options);
        let judged = options.validate();
        assert_eq!(judged.is_ok(), is_known, "{options:?}");
        assert!(judged.is_ok() || judged.is_err_and(|error| error.field == field), "{options:?}");
        assert_eq!(codec_options(&options, &Limits::default()).is_ok(), is_known, "{options:?}");
    }

    #[test]
    fn a_job_may_ask_for_just_what_the_codec_knows() {
        for kbps in (0..=400).chain([65_536 + 128, u32::MAX]) {
            let small = u16::try_from(kbps).ok();
            let (cbr, abr) = (small.and_then(Bitrate::new), small.and_then(MeanBitrate::new));
            agree("bitrate_kbps", cbr.is_some(), |o| o.bitrate_kbps = Some(kbps));
            agree("abr_kbps", abr.is_some(), |o| o.abr_kbps = Some(kbps));
        }
        for level in 0..=u8::MAX {
            agree("vbr_level", VbrLevel::new(level).is_some(), |o| o.vbr_level = Some(level));
            agree("quality", Quality::new(level).is_some(), |o| o.quality = Some(level));
        }
        let rates = SAMPLE_RATES_HZ.into_iter().chain(options::SAMPLE_RATES_HZ);
        for hz in rates.flat_map(|hz| hz - 1..=hz + 1).chain([0, 96_000, u32::MAX]) {
            agree("rate_hz", Mp3Rate::new(hz).is_some(), |o| o.rate_hz = Some(hz));
        }
        let names: BTreeSet<_> = TAGS.into_iter().chain(options::TAGS).collect();
        for name in names.into_iter().chain(["", "lyrics", "Title", "title "]) {
            let tags = || [(name.to_owned(), "x".to_owned())].into();
            agree("tags", TAGS.contains(&name), |o| o.tags = tags());
        }
    }

    #[test]
    fn what_no_job_may_ask_for_is_refused() {
        let refused = of(|o| (o.track, o.language) = (Some(0), Some("de".to_owned())));
        assert_eq!(refused.expect_err("it is invalid").field, "language");
    }

    #[test]
    fn nothing_said_is_the_codecs_default() {
        let limits = Limits { output_bytes: 7, ..Limits::default() };
        let options = codec_options(&JobOptions::default(), &limits).unwrap();
        let default = Options { limits, ..Options::default() };
        assert_eq!(format!("{options:?}"), format!("{default:?}"));
    }

    #[test]
    fn numbers_are_passed_on() {
        let mode = |change: fn(&mut JobOptions)| of(change).unwrap().mp3.mode;
        let kbps = MeanBitrate::new(100).unwrap();
        assert_eq!(mode(|o| o.abr_kbps = Some(100)), BitrateMode::Abr(kbps));
        let kbps = Bitrate::new(320).unwrap();
        assert_eq!(mode(|o| o.bitrate_kbps = Some(320)), BitrateMode::Cbr(kbps));
        let level = VbrLevel::new(9).unwrap();
        assert_eq!(mode(|o| o.vbr_level = Some(9)), BitrateMode::Vbr(level));
        let options = of(|o| {
            (o.quality, o.rate_hz) = (Some(7), Some(11_025));
            (o.start_seconds, o.end_seconds) = (Some(1.5), Some(2.5));
        })
        .unwrap();
        assert_eq!(options.mp3.quality.get(), 7);
        assert_eq!(options.mp3.rate, RateChoice::Fixed(Mp3Rate::new(11_025).unwrap()));
        assert_eq!((options.start_seconds, options.end_seconds), (1.5, Some(2.5)));
    }

    #[test]
    fn choices_are_passed_on() {
        assert_eq!(of(|o| o.track = Some(1)).unwrap().track, TrackChoice::Index(1));
        let language = of(|o| o.language = Some("de-CH".to_owned())).unwrap().track;
        assert_eq!(language, TrackChoice::Language("de-CH".to_owned()));
        let options = of(|o| {
            o.channels = ChannelOption::Mono;
            o.decoder = DecoderOption::Symphonia;
            (o.drop_tags, o.drop_cover, o.strict) = (true, true, true);
            o.tags = [("title".to_owned(), String::new())].into();
        })
        .unwrap();
        assert_eq!(options.mp3.channels, ChannelChoice::Mono);
        assert_eq!(options.decoder, DecoderKind::Symphonia);
        assert!(options.drop_tags && options.drop_cover && options.strict);
        assert_eq!(options.tags, [("title", String::new())].into());
        assert_eq!(
            of(|o| o.channels = ChannelOption::Stereo).unwrap().mp3.channels,
            ChannelChoice::Stereo
        );
    }
}

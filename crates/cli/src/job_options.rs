//! The command line's options as a job carries them.

use tonemill_codec::{RateChoice, VbrLevel};
use tonemill_job::JobOptions;
use tonemill_job::message::{ChannelOption, DecoderOption};

use crate::args::convert::{ChannelArg, ConversionArgs, DecoderArg};

impl ConversionArgs {
    /// What `submit` or `upload` was asked for.
    pub fn job_options(&self) -> JobOptions {
        let Self { sound, part, tags, care } = self;
        let texts = tags.overrides().into_iter();
        JobOptions {
            bitrate_kbps: sound.bitrate.map(|kbps| u32::from(kbps.get())),
            abr_kbps: sound.abr.map(|kbps| u32::from(kbps.get())),
            vbr_level: sound.vbr.map(VbrLevel::get),
            quality: Some(sound.quality.get()),
            channels: match sound.channels {
                ChannelArg::Auto => ChannelOption::Auto,
                ChannelArg::Mono => ChannelOption::Mono,
                ChannelArg::Stereo => ChannelOption::Stereo,
            },
            rate_hz: match sound.rate {
                RateChoice::Auto => None,
                RateChoice::Fixed(rate) => Some(rate.hz()),
            },
            track: part.track,
            language: part.lang.clone(),
            start_seconds: part.start,
            end_seconds: part.end,
            tags: texts.map(|(name, text)| (name.to_owned(), text)).collect(),
            drop_tags: tags.no_tags,
            drop_cover: tags.no_cover,
            strict: care.strict,
            decoder: match care.decoder {
                DecoderArg::Ffmpeg => DecoderOption::Ffmpeg,
                DecoderArg::Symphonia => DecoderOption::Symphonia,
            },
        }
    }
}

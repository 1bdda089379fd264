//! The command line's options as a job carries them.

use tonemill_codec::{RateChoice, VbrLevel};
use tonemill_job::JobOptions;
use tonemill_job::message::{ChannelOption, DecoderOption};

use crate::args::{ChannelArg, DecoderArg};
use crate::args_service::SubmitArgs;

/// What `submit` was asked for.
pub fn job_options(args: &SubmitArgs) -> JobOptions {
    let sound = &args.sound;
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
        track: args.part.track,
        language: args.part.lang.clone(),
        start_seconds: args.part.start,
        end_seconds: args.part.end,
        tags: args
            .tags
            .overrides()
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text))
            .collect(),
        drop_tags: args.tags.no_tags,
        drop_cover: args.tags.no_cover,
        strict: args.care.strict,
        decoder: match args.care.decoder {
            DecoderArg::Ffmpeg => DecoderOption::Ffmpeg,
            DecoderArg::Symphonia => DecoderOption::Symphonia,
        },
    }
}

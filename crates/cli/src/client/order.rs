//! What is asked of a job, by the API's names.

use serde_json::{Value, json};
use tonemill_codec::{RateChoice, VbrLevel};
use tonemill_job::message::{ChannelOption, DecoderOption};
use tonemill_job::{JobId, JobOptions, Lane};

use crate::args::{ChannelArg, DecoderArg};
use crate::args_client::UploadArgs;
use crate::client::failed::Failed;

/// Options, lane and label of all jobs of a command.
pub struct Order(Value);

impl Order {
    /// What was said; refused here if the service would refuse it after the upload.
    pub fn new(args: &UploadArgs) -> Result<Self, Failed> {
        let options = options(args);
        options.validate().map_err(|error| Failed::usage(error.to_string(), ""))?;
        let lane: Lane = args.lane.into();
        let order = serde_json::to_value(&options).map(|mut order| {
            order["lane"] = json!(lane);
            order["label"] = json!(args.label);
            order
        });
        Ok(Self(order.map_err(|error| Failed::fault(error.to_string(), "report this defect"))?))
    }

    /// Tells one order from another.
    pub fn hash(&self) -> String {
        blake3::hash(self.0.to_string().as_bytes()).to_hex()[..32].to_owned()
    }

    /// The request for the job of an upload.
    pub fn request(&self, upload: JobId, file_name: &str) -> Value {
        let mut request = self.0.clone();
        request["upload"] = json!(upload);
        request["file_name"] = json!(file_name);
        request
    }
}

fn options(args: &UploadArgs) -> JobOptions {
    let UploadArgs { sound, part, tags, care, .. } = args;
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

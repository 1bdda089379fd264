//! The command line's options as a job carries them.

use std::collections::BTreeMap;

use tonemill_job::JobOptions;

use crate::args::convert::{ConversionArgs, TagArgs};

impl ConversionArgs {
    /// What was asked for, of whoever converts.
    pub fn job_options(&self) -> JobOptions {
        let Self { sound, part, tags, care } = self;
        JobOptions {
            bitrate_kbps: sound.bitrate,
            abr_kbps: sound.abr,
            vbr_level: sound.vbr,
            quality: Some(sound.quality),
            channels: sound.channels.into(),
            rate_hz: sound.rate.0,
            track: part.track,
            language: part.lang.clone(),
            start_seconds: part.start,
            end_seconds: part.end,
            tags: tags.overrides(),
            drop_tags: tags.no_tags,
            drop_cover: tags.no_cover,
            strict: care.strict,
            decoder: care.decoder.into(),
        }
    }
}

impl TagArgs {
    fn overrides(&self) -> BTreeMap<String, String> {
        [
            ("title", &self.title),
            ("artist", &self.artist),
            ("album", &self.album),
            ("album_artist", &self.album_artist),
            ("track", &self.track_number),
            ("disc", &self.disc_number),
            ("date", &self.date),
            ("genre", &self.genre),
            ("composer", &self.composer),
            ("comment", &self.comment),
            ("copyright", &self.copyright),
            ("publisher", &self.publisher),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), text.clone()?)))
        .collect()
    }
}

//! One input on its way through the feeding thread: opened, decoded, converted, cut, judged.

use std::time::Instant;

use crate::convert::Converter;
use crate::cpu_clock::CpuClock;
use crate::decode::{Decoder, Health, Opened};
use crate::envelope::Envelope;
use crate::error::{CodecError, LimitKind, Result};
use crate::metadata::Metadata;
use crate::mp3::segment::{Cutter, Segment};
use crate::mp3::settings::Mp3Format;
use crate::pcm::{ChannelLayout, PcmBlock, PcmFormat};
use crate::probe::AudioTrack;
use crate::source::GuardedSource;
use crate::transcode::Options;

/// An input with its decoder started, on its way to the feeding thread.
pub(crate) struct Job {
    decoder: Box<dyn Decoder>,
    /// Decoded already, to see the format; taken by `feed`.
    first: Option<PcmBlock>,
    source_format: PcmFormat,
    pub(crate) format: Mp3Format,
    container: String,
    track: AudioTrack,
    envelope: Envelope,
    source: GuardedSource,
    pub(crate) declared_seconds: Option<f64>,
    pub(crate) metadata: Metadata,
    warnings: Vec<String>,
    truncated: bool,
}

/// What the feeding thread found out.
pub(crate) struct Fed {
    pub(crate) container: String,
    pub(crate) track: AudioTrack,
    pub(crate) metadata: Metadata,
    pub(crate) warnings: Vec<String>,
    pub(crate) source_format: PcmFormat,
    pub(crate) samples_decoded: u64,
    pub(crate) decoded_seconds: f64,
    pub(crate) declared_seconds: Option<f64>,
    pub(crate) samples_written: u64,
    pub(crate) health: Health,
    pub(crate) truncated: bool,
    pub(crate) decode_cpu_seconds: f64,
    pub(crate) convert_cpu_seconds: f64,
    /// When the last block was decoded.
    pub(crate) decoded: Instant,
}

impl Job {
    /// Opens the input, chooses the track and decodes the first block, whose format decides that of
    /// the MP3.
    pub(crate) fn open(source: GuardedSource, options: &Options) -> Result<Self> {
        let limits = &options.limits;
        let mut opened = Opened::open(source.clone(), options.decoder, limits)?;
        let track = opened.choose(&options.track, limits)?;
        let declared_seconds = track.duration_seconds.or(opened.facts.duration_seconds);
        let wanted_seconds =
            declared_seconds.map(|s| options.end_seconds.map_or(s, |end| end.min(s)));
        if wanted_seconds.is_some_and(|s| s > limits.decoded_seconds as f64) {
            // Declarations are not believed: whether so much is really there is seen from the
            // packets, before hours of it are encoded.
            let found = opened.decoder(&track, limits)?.measure(limits.decoded_seconds)?;
            if found > limits.decoded_seconds as f64 {
                return Err(CodecError::Limit {
                    limit: LimitKind::DecodedSeconds,
                    allowed: limits.decoded_seconds,
                    found: declared_seconds.map(|s| s as u64),
                });
            }
            opened = Opened::open(source.clone(), options.decoder, limits)?;
        }
        let facts = std::mem::take(&mut opened.facts);
        let envelope = opened.envelope;
        let mut decoder = opened.decoder(&track, limits)?;
        let Some(first) = decoder.next_block()? else {
            let cut_off = envelope == Envelope::Truncated || decoder.health().ended_early;
            return Err(CodecError::NoSamples { cut_off });
        };
        let (format, warning) = options.mp3.resolve(first.format);
        let mut warnings = facts.warnings;
        warnings.extend(warning);
        Ok(Self {
            decoder,
            source_format: first.format,
            first: Some(first),
            format,
            container: facts.container,
            track,
            envelope,
            source,
            declared_seconds,
            metadata: options.metadata(facts.metadata, &mut warnings),
            warnings,
            truncated: false,
        })
    }

    /// Decodes to the end, or to `end_seconds`, and hands out segments.
    pub(crate) fn feed(
        mut self,
        options: &Options,
        submit: impl Fn(Segment) -> Result<()>,
    ) -> Result<Fed> {
        let rate = self.format.rate;
        let channels = u32::from(self.format.channels);
        let mut converter =
            Converter::new(PcmFormat { rate, layout: ChannelLayout { channels, mask: 0 } });
        let mut cutter = Cutter::new(&self.format, options.segmentation)?;
        let mut range = Range::new(
            rate.sample_at(options.start_seconds),
            options.end_seconds.map(|end| rate.sample_at(end)),
        );
        let mut clock = CpuClock::start();
        let (mut decode_cpu_seconds, mut convert_cpu_seconds) = (0.0, 0.0);
        let mut samples_decoded = 0;
        let mut next = self.first.take();
        while let Some(block) = next {
            samples_decoded += block.len() as u64;
            let mut planes = converter.push(block)?;
            range.clip(&mut planes);
            options.limits.check_decoded(range.position, rate.hz())?;
            cutter.push(&planes);
            while let Some(segment) = cutter.pop() {
                submit(segment)?;
            }
            convert_cpu_seconds += clock.lap();
            next = if range.is_over() { None } else { self.decoder.next_block()? };
            decode_cpu_seconds += clock.lap();
        }
        let decoded = Instant::now();
        let mut planes = converter.finish()?;
        range.clip(&mut planes);
        options.limits.check_decoded(range.position, rate.hz())?;
        cutter.push(&planes);

        let decoded_seconds = rate.seconds(range.position);
        let health = self.settle(options, decoded_seconds, range.is_over())?;
        let samples_written = cutter.samples();
        if samples_written == 0 {
            let audio_seconds = (!range.is_over()).then_some(decoded_seconds);
            return Err(CodecError::EmptyRange { audio_seconds });
        }
        submit(cutter.finish())?;
        convert_cpu_seconds += clock.lap();
        Ok(Fed {
            container: self.container,
            track: self.track,
            metadata: self.metadata,
            warnings: self.warnings,
            source_format: self.source_format,
            samples_decoded,
            decoded_seconds,
            declared_seconds: self.declared_seconds,
            samples_written,
            health,
            truncated: self.truncated,
            decode_cpu_seconds,
            convert_cpu_seconds,
            decoded,
        })
    }

    /// Judges what was decoded: beyond use is an error, and with `strict` so is any loss.
    fn settle(&mut self, options: &Options, decoded_seconds: f64, cut: bool) -> Result<Health> {
        if self.envelope == Envelope::Unknown && !cut {
            self.envelope = self.source.state().watched_envelope(self.source.len());
        }
        let health = self.decoder.health();
        if health.damaged * 2 > health.packets {
            let (damaged, packets) = (health.damaged, health.packets);
            return Err(CodecError::Undecodable { damaged, packets });
        }
        let losses = self.losses(health, decoded_seconds, cut);
        self.truncated = !losses.is_empty();
        self.warnings.extend(losses);
        if self.truncated && options.strict {
            let declared_seconds = self.declared_seconds;
            return Err(CodecError::Truncated { decoded_seconds, declared_seconds });
        }
        Ok(health)
    }

    /// How audio was lost, a sentence each; none if it is all there. Of an input that is `cut` at
    /// the caller's wish nothing is known behind the cut.
    fn losses(&self, health: Health, decoded_seconds: f64, cut: bool) -> Vec<String> {
        let mut losses = Vec::new();
        if self.envelope == Envelope::Truncated {
            losses.push("the file ends before the end that its container declares".to_owned());
        } else if health.ended_early {
            losses.push("the container's structure breaks off before its end".to_owned());
        }
        // What follows the declared end is no audio: old tags, padding.
        let at_end = self.declared_seconds.is_some_and(|s| decoded_seconds >= s);
        // A file that is cut off ends with half a packet; one without a stated length may, too, or
        // it is such a tag.
        let last_of_unknown = self.declared_seconds.is_none() && health.damaged_at_end == 1;
        let explained = at_end || last_of_unknown || !losses.is_empty();
        let damaged = health.damaged - if explained { health.damaged_at_end } else { 0 };
        if damaged > 0 {
            losses.push(format!("damaged packets: {damaged} of {}", health.packets));
        }
        let declared = self.declared_seconds.filter(|_| !cut && losses.is_empty());
        if let Some(declared) = declared {
            let tolerance = if self.track.duration_seconds.is_some() {
                (declared * 0.01).max(0.5)
            } else if self.envelope == Envelope::Complete {
                // The container is whole; its length is that of the video.
                f64::INFINITY
            } else {
                (declared * 0.1).max(2.0)
            };
            // Some count from the start of the container.
            if declared - self.track.start_seconds - decoded_seconds > tolerance {
                losses.push(format!("{decoded_seconds:.2} s of {declared:.2} s could be decoded"));
            }
        }
        losses
    }
}

/// The part of the audio that is wanted, in samples of the output.
struct Range {
    start: u64,
    end: Option<u64>,
    /// Samples seen.
    position: u64,
}

impl Range {
    fn new(start: u64, end: Option<u64>) -> Self {
        Self { start, end, position: 0 }
    }

    /// Whether nothing that follows is wanted.
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }

    /// Cuts the next samples to the part of them that is wanted.
    fn clip(&mut self, planes: &mut [Vec<f32>]) {
        let len = planes.first().map_or(0, Vec::len) as u64;
        let kept = self.end.map_or(len, |end| end.saturating_sub(self.position).min(len));
        let skipped = self.start.saturating_sub(self.position).min(kept);
        for plane in planes {
            plane.truncate(kept as usize);
            plane.drain(..skipped as usize);
        }
        self.position += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cut_to_the_sample() {
        let samples: Vec<f32> = (0..100).map(|n| n as f32).collect();
        for (start, end) in [(0, None), (7, Some(93)), (30, Some(30)), (99, None), (5, Some(1000))]
        {
            let mut range = Range::new(start, end);
            let mut kept = Vec::new();
            for block in samples.chunks(13) {
                let mut planes = [block.to_vec()];
                range.clip(&mut planes);
                kept.extend_from_slice(&planes[0]);
            }
            let end = end.unwrap_or(100).min(100) as usize;
            assert_eq!(kept, samples[start as usize..end], "{start} {end}");
        }
    }
}

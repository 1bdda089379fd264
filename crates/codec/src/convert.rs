//! From what a decoder gives to what LAME takes: one rate, one or two channels, finite samples.
//!
//! Formats may change in the middle of a stream (chained Ogg, broadcast); the target never does.

use crate::error::{CodecError, Result};
use crate::ffi::resample::{Resampler, default_mask};
use crate::pcm::{ChannelLayout, PcmBlock, PcmFormat};

/// The largest sample that goes to LAME: 18 dB over full scale. Damaged and hostile float audio
/// holds anything, and LAME computes with powers of it.
const MAX_AMPLITUDE: f32 = 8.0;

/// Brings blocks into one format.
pub(crate) struct Converter {
    target: PcmFormat,
    stage: Option<Stage>,
}

/// The conversion from one source format, until that changes.
struct Stage {
    source: PcmFormat,
    resampler: Option<Resampler>,
    samples_in: u64,
    samples_out: u64,
}

impl Converter {
    /// `target` must be mono or stereo.
    pub(crate) fn new(mut target: PcmFormat) -> Self {
        target.layout.mask = default_mask(target.layout.channels);
        Self { target, stage: None }
    }

    /// Converts one block. The result may be longer or shorter by what a resampler holds back.
    pub(crate) fn push(&mut self, block: PcmBlock) -> Result<Vec<Vec<f32>>> {
        let mut out = self.no_samples();
        let changed = self.stage.as_ref().is_none_or(|stage| stage.source != block.format);
        if changed {
            self.drain(&mut out)?;
            self.stage = Some(Stage::new(block.format, self.target)?);
        }
        let Some(stage) = &mut self.stage else { return Ok(out) };
        let samples = block.len() as u64;
        if let Some(resampler) = &mut stage.resampler {
            let before = out[0].len();
            resampler.convert(Some(&block.planes), &mut out).map_err(bug)?;
            stage.samples_out += (out[0].len() - before) as u64;
        } else if out[0].is_empty() {
            out = remap(block.planes, self.target.layout.channels);
            stage.samples_out += samples;
        } else {
            let planes = remap(block.planes, self.target.layout.channels);
            for (out, plane) in out.iter_mut().zip(planes) {
                out.extend(plane);
            }
            stage.samples_out += samples;
        }
        stage.samples_in += samples;
        sanitise(&mut out);
        Ok(out)
    }

    /// What is left in the resampler.
    pub(crate) fn finish(mut self) -> Result<Vec<Vec<f32>>> {
        let mut out = self.no_samples();
        self.drain(&mut out)?;
        sanitise(&mut out);
        Ok(out)
    }

    fn no_samples(&self) -> Vec<Vec<f32>> {
        vec![Vec::new(); self.target.layout.channels as usize]
    }

    /// Ends the current stage with exactly as many samples as its source's time takes.
    fn drain(&mut self, out: &mut [Vec<f32>]) -> Result<()> {
        let Some(stage) = self.stage.take() else { return Ok(()) };
        let Some(mut resampler) = stage.resampler else { return Ok(()) };
        resampler.convert(None, out).map_err(bug)?;
        let (from, to) = (u64::from(stage.source.rate.hz()), u64::from(self.target.rate.hz()));
        let due = (stage.samples_in * to + from / 2) / from;
        let missing = due.saturating_sub(stage.samples_out) as usize;
        for plane in out {
            plane.resize(missing, 0.0);
        }
        Ok(())
    }
}

impl Stage {
    fn new(source: PcmFormat, target: PcmFormat) -> Result<Self> {
        let channels = source.layout.channels;
        let same_channels = channels == target.layout.channels || channels == 1;
        let resampler = if same_channels && source.rate == target.rate {
            None
        } else {
            let unknown = CodecError::UnknownLayout { channels };
            let from = PcmFormat { layout: known_layout(source.layout).ok_or(unknown)?, ..source };
            Some(Resampler::new(from, target).map_err(bug)?)
        };
        Ok(Self { source, resampler, samples_in: 0, samples_out: 0 })
    }
}

/// The layout itself if its mask fits its channels, else the usual one for so many.
fn known_layout(layout: ChannelLayout) -> Option<ChannelLayout> {
    let fits = layout.mask.count_ones() == layout.channels;
    let mask = if fits { layout.mask } else { default_mask(layout.channels) };
    (mask != 0).then_some(ChannelLayout { mask, ..layout })
}

/// Mono becomes stereo by playing on both sides at the same level.
fn remap(mut planes: Vec<Vec<f32>>, channels: u32) -> Vec<Vec<f32>> {
    if planes.len() == 1 && channels == 2 {
        planes.push(planes[0].clone());
    }
    planes
}

/// NaN becomes silence; everything else is clamped.
fn sanitise(planes: &mut [Vec<f32>]) {
    for plane in planes {
        for sample in plane {
            let clamped = sample.clamp(-MAX_AMPLITUDE, MAX_AMPLITUDE);
            *sample = if clamped.is_nan() { 0.0 } else { clamped };
        }
    }
}

fn bug(error: ffmpeg_next::Error) -> CodecError {
    CodecError::Bug { stage: "resample", detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcm::SampleRate;

    fn format(hz: u32, channels: u32) -> PcmFormat {
        PcmFormat {
            rate: SampleRate::new(hz).unwrap(),
            layout: ChannelLayout { channels, mask: 0 },
        }
    }

    fn block(hz: u32, channels: u32, len: usize, value: f32) -> PcmBlock {
        PcmBlock { format: format(hz, channels), planes: vec![vec![value; len]; channels as usize] }
    }

    fn run(target: PcmFormat, blocks: Vec<PcmBlock>) -> Vec<Vec<f32>> {
        let mut converter = Converter::new(target);
        let mut all = vec![Vec::new(); target.layout.channels as usize];
        for block in blocks {
            for (all, plane) in all.iter_mut().zip(converter.push(block).unwrap()) {
                all.extend(plane);
            }
        }
        for (all, plane) in all.iter_mut().zip(converter.finish().unwrap()) {
            all.extend(plane);
        }
        all
    }

    #[test]
    fn resampled_length_is_exact() {
        for (from, to) in [(96_000, 48_000), (88_200, 48_000), (11_000, 11_025), (22_050, 44_100)] {
            for len in [1, 999, 44_101] {
                let out = run(format(to, 2), vec![block(from, 2, len, 0.5); 3]);
                let due = (3.0 * len as f64 * f64::from(to) / f64::from(from)).round() as usize;
                assert_eq!((out[0].len(), out[1].len()), (due, due), "{from} to {to}, {len}");
            }
        }
    }

    #[test]
    fn a_format_change_keeps_every_sample() {
        let blocks = vec![
            block(44_100, 1, 1000, 0.1),
            block(44_100, 2, 500, 0.2),
            block(22_050, 2, 100, 0.3),
        ];
        let out = run(format(44_100, 2), blocks);
        assert_eq!(out[0].len(), 1000 + 500 + 200);
        assert!((out[1][0] - 0.1).abs() < 1e-6);
    }

    #[test]
    fn a_downmix_cannot_exceed_full_scale() {
        let out = run(format(48_000, 2), vec![block(48_000, 6, 4800, 1.0)]);
        let peak = out.iter().flatten().fold(0.0_f32, |peak, s| peak.max(s.abs()));
        assert!(peak <= 1.0001 && peak > 0.9, "{peak}");
    }

    #[test]
    fn unknown_layouts_are_refused_not_guessed() {
        let outcome = Converter::new(format(48_000, 2)).push(block(48_000, 13, 10, 0.0));
        assert!(matches!(outcome, Err(CodecError::UnknownLayout { channels: 13 })));
    }

    #[test]
    fn wild_samples_are_tamed() {
        let mut wild = block(44_100, 1, 4, 0.0);
        wild.planes[0] = vec![f32::NAN, f32::INFINITY, -1e30, 0.25];
        let out = run(format(44_100, 1), vec![wild]);
        assert_eq!(out[0], [0.0, MAX_AMPLITUDE, -MAX_AMPLITUDE, 0.25]);
    }
}

//! One file on every core: PCM cut into segments that are encoded independently and joined without
//! a seam.
//!
//! Segments lie on the encoder's frame grid and have a fixed number of frames. Each is encoded by a
//! fresh LAME instance, which first encodes a few frames before the segment to warm up its
//! filterbank and psychoacoustics; flushing then empties the bit reservoir and what came out is
//! thrown away, so that the segment's first frame refers to nothing before it. Another flush ends
//! the segment. The frames of all segments, one after the other, are a valid stream; how many a
//! segment has is checked, and a mismatch is a bug. docs/tuning.md holds the measurements.
//!
//! All positions are samples per channel from the start of the audio.

use std::sync::OnceLock;
use std::time::Instant;

use crate::cpu_clock::CpuClock;
use crate::error::{CodecError, Result};
use crate::ffi::lame::{Lame, LameError};
use crate::mp3::header::frame_sizes;
use crate::mp3::settings::Mp3Format;
use crate::source::Stop;

/// How long segments are and how they are warmed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// Frames of a segment. At least 1.
    pub frames: usize,
    /// Frames encoded and thrown away before each but the first.
    pub warm_up_frames: usize,
}

impl Default for Segmentation {
    /// 512 frames (13.4 s at 44.1 kHz) and 4; see docs/tuning.md.
    fn default() -> Self {
        Self { frames: 512, warm_up_frames: 4 }
    }
}

/// How LAME places frames over samples, measured on LAME itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameGrid {
    /// Samples per frame.
    pub(crate) frame: usize,
    /// Samples that have to be fed before the first frame is encoded; one follows per `frame`.
    first: usize,
    /// Samples that LAME puts before the first one it is given.
    pub(crate) delay: usize,
}

impl FrameGrid {
    pub(crate) fn of(format: &Mp3Format) -> Result<Self> {
        static MPEG1: OnceLock<FrameGrid> = OnceLock::new();
        static MPEG2: OnceLock<FrameGrid> = OnceLock::new();
        let known = if format.is_mpeg1() { &MPEG1 } else { &MPEG2 };
        if let Some(grid) = known.get() {
            return Ok(*grid);
        }
        let grid = Self::measure(format).map_err(encoder_bug)?;
        Ok(*known.get_or_init(|| grid))
    }

    fn measure(format: &Mp3Format) -> Result<Self, LameError> {
        let mut lame = Lame::new(format)?;
        let silence: &[f32] = &[0.0];
        let planes = [silence; 2];
        let mut out = Vec::new();
        let mut first = 0;
        while lame.frames() == 0 {
            lame.encode(&planes[..usize::from(format.channels)], &mut out)?;
            first += 1;
        }
        Ok(Self { frame: lame.samples_per_frame(), first, delay: lame.delay() })
    }

    /// Samples to feed to a fresh instance for exactly `frames` frames (at least 1) to come out.
    fn samples_for(&self, frames: usize) -> usize {
        self.first + (frames - 1) * self.frame
    }

    /// Samples of silence that LAME appends to `samples` of audio: at least half an MPEG-1 frame,
    /// and then up to the grid.
    pub(crate) fn padding(&self, samples: u64) -> u64 {
        let frame = self.frame as u64;
        let padding = frame - (samples + self.delay as u64) % frame;
        if padding < 576 { padding + frame } else { padding }
    }

    /// Frames that `samples` of audio become.
    pub(crate) fn total_frames(&self, samples: u64) -> u64 {
        (samples + self.delay as u64 + self.padding(samples)) / self.frame as u64
    }
}

/// PCM of one segment, with what is needed around it.
#[derive(Debug)]
pub(crate) struct Segment {
    planes: Vec<Vec<f32>>,
    /// Frames to throw away; 0 for the first segment.
    warm_up_frames: usize,
    /// Frames that must come out.
    frames: u64,
    /// Whether the audio ends with this segment.
    last: bool,
}

/// Cuts a stream of PCM into [`Segment`]s.
pub(crate) struct Cutter {
    grid: FrameGrid,
    segmentation: Segmentation,
    /// From the start of the current segment's warm-up on.
    planes: Vec<Vec<f32>>,
    /// Position of the first sample in `planes`.
    base: u64,
    /// Index of the current segment.
    index: u64,
}

impl Cutter {
    pub(crate) fn new(format: &Mp3Format, segmentation: Segmentation) -> Result<Self> {
        assert!(segmentation.frames > 0, "a segment has at least one frame");
        let grid = FrameGrid::of(format)?;
        let planes = vec![Vec::new(); usize::from(format.channels)];
        Ok(Self { grid, segmentation, planes, base: 0, index: 0 })
    }

    /// Samples taken so far.
    pub(crate) fn samples(&self) -> u64 {
        self.base + self.planes[0].len() as u64
    }

    /// Takes samples, one slice per channel.
    pub(crate) fn push<P: AsRef<[f32]>>(&mut self, planes: &[P]) {
        for (buffer, plane) in self.planes.iter_mut().zip(planes) {
            if buffer.capacity() == 0 {
                let frames = self.segmentation.frames + self.segmentation.warm_up_frames + 4;
                // A short file should not pay for a long segment.
                buffer.reserve(if self.index == 0 { 0 } else { frames * self.grid.frame });
            }
            buffer.extend_from_slice(plane.as_ref());
        }
    }

    /// The next whole segment, once more samples than its own are there.
    pub(crate) fn pop(&mut self) -> Option<Segment> {
        let warm_up_frames = self.warm_up_frames();
        let needed = self.grid.samples_for(warm_up_frames + self.segmentation.frames);
        if self.planes[0].len() <= needed {
            return None;
        }
        // What follows starts with the warm-up of the next segment.
        let next_warm_up = self.segmentation.warm_up_frames.min(self.frame_index(self.index + 1));
        let next_base = (self.frame_index(self.index + 1) - next_warm_up) * self.grid.frame;
        let kept_from = next_base - self.base as usize;
        let planes = self
            .planes
            .iter_mut()
            .map(|plane| {
                let mut next = Vec::with_capacity(plane.capacity().max(plane.len()));
                next.extend_from_slice(&plane[kept_from..]);
                plane.truncate(needed);
                std::mem::replace(plane, next)
            })
            .collect();
        self.base = next_base as u64;
        self.index += 1;
        let frames = self.segmentation.frames as u64;
        Some(Segment { planes, warm_up_frames, frames, last: false })
    }

    /// The last segment. It always has at least one frame.
    pub(crate) fn finish(mut self) -> Segment {
        let before = self.frame_index(self.index) as u64;
        Segment {
            warm_up_frames: self.warm_up_frames(),
            frames: self.grid.total_frames(self.samples()) - before,
            last: true,
            planes: std::mem::take(&mut self.planes),
        }
    }

    fn frame_index(&self, segment: u64) -> usize {
        segment as usize * self.segmentation.frames
    }

    fn warm_up_frames(&self) -> usize {
        self.frame_index(self.index) - self.base as usize / self.grid.frame
    }
}

/// A segment after LAME.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The segment's frames, end to end.
    pub(crate) frames: Vec<u8>,
    /// The lowpass that LAME chose, in Hz.
    pub(crate) lowpass_hz: u32,
    /// CPU time it took.
    pub(crate) cpu_seconds: f64,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

impl Segment {
    /// Encodes the segment on the calling thread.
    pub(crate) fn encode(&self, format: &Mp3Format, stop: &Stop) -> Result<Encoded> {
        /// Samples between two looks at the cancel flag: 0.1 s at 44.1 kHz.
        const STEP: usize = 4 * 1152;

        let (began, mut clock) = (Instant::now(), CpuClock::start());
        let grid = FrameGrid::of(format)?;
        let mut lame = Lame::new(format).map_err(encoder_bug)?;
        let lowpass_hz = lame.lowpass_hz();
        let mut out = Vec::new();
        let feed = |lame: &mut Lame, range: std::ops::Range<usize>, out: &mut Vec<u8>| {
            for start in range.clone().step_by(STEP) {
                stop.check()?;
                let end = (start + STEP).min(range.end);
                match self.planes.as_slice() {
                    [mono] => lame.encode(&[&mono[start..end]], out),
                    [left, right] => lame.encode(&[&left[start..end], &right[start..end]], out),
                    _ => unreachable!("Mp3Format has one or two channels"),
                }
                .map_err(encoder_bug)?;
            }
            Ok::<(), CodecError>(())
        };

        let mut start = 0;
        if self.warm_up_frames > 0 {
            start = grid.samples_for(self.warm_up_frames);
            feed(&mut lame, 0..start, &mut out)?;
            lame.flush_reservoir(&mut out).map_err(encoder_bug)?;
            expect_frames(&out, self.warm_up_frames as u64)?;
            out.clear();
        }
        feed(&mut lame, start..self.planes[0].len(), &mut out)?;
        if self.last { lame.finish(&mut out) } else { lame.flush_reservoir(&mut out) }
            .map_err(encoder_bug)?;
        expect_frames(&out, self.frames)?;
        let (cpu_seconds, ended) = (clock.lap(), Instant::now());
        Ok(Encoded { frames: out, lowpass_hz, cpu_seconds, began, ended })
    }
}

fn expect_frames(bytes: &[u8], expected: u64) -> Result<()> {
    let bug = |detail| Err(CodecError::Bug { stage: "encode", detail });
    let mut frames = 0;
    for size in frame_sizes(bytes) {
        match size {
            Ok(_) => frames += 1,
            Err(at) => return bug(format!("no frame at byte {at} of a segment")),
        }
    }
    if frames != expected {
        return bug(format!("a segment has {frames} frames instead of {expected}"));
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "it is a `map_err` function")]
fn encoder_bug(error: LameError) -> CodecError {
    CodecError::Bug { stage: "encode", detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cancel::CancelToken;
    use crate::limits::Deadline;
    use crate::mp3::settings::{BitrateMode, Mp3Settings, VbrLevel};
    use crate::pcm::{ChannelLayout, PcmFormat, SampleRate};

    fn format(hz: u32, channels: u32, mode: BitrateMode) -> Mp3Format {
        let rate = SampleRate::new(hz).unwrap();
        let source = PcmFormat { rate, layout: ChannelLayout { channels, mask: 0 } };
        Mp3Settings { mode, ..Mp3Settings::default() }.resolve(source).0
    }

    fn stop() -> Stop {
        let deadline = Deadline::starting_now(Duration::MAX);
        Stop { cancel: CancelToken::new(), abort: CancelToken::new(), deadline }
    }

    fn sound(len: usize, channels: usize) -> Vec<Vec<f32>> {
        let wave = |c: usize| move |i: usize| (i as f32 * (0.03 + 0.01 * c as f32)).sin() * 0.5;
        (0..channels).map(|c| (0..len).map(wave(c)).collect()).collect()
    }

    /// The frames of `len` samples, pushed in blocks of `block`, and the number of segments.
    fn encode(format: &Mp3Format, cut: Segmentation, len: usize, block: usize) -> (Vec<u8>, usize) {
        let pcm = sound(len, usize::from(format.channels));
        let mut cutter = Cutter::new(format, cut).unwrap();
        let mut segments = Vec::new();
        for start in (0..len).step_by(block) {
            let end = (start + block).min(len);
            let planes: Vec<_> = pcm.iter().map(|plane| &plane[start..end]).collect();
            cutter.push(&planes);
            segments.extend(std::iter::from_fn(|| cutter.pop()));
        }
        assert_eq!(cutter.samples(), len as u64);
        segments.push(cutter.finish());
        let encoded = segments.iter().map(|s| s.encode(format, &stop()).unwrap().frames);
        (encoded.flatten().collect(), segments.len())
    }

    fn frames(bytes: &[u8]) -> u64 {
        frame_sizes(bytes).inspect(|size| assert!(size.is_ok())).count() as u64
    }

    #[test]
    fn frames_add_up_at_every_edge_of_the_grid() {
        let cut = Segmentation { frames: 4, warm_up_frames: 2 };
        let vbr = BitrateMode::Vbr(VbrLevel::default());
        for (hz, channels, mode) in [(44_100, 2, BitrateMode::default()), (24_000, 1, vbr)] {
            let format = format(hz, channels, mode);
            let grid = FrameGrid::of(&format).unwrap();
            let whole = grid.samples_for(4);
            for len in
                [1, 575, 576, grid.frame, whole - 1, whole, whole + 1, whole + 4 * grid.frame]
            {
                let (bytes, segments) = encode(&format, cut, len, 1000);
                assert_eq!(frames(&bytes), grid.total_frames(len as u64), "{hz} {len}");
                assert_eq!(segments, 1 + usize::from(len > whole), "{hz} {len}");
            }
        }
    }

    #[test]
    fn how_samples_arrive_does_not_matter() {
        let cut = Segmentation { frames: 8, warm_up_frames: 3 };
        let format = format(44_100, 2, BitrateMode::default());
        let once = encode(&format, cut, 60_000, 60_000);
        assert_eq!(once, encode(&format, cut, 60_000, 1));
        assert_eq!(once, encode(&format, cut, 60_000, 9_217));
    }

    #[test]
    fn less_than_a_segment_is_plain_lame() {
        for (hz, channels) in [(44_100, 2), (16_000, 1)] {
            let format = format(hz, channels, BitrateMode::default());
            let len = 50_000;
            let (ours, segments) = encode(&format, Segmentation::default(), len, 4096);
            let pcm = sound(len, usize::from(format.channels));
            let planes: Vec<_> = pcm.iter().map(Vec::as_slice).collect();
            let (tag, theirs) = Lame::reference(&format, &planes);
            assert_eq!(segments, 1);
            assert_eq!(ours, theirs[tag.len()..]);
        }
    }

    #[test]
    fn a_first_segment_refers_to_nothing_before_it() {
        // The main data pointer of the first frame after a seam is zero (§2.4.1.7: the first nine
        // bits of the side information, eight below MPEG-1).
        let cut = Segmentation { frames: 16, warm_up_frames: 4 };
        let format = format(44_100, 2, BitrateMode::default());
        let (bytes, _) = encode(&format, cut, 200_000, 4096);
        let mut at = 0;
        for (index, size) in frame_sizes(&bytes).enumerate() {
            if index % cut.frames == 0 {
                assert_eq!((bytes[at + 4], bytes[at + 5] >> 7), (0, 0), "frame {index}");
            }
            at += size.unwrap();
        }
    }

    #[test]
    fn a_cancelled_segment_ends() {
        let format = format(44_100, 1, BitrateMode::default());
        let mut cutter = Cutter::new(&format, Segmentation::default()).unwrap();
        cutter.push(&sound(100_000, 1));
        let stop = stop();
        stop.abort.cancel();
        let outcome = cutter.finish().encode(&format, &stop);
        assert!(matches!(outcome, Err(CodecError::Cancelled)));
    }

    #[test]
    fn a_wrong_number_of_frames_is_a_bug() {
        assert!(expect_frames(&[], 0).is_ok());
        assert!(matches!(expect_frames(&[], 1), Err(CodecError::Bug { .. })));
        assert!(matches!(expect_frames(&[1, 2, 3], 1), Err(CodecError::Bug { .. })));
    }
}

//! One conversion from end to end.
//!
//! A thread of its own decodes, converts and cuts; segments go to the shared pool; the calling
//! thread takes them back in order and writes. The queue of segments under way is bounded, which
//! holds back the decoder when the pool or the sink is slow, and bounds memory whatever the length
//! of the input. Order comes from the queue: it holds one receiver per segment, in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::ThreadPool;

use crate::cancel::CancelToken;
use crate::convert::Converter;
use crate::cpu_clock::CpuClock;
use crate::decode::{Decoder, DecoderKind, Health, Opened, TrackChoice};
use crate::envelope::Envelope;
use crate::error::{CodecError, LimitKind, Result};
use crate::limits::{Deadline, Limits};
use crate::metadata::Metadata;
use crate::mp3::assemble::Assembler;
use crate::mp3::id3;
use crate::mp3::segment::{Cutter, Encoded, Segment, Segmentation};
use crate::mp3::settings::{Mp3Format, Mp3Settings};
use crate::pcm::{ChannelLayout, PcmBlock, PcmFormat};
use crate::probe::AudioTrack;
use crate::report::{OutputReport, Report, SourceReport, Timing};
use crate::sink::OutputSink;
use crate::source::{GuardedSource, MediaSource, Stop};

/// What to make of one input.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Settings of the MP3.
    pub mp3: Mp3Settings,
    /// The decoding library.
    pub decoder: DecoderKind,
    /// The audio track.
    pub track: TrackChoice,
    /// Where to start, in seconds.
    pub start_seconds: f64,
    /// Where to end, in seconds of the input; `None` for its end.
    pub end_seconds: Option<f64>,
    /// Tags that replace the input's, by the names in [`TAGS`](crate::metadata::TAGS); an empty
    /// text removes one.
    pub tags: BTreeMap<&'static str, String>,
    /// Leave out the input's tags and chapters.
    pub drop_tags: bool,
    /// Leave out the input's cover.
    pub drop_cover: bool,
    /// Refuse input that ends early or is damaged, instead of marking the result `truncated`.
    pub strict: bool,
    /// Budgets.
    pub limits: Limits,
    /// Lengths of segments; part of what determines the bytes of the output.
    pub segmentation: Segmentation,
}

/// How far a conversion is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds of audio that are encoded.
    pub encoded_seconds: f64,
    /// Seconds that the input declares to have, cut to `start` and `end`. Not to be believed.
    pub declared_seconds: Option<f64>,
}

/// Converts the audio of `source` to an MP3 in `sink`, with the segments on `pool`.
///
/// The output depends on source and options alone, not on the size of the pool. `progress` is
/// called on the calling thread after each segment. The calling thread must not be one of the
/// pool's, or a pool of one thread would wait for itself.
///
/// On an error, `sink` is never finished.
pub fn transcode(
    source: impl MediaSource,
    sink: impl OutputSink,
    options: &Options,
    pool: &ThreadPool,
    cancel: &CancelToken,
    mut progress: impl FnMut(Progress),
) -> Result<Report> {
    let started = Instant::now();
    let mut clock = CpuClock::start();
    let mut timing = Timing::default();
    let deadline = Deadline::starting_now(options.limits.wall_clock);
    let stop = Stop { cancel: cancel.clone(), abort: CancelToken::new(), deadline };
    let source = GuardedSource::new(source, &options.limits, stop.clone())?;
    let (source_bytes, source_state) = (source.len(), source.state());

    let job = Job::open(source, options)?;
    let format = job.format;
    let id3_bytes = id3::encode(&job.metadata, 0.0)?.len();
    let mut assembler = Assembler::begin(sink, &format, &options.limits, id3_bytes)?;
    timing.decode_cpu_seconds += clock.lap();

    let declared = job.declared_seconds.map(|s| options.clip(s));
    let in_flight = pool.current_num_threads() + 1;
    let (queue, segments) = bounded::<Receiver<Result<Encoded>>>(in_flight);
    // The queue ends when the feeder, which owns its only sender, does.
    let submit = {
        let stop = stop.clone();
        move |segment| submit(segment, &format, &stop, pool, &queue)
    };
    let mut lowpass_hz = 0;
    let (written, fed) = thread::scope(|scope| {
        let feeder = thread::Builder::new()
            .name("tonemill-decode".to_owned())
            .spawn_scoped(scope, move || job.feed(options, submit))
            .map_err(CodecError::Source)?;
        let written = segments.iter().try_for_each(|segment| {
            let encoded = segment.recv().map_err(|_| lost_segment())??;
            timing.encode_cpu_seconds += encoded.cpu_seconds;
            lowpass_hz = encoded.lowpass_hz;
            assembler.push(&encoded.frames)?;
            let encoded_seconds = format.rate.seconds(assembler.samples());
            progress(Progress { encoded_seconds, declared_seconds: declared });
            Ok(())
        });
        if written.is_err() {
            stop.abort.cancel();
        }
        // The feeder may wait for room in the queue.
        drop(segments);
        let fed = feeder.join().unwrap_or_else(|_| {
            Err(CodecError::Bug { stage: "decode", detail: "a thread panicked".to_owned() })
        });
        Ok::<_, CodecError>((written, fed))
    })?;
    let fed = match (written, fed) {
        // The feeder's error is the cause where it is not merely told to stop.
        (Err(written), Err(CodecError::Cancelled)) => return Err(written),
        (_, Err(error)) | (Err(error), Ok(_)) => {
            stop.abort.cancel();
            return Err(error);
        }
        (Ok(()), Ok(fed)) => fed,
    };

    let duration_seconds = format.rate.seconds(fed.samples_written);
    let head = id3::encode(&fed.metadata, duration_seconds)?;
    let assembled = assembler.finish(&head, fed.samples_written, lowpass_hz)?;
    timing.decode_cpu_seconds += fed.decode_cpu_seconds;
    timing.convert_cpu_seconds = fed.convert_cpu_seconds;
    timing.write_cpu_seconds = clock.lap();
    timing.wall_seconds = started.elapsed().as_secs_f64();
    Ok(Report {
        source: SourceReport {
            container: fed.container,
            bytes: source_bytes,
            bytes_read: source_state.bytes_read(),
            track: fed.track,
            sample_rate_hz: fed.source_format.rate.hz(),
            channels: fed.source_format.layout.channels,
            samples_decoded: fed.samples_decoded,
            decoded_seconds: fed.decoded_seconds,
            declared_seconds: fed.declared_seconds,
            damaged_packets: fed.health.damaged,
        },
        output: OutputReport {
            format,
            samples: fed.samples_written,
            duration_seconds,
            frames: assembled.frames,
            bytes: assembled.bytes,
            audio_blake3: assembled.hash.to_hex().to_string(),
        },
        truncated: fed.truncated,
        warnings: fed.warnings,
        timing,
    })
}

impl Options {
    /// The seconds that are left of `seconds` between start and end.
    fn clip(&self, seconds: f64) -> f64 {
        let end = self.end_seconds.map_or(seconds, |end| end.min(seconds));
        (end - self.start_seconds).max(0.0)
    }

    /// The metadata of the output: the input's unless dropped, chapters moved to the new start, and
    /// the caller's tags over it.
    fn metadata(&self, mut found: Metadata) -> Metadata {
        if self.drop_tags {
            found.tags.clear();
            found.chapters.clear();
        }
        if self.drop_cover {
            found.cover = None;
        }
        found.chapters.retain_mut(|chapter| {
            let end = self.end_seconds.unwrap_or(f64::INFINITY);
            let kept = chapter.end_seconds > self.start_seconds && chapter.start_seconds < end;
            chapter.start_seconds = (chapter.start_seconds - self.start_seconds).max(0.0);
            chapter.end_seconds -= self.start_seconds;
            kept
        });
        for (name, text) in &self.tags {
            let (text, _) = crate::metadata::clean(text, self.limits.tag_bytes);
            if text.is_empty() {
                found.tags.remove(name);
            } else {
                found.tags.insert(name, text);
            }
        }
        found
    }
}

/// Queues a segment's place in the order, which waits for room, then has it encoded.
fn submit(
    segment: Segment,
    format: &Mp3Format,
    stop: &Stop,
    pool: &ThreadPool,
    queue: &Sender<Receiver<Result<Encoded>>>,
) -> Result<()> {
    let (done, place) = bounded(1);
    // The writer has gone; its error is the one that counts.
    queue.send(place).map_err(|_| CodecError::Cancelled)?;
    let (format, stop) = (*format, stop.clone());
    pool.spawn_fifo(move || {
        let encode = || segment.encode(&format, &stop);
        let outcome = catch_unwind(AssertUnwindSafe(encode)).unwrap_or_else(|_| {
            Err(CodecError::Bug { stage: "encode", detail: "a segment panicked".to_owned() })
        });
        // Nobody waits for it if the conversion has failed meanwhile.
        let _ = done.send(outcome);
    });
    Ok(())
}

fn lost_segment() -> CodecError {
    CodecError::Bug { stage: "encode", detail: "a segment was lost".to_owned() }
}

/// An input with its decoder started, on its way to the feeding thread.
struct Job {
    decoder: Box<dyn Decoder>,
    /// Decoded already, to see the format; taken by `feed`.
    first: Option<PcmBlock>,
    source_format: PcmFormat,
    format: Mp3Format,
    container: String,
    track: AudioTrack,
    envelope: Envelope,
    declared_seconds: Option<f64>,
    metadata: Metadata,
    warnings: Vec<String>,
}

/// What the feeding thread found out.
struct Fed {
    container: String,
    track: AudioTrack,
    metadata: Metadata,
    warnings: Vec<String>,
    source_format: PcmFormat,
    samples_decoded: u64,
    decoded_seconds: f64,
    declared_seconds: Option<f64>,
    samples_written: u64,
    health: Health,
    truncated: bool,
    decode_cpu_seconds: f64,
    convert_cpu_seconds: f64,
}

impl Job {
    /// Opens the input, chooses the track and decodes the first block, whose format decides that of
    /// the MP3.
    fn open(source: GuardedSource, options: &Options) -> Result<Self> {
        let limits = &options.limits;
        let mut opened = Opened::open(source.clone(), options.decoder, limits)?;
        let track = opened.choose(&options.track, limits)?;
        let declared_seconds = track.duration_seconds.or(opened.facts.duration_seconds);
        if declared_seconds.is_some_and(|s| s > limits.decoded_seconds as f64) {
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
            opened = Opened::open(source, options.decoder, limits)?;
        }
        let facts = std::mem::take(&mut opened.facts);
        let envelope = opened.envelope;
        let mut decoder = opened.decoder(&track, limits)?;
        let first = decoder.next_block()?.ok_or(CodecError::NoSamples)?;
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
            declared_seconds,
            metadata: options.metadata(facts.metadata),
            warnings,
        })
    }

    /// Decodes to the end, or to `end_seconds`, and hands out segments.
    fn feed(mut self, options: &Options, submit: impl Fn(Segment) -> Result<()>) -> Result<Fed> {
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
        let mut planes = converter.finish()?;
        range.clip(&mut planes);
        options.limits.check_decoded(range.position, rate.hz())?;
        cutter.push(&planes);

        let health = self.decoder.health();
        let decoded_seconds = rate.seconds(range.position);
        if health.damaged * 2 > health.packets {
            let (damaged, packets) = (health.damaged, health.packets);
            return Err(CodecError::Undecodable { damaged, packets });
        }
        let samples_written = cutter.samples();
        if samples_written == 0 {
            return Err(CodecError::EmptyRange { decoded_seconds });
        }
        let losses = self.losses(health, decoded_seconds, range.is_over());
        let truncated = !losses.is_empty();
        self.warnings.extend(losses);
        if truncated && options.strict {
            let declared_seconds = self.declared_seconds;
            return Err(CodecError::Truncated { decoded_seconds, declared_seconds });
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
            truncated,
            decode_cpu_seconds,
            convert_cpu_seconds,
        })
    }

    /// How audio was lost, a sentence each; none if it is all there. Of an input that is `cut` at
    /// the caller's wish nothing is known behind the cut.
    fn losses(&self, health: Health, decoded_seconds: f64, cut: bool) -> Vec<String> {
        let mut losses = Vec::new();
        if self.envelope == Envelope::Truncated {
            losses.push("the file ends before the end that its container declares".to_owned());
        }
        if health.ended_early {
            losses.push("the container's structure breaks off before its end".to_owned());
        }
        // What follows the declared end is no audio: old tags, padding.
        let at_end = self.declared_seconds.is_some_and(|s| decoded_seconds >= s);
        let damaged = health.damaged - if at_end { health.damaged_at_end } else { 0 };
        if damaged > 0 {
            losses.push(format!("{damaged} of {} packets are damaged", health.packets));
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
            if declared - decoded_seconds > tolerance {
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

    #[test]
    fn chapters_move_with_the_start() {
        let chapter = |start, end| crate::metadata::Chapter {
            start_seconds: start,
            end_seconds: end,
            title: None,
        };
        let found = Metadata {
            chapters: vec![chapter(0.0, 5.0), chapter(5.0, 9.0), chapter(9.0, 20.0)],
            ..Metadata::default()
        };
        let options = Options { start_seconds: 6.0, end_seconds: Some(9.0), ..Options::default() };
        assert_eq!(options.metadata(found).chapters, [chapter(0.0, 3.0)]);
        assert!((options.clip(8.0) - 2.0).abs() < 1e-9);
    }
}

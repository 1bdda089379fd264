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
use crate::cpu_clock::CpuClock;
use crate::decode::{DecoderKind, TrackChoice};
use crate::error::{CodecError, Result};
use crate::job::{Fed, Job};
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::mp3::assemble::Assembler;
use crate::mp3::id3;
use crate::mp3::segment::{Encoded, Segment, Segmentation};
use crate::mp3::settings::{Mp3Format, Mp3Settings};
use crate::report::{OutputReport, Period, Report, SourceReport, Timing};
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
    progress: impl FnMut(Progress),
) -> Result<Report> {
    let started = Instant::now();
    let mut clock = CpuClock::start();
    let stop = Stop::new(&options.limits, cancel);
    let source = GuardedSource::new(source, &options.limits, stop.clone())?;
    let (source_bytes, source_state) = (source.len(), source.state());

    let job = Job::open(source, options)?;
    let format = job.format;
    let id3_bytes = id3::encode(&job.metadata, 0.0)?.len();
    let mut assembler = Assembler::begin(sink, &format, &options.limits, id3_bytes)?;
    let open_cpu_seconds = clock.lap();

    let (fed, encoding) = pump(job, &mut assembler, options, pool, &stop, progress)?;

    let seconds_at = |at: Instant| at.duration_since(started).as_secs_f64();
    let duration_seconds = format.rate.seconds(fed.samples_written);
    let head = id3::encode(&fed.metadata, duration_seconds)?;
    let output = assembler.finish(&head, fed.samples_written, encoding.lowpass_hz)?;
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
            frames: output.frames,
            bytes: output.bytes,
            audio_blake3: output.hash.to_hex().to_string(),
        },
        truncated: fed.truncated,
        warnings: fed.warnings,
        timing: Timing {
            wall_seconds: started.elapsed().as_secs_f64(),
            decode_cpu_seconds: open_cpu_seconds + fed.decode_cpu_seconds,
            convert_cpu_seconds: fed.convert_cpu_seconds,
            encode_cpu_seconds: encoding.cpu_seconds,
            write_cpu_seconds: clock.lap(),
            decode: Period { start_seconds: 0.0, end_seconds: seconds_at(fed.decoded) },
            encode: Period {
                start_seconds: encoding.began.map_or(0.0, seconds_at),
                end_seconds: encoding.ended.map_or(0.0, seconds_at),
            },
        },
    })
}

/// What the segments of one conversion have in common.
#[derive(Default)]
struct Encoding {
    cpu_seconds: f64,
    lowpass_hz: u32,
    began: Option<Instant>,
    ended: Option<Instant>,
}

/// Runs the feeding thread and writes its segments in order, until both are done or one has failed.
fn pump(
    job: Job,
    assembler: &mut Assembler<'_, impl OutputSink>,
    options: &Options,
    pool: &ThreadPool,
    stop: &Stop,
    mut progress: impl FnMut(Progress),
) -> Result<(Fed, Encoding)> {
    let format = job.format;
    let declared_seconds = job.declared_seconds.map(|s| options.clip(s));
    let in_flight = pool.current_num_threads() + 1;
    let (queue, segments) = bounded::<Receiver<Result<Encoded>>>(in_flight);
    // The queue ends when the feeder, which owns its only sender, does.
    let submit = {
        let stop = stop.clone();
        move |segment| submit(segment, &format, &stop, pool, &queue)
    };
    let mut encoding = Encoding::default();
    let mut write = |segment: Receiver<Result<Encoded>>| {
        let encoded = segment.recv().map_err(|_| lost_segment())??;
        encoding.cpu_seconds += encoded.cpu_seconds;
        encoding.lowpass_hz = encoded.lowpass_hz;
        // They begin in order, and end in any.
        encoding.began.get_or_insert(encoded.began);
        encoding.ended = encoding.ended.max(Some(encoded.ended));
        assembler.push(&encoded.frames)?;
        let encoded_seconds = format.rate.seconds(assembler.samples());
        progress(Progress { encoded_seconds, declared_seconds });
        Ok(())
    };
    let (written, fed) = thread::scope(|scope| {
        let feeder = thread::Builder::new()
            .name("tonemill-decode".to_owned())
            .spawn_scoped(scope, move || job.feed(options, submit))
            .map_err(CodecError::Thread)?;
        let written = segments.iter().try_for_each(&mut write);
        if written.is_err() {
            stop.abort.cancel();
        }
        // The feeder may be waiting for room in the queue.
        drop(segments);
        let fed = feeder.join().unwrap_or_else(|_| {
            Err(CodecError::Bug { stage: "decode", detail: "a thread panicked".to_owned() })
        });
        Ok::<_, CodecError>((written, fed))
    })?;
    match (written, fed) {
        (Ok(()), Ok(fed)) => Ok((fed, encoding)),
        // A feeder that was merely told to stop is not the cause.
        (Err(written), Ok(_) | Err(CodecError::Cancelled)) => Err(written),
        (_, Err(error)) => {
            stop.abort.cancel();
            Err(error)
        }
    }
}

impl Options {
    /// The seconds that are left of `seconds` between start and end.
    fn clip(&self, seconds: f64) -> f64 {
        let end = self.end_seconds.map_or(seconds, |end| end.min(seconds));
        (end - self.start_seconds).max(0.0)
    }

    /// The metadata of the output: the input's unless dropped, chapters moved to the new start, and
    /// the caller's tags over it.
    pub(crate) fn metadata(&self, mut found: Metadata, warnings: &mut Vec<String>) -> Metadata {
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
            let (text, cut) = crate::metadata::clean(text, self.limits.tag_bytes);
            if cut {
                warnings.push(format!("the tag {name} was cut to {} bytes", self.limits.tag_bytes));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(options.metadata(found, &mut Vec::new()).chapters, [chapter(0.0, 3.0)]);
        assert!((options.clip(8.0) - 2.0).abs() < 1e-9);
    }
}

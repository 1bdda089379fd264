//! `tonemill convert`: several files share one pool; each ends in one line.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tonemill_codec::{CodecError, Report, SeekSink, transcode};
use tonemill_job::message::Progress;

use crate::exit::{CancelToken, Outcome};
use crate::failure::Failure;
use crate::json::{Line, print_line};
use crate::output::{Output, Place, make_folder, unwritable};
use crate::progress::Bars;
use crate::target::Target;
use crate::text::{clock, shown};

use super::input::{self, unopened};
use super::request::Request;

/// Converts all files; the worst outcome counts.
pub fn run(request: &Request, cancel: &CancelToken) -> Outcome {
    let threads = request
        .threads
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let built = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("tonemill-{index}"))
        .build();
    let pool = match built {
        Ok(pool) => pool,
        Err(error) => {
            let message = format!("the threads cannot be started: {error}");
            return Failure::fault(message, "use fewer --threads").tell();
        }
    };
    if let Err(failure) = make_folder(request.new_folder.as_deref()) {
        return failure.tell();
    }
    let run = Run {
        request,
        cancel,
        pool,
        bars: Bars::new(request.jobs.len(), !request.json && !request.quiet),
        converted: AtomicUsize::new(0),
        failed: AtomicUsize::new(0),
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut worst = Outcome::Done;
        while let Some((input, target)) = request.jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            worst = worst.max(run.file(input, target));
        }
        worst
    };
    // As many files at once as there are threads: short ones are encoded serially, and while one
    // is opened the others encode.
    let worst = thread::scope(|scope| {
        // One of them is this thread: should no other start, all is done still.
        let others: Vec<_> = (1..threads.min(request.jobs.len()))
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let own = work();
        others.into_iter().map(|w| w.join().unwrap_or(Outcome::Fault)).fold(own, Outcome::max)
    });
    run.tell_sum();
    worst
}

/// What the files of one run share.
struct Run<'a> {
    request: &'a Request,
    cancel: &'a CancelToken,
    pool: ThreadPool,
    bars: Bars,
    converted: AtomicUsize,
    failed: AtomicUsize,
}

/// A conversion that succeeded.
struct Converted {
    report: Report,
    /// The MP3 went to a pipe, a terminal or a device.
    to_stream: bool,
}

impl Run<'_> {
    fn file(&self, input: &Path, target: &Target) -> Outcome {
        // Files that have not begun when a signal comes are not begun.
        if self.cancel.is_cancelled() {
            let not_begun = Failure::codec(&CodecError::Cancelled, self.request.options.decoder);
            return not_begun.outcome.max(self.print_failure(input, &not_begun));
        }
        let result = self.convert(input, target);
        self.bars.file_ended();
        let count = if result.is_ok() { &self.converted } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        self.bars.suspend(|| match &result {
            Ok(converted) => self.tell(input, target, converted),
            Err(failure) => failure.tell_of(shown(input)).max(self.print_failure(input, failure)),
        })
    }

    fn convert(&self, input: &Path, target: &Target) -> Result<Converted, Failure> {
        let options = &self.request.options;
        let force = self.request.force;
        let unopened = |error| unopened(input, &error);
        let unwritable = |error| unwritable(&target.name(), &error);
        let source = input::open(input).map_err(unopened)?;
        let output = Output::create(target, force).map_err(unwritable)?;
        let source = source.seekable(&options.limits, self.cancel).map_err(unopened)?;
        let mut bar = self.bars.file(&shown(input.file_name().map_or(input, Path::new)));
        let report = transcode(
            source,
            SeekSink(&output.file),
            options,
            &self.pool,
            &self.cancel.into(),
            |at| {
                bar.update(&Progress {
                    encoded_seconds: at.encoded_seconds,
                    declared_seconds: at.declared_seconds,
                });
            },
        )
        .map_err(|error| Failure::codec(&error, options.decoder))?;
        // Where nothing else may appear: a pipe, a terminal, a device.
        let to_stream = matches!(output.place, Place::Stdout | Place::Stream(_));
        output.finish(force, self.cancel).map_err(unwritable)?;
        Ok(Converted { report, to_stream })
    }

    /// Says how it went.
    fn tell(&self, input: &Path, target: &Target, converted: &Converted) -> Outcome {
        let (report, output) = (&converted.report, target.as_path());
        if self.request.json {
            return Line::converted(input, output, report).print();
        }
        for warning in &report.warnings {
            eprintln!("tonemill: {}: warning: {warning}", shown(input));
        }
        if self.request.quiet {
            return Outcome::Done;
        }
        let out = &report.output;
        let speed = out.duration_seconds / report.timing.wall_seconds.max(0.001);
        let line = format!(
            "{} -> {} ({}, {}, {} Hz, {}{:.0}x)",
            shown(input),
            shown(output),
            clock(out.duration_seconds),
            out.format.mode,
            out.format.rate.hz(),
            if report.truncated { "INCOMPLETE, " } else { "" },
            speed,
        );
        // Standard output may be where the MP3 went.
        if converted.to_stream {
            eprintln!("{line}");
            return Outcome::Done;
        }
        print_line(&line)
    }

    fn print_failure(&self, input: &Path, failure: &Failure) -> Outcome {
        if self.request.json {
            Line::<Report>::failed(input, failure).print()
        } else {
            Outcome::Done
        }
    }

    /// The last line of a batch.
    fn tell_sum(&self) {
        let files = self.request.jobs.len();
        if files == 1 || self.request.json || self.request.quiet {
            return;
        }
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let (converted, failed) = (count(&self.converted), count(&self.failed));
        let cancelled = if self.cancel.is_cancelled() { "cancelled: " } else { "" };
        eprintln!("tonemill: {cancelled}{converted} of {files} files converted, {failed} failed");
    }
}

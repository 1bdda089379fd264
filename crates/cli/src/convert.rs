//! `tonemill convert`: several files share one pool; each ends in one line.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tonemill_codec::{CancelToken, CodecError, Report, SeekSink, transcode};

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::input;
use crate::json::{ErrorFacts, Line, print_line};
use crate::output::Output;
use crate::progress::Bars;
use crate::request::{Request, Target};
use crate::text::{clock, shown};

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
            eprintln!("tonemill: the threads cannot be started: {error}: use fewer --threads");
            return Outcome::Fault;
        }
    };
    if let Some(folder) = &request.new_folder
        && let Err(error) = std::fs::create_dir_all(folder)
    {
        let (name, advice) = (shown(folder), "check its name and permissions");
        eprintln!("tonemill: the folder {name} cannot be made: {error}: {advice}");
        return Outcome::Fault;
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
            let not_begun = Failure::Codec(CodecError::Cancelled);
            let told = !self.request.json || self.print_failure(input, target, &not_begun);
            return if told { Outcome::Cancelled } else { Outcome::Fault };
        }
        let result = self.convert(input, target);
        self.bars.file_ended();
        let mut told = true;
        self.bars.suspend(|| {
            told = match &result {
                Ok(converted) => self.tell(input, target, converted),
                Err(failure) => self.tell_failure(input, target, failure),
            }
        });
        let (count, outcome) = match &result {
            Ok(_) => (&self.converted, Outcome::Done),
            Err(failure) => (&self.failed, failure.outcome()),
        };
        count.fetch_add(1, Ordering::Relaxed);
        if told { outcome } else { outcome.max(Outcome::Fault) }
    }

    fn convert(&self, input: &Path, target: &Target) -> Result<Converted, Failure> {
        let options = &self.request.options;
        let force = self.request.force;
        let source = input::open(input).map_err(Failure::Open)?;
        let output = Output::create(target, force).map_err(Failure::Create)?;
        let source = source.seekable(&options.limits, self.cancel).map_err(Failure::Open)?;
        let mut bar = self.bars.file(&shown(input.file_name().map_or(input, Path::new)));
        let report = transcode(
            source,
            SeekSink(&output.file),
            options,
            &self.pool,
            self.cancel,
            |progress| bar.update(progress),
        )
        .map_err(Failure::Codec)?;
        let to_stream = output.is_stream();
        output.finish(force, self.cancel).map_err(Failure::Create)?;
        Ok(Converted { report, to_stream })
    }

    /// Says how it went; false if the report was lost.
    fn tell(&self, input: &Path, target: &Target, converted: &Converted) -> bool {
        let report = &converted.report;
        let output = match target {
            Target::Stdout => Path::new("-"),
            Target::File(path) => path,
        };
        if self.request.json {
            return Line::converted(input, output, report).print();
        }
        for warning in &report.warnings {
            eprintln!("tonemill: {}: warning: {warning}", shown(input));
        }
        if self.request.quiet {
            return true;
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
            return true;
        }
        print_line(&line)
    }

    fn tell_failure(&self, input: &Path, target: &Target, failure: &Failure) -> bool {
        let decoder = self.request.options.decoder;
        let (what, advice) = failure.words(input, target, decoder);
        eprintln!("tonemill: {}: {what}: {advice}", shown(input));
        !self.request.json || self.print_failure(input, target, failure)
    }

    fn print_failure(&self, input: &Path, target: &Target, failure: &Failure) -> bool {
        let decoder = self.request.options.decoder;
        let (what, advice) = failure.words(input, target, decoder);
        let facts = ErrorFacts { kind: failure.kind(), message: &what, advice };
        Line::<Report>::failed(input, facts).print()
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

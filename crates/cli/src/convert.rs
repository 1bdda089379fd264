//! `tonemill convert`: several files share one pool; each ends in one line.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;
use tonemill_codec::{CancelToken, CodecError, ErrorKind, Report, SeekSink, transcode};

use crate::exit::Outcome;
use crate::input;
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
    let run = Run {
        request,
        cancel,
        pool,
        bars: Bars::new(request.jobs.len(), !request.json && !request.quiet),
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
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads.min(request.jobs.len())).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|w| w.join().unwrap_or(Outcome::Fault)).max()
    })
    .unwrap_or(Outcome::Done)
}

/// What the files of one run share.
struct Run<'a> {
    request: &'a Request,
    cancel: &'a CancelToken,
    pool: ThreadPool,
    bars: Bars,
}

/// Why a file has no output.
enum Failure {
    /// The input cannot be opened.
    Open(io::Error),
    /// The output cannot be created or put in its place.
    Create(io::Error),
    Codec(CodecError),
}

impl Run<'_> {
    fn file(&self, input: &Path, target: &Target) -> Outcome {
        let result = self.convert(input, target);
        self.bars.file_ended();
        self.bars.suspend(|| match &result {
            Ok(report) => self.tell(input, target, report),
            Err(failure) => self.tell_failure(input, target, failure),
        });
        match &result {
            Ok(_) => Outcome::Done,
            Err(failure) => failure.outcome(),
        }
    }

    fn convert(&self, input: &Path, target: &Target) -> Result<Report, Failure> {
        // Files that have not begun when a signal comes are not begun.
        if self.cancel.is_cancelled() {
            return Err(Failure::Codec(CodecError::Cancelled));
        }
        let force = self.request.force;
        let output = Output::create(target, force).map_err(Failure::Create)?;
        let max_bytes = self.request.options.limits.input_bytes;
        let source = input::open(input, max_bytes, self.cancel).map_err(Failure::Open)?;
        let mut bar = self.bars.file(&shown(input.file_name().map_or(input, Path::new)));
        let report = transcode(
            source,
            SeekSink(&output.file),
            &self.request.options,
            &self.pool,
            self.cancel,
            |progress| bar.update(progress),
        )
        .map_err(Failure::Codec)?;
        output.finish(force).map_err(Failure::Create)?;
        Ok(report)
    }

    fn tell(&self, input: &Path, target: &Target, report: &Report) {
        let output = match target {
            Target::Stdout => Path::new("-"),
            Target::File(path) => path,
        };
        if self.request.json {
            return print_json(&Line {
                input_path: input.to_string_lossy(),
                output_path: Some(output.to_string_lossy()),
                report: Some(report),
                error: None,
            });
        }
        for warning in &report.warnings {
            eprintln!("tonemill: {}: warning: {warning}", shown(input));
        }
        if !self.request.quiet {
            let out = &report.output;
            let speed = out.duration_seconds / report.timing.wall_seconds.max(0.001);
            print_line(&format!(
                "{} -> {} ({}, {}, {} Hz, {}{:.0}x)",
                shown(input),
                shown(output),
                clock(out.duration_seconds),
                out.format.mode,
                out.format.rate.hz(),
                if report.truncated { "TRUNCATED, " } else { "" },
                speed,
            ));
        }
    }

    fn tell_failure(&self, input: &Path, target: &Target, failure: &Failure) {
        let (what, advice) = failure.words(target);
        eprintln!("tonemill: {}: {what}: {advice}", shown(input));
        if self.request.json {
            let error = ErrorFacts { kind: failure.kind(), message: &what, advice };
            print_json(&Line {
                input_path: input.to_string_lossy(),
                output_path: None,
                report: None,
                error: Some(error),
            });
        }
    }
}

impl Failure {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Open(error) if is_callers_mistake(error) => Outcome::BadInput,
            Self::Open(error) if error.kind() == io::ErrorKind::Interrupted => Outcome::Cancelled,
            Self::Create(error) if error.kind() == io::ErrorKind::AlreadyExists => Outcome::Usage,
            Self::Open(_) | Self::Create(_) => Outcome::Fault,
            Self::Codec(error) => error.into(),
        }
    }

    /// What is wrong, and what to do.
    fn words(&self, target: &Target) -> (String, &'static str) {
        match self {
            Self::Open(error) => {
                (format!("the input cannot be opened: {error}"), "check its name and permissions")
            }
            Self::Create(error) => {
                let name = match target {
                    Target::Stdout => "standard output".to_owned(),
                    Target::File(path) => shown(path),
                };
                if error.kind() == io::ErrorKind::AlreadyExists {
                    (format!("{name} exists and was kept"), "use --force to replace it")
                } else {
                    let what = format!("{name} cannot be written: {error}");
                    (what, "check the folder, its permissions and its free space")
                }
            }
            Self::Codec(error) => {
                let cause = std::error::Error::source(error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                (format!("{error}{cause}"), error.advice())
            }
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Open(error) if is_callers_mistake(error) => ErrorKind::BadInput,
            Self::Open(_) | Self::Create(_) => ErrorKind::Io,
            Self::Codec(error) => error.kind(),
        }
    }
}

fn is_callers_mistake(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::NotFound | K::PermissionDenied | K::IsADirectory | K::NotADirectory | K::InvalidFilename
    )
}

/// One line of `--json`: where from and where to, then the report or the error.
#[derive(Serialize)]
struct Line<'a> {
    input_path: Cow<'a, str>,
    output_path: Option<Cow<'a, str>>,
    #[serde(flatten)]
    report: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorFacts<'a>>,
}

#[derive(Serialize)]
struct ErrorFacts<'a> {
    kind: ErrorKind,
    message: &'a str,
    advice: &'a str,
}

fn print_json(line: &Line<'_>) {
    match serde_json::to_string(line) {
        Ok(text) => print_line(&text),
        Err(error) => eprintln!("tonemill: the report cannot be written as JSON: {error}"),
    }
}

/// Nobody may be reading standard output any more, which is no failure of the conversion.
fn print_line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

//! What comes of an attempt that nothing disturbs, and of errors that are nobody's crash.

use std::fs;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use tonemill_codec::{
    CancelToken, CodecError, Limits, MediaSource, OutputSink, Report, SeekSink, transcode,
};
use tonemill_job::JobOptions;
use tonemill_job::message::FailureKind;
use tonemill_worker::codec_options;
use tonemill_worker::isolate::{self, IsolateError, SandboxLimits};

use crate::media;

pub const TESTS: &[(&str, fn())] = &[
    ("the_output_is_that_of_the_same_process", the_output_is_that_of_the_same_process),
    ("options_arrive", options_arrive),
    ("a_codec_error_arrives_whole", a_codec_error_arrives_whole),
    ("limits_arrive", limits_arrive),
    ("an_error_of_the_source_is_its_own", an_error_of_the_source_is_its_own),
    ("an_error_of_the_sink_is_its_own", an_error_of_the_sink_is_its_own),
    ("an_option_is_refused_first", an_option_is_refused_first),
    ("nothing_is_left_behind", nothing_is_left_behind),
];

fn isolated(
    source: impl MediaSource,
    sink: impl OutputSink,
    options: &JobOptions,
    limits: &Limits,
) -> Result<Report, IsolateError> {
    let (sandbox, cancel) = (SandboxLimits::default(), CancelToken::new());
    isolate::transcode(source, sink, options, limits, &sandbox, 2, &cancel, |_| ())
}

fn in_process(path: &Path, options: &JobOptions) -> Result<(Report, Vec<u8>), CodecError> {
    let options = codec_options(options, &Limits::default()).expect("valid");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
    let mut output = Cursor::new(Vec::new());
    let sink = SeekSink(&mut output);
    let report = transcode(media::open(path), sink, &options, &pool, &CancelToken::new(), |_| ())?;
    Ok((report, output.into_inner()))
}

fn assert_equal(path: &Path, options: &JobOptions) {
    let (report, expected) = in_process(path, options).expect("it converts");
    let mut output = Cursor::new(Vec::new());
    let sink = SeekSink(&mut output);
    let told = isolated(media::open(path), sink, options, &Limits::default());
    let told = told.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(output.into_inner() == expected, "{} differs", path.display());
    assert_eq!(told.output.audio_blake3, report.output.audio_blake3);
    assert_eq!(told.output.format, report.output.format);
    assert_eq!(told.source.bytes_read, report.source.bytes_read);
    assert_eq!(told.warnings, report.warnings);
}

fn the_output_is_that_of_the_same_process() {
    for path in media::various() {
        assert_equal(&path, &JobOptions::default());
    }
    assert_equal(&media::clip(), &JobOptions::default());
    // Longer than all buffers on the way.
    assert_equal(&media::noise(), &JobOptions::default());
}

fn options_arrive() {
    let options = JobOptions {
        vbr_level: Some(5),
        rate_hz: Some(22_050),
        start_seconds: Some(0.25),
        end_seconds: Some(0.75),
        tags: [("title".to_owned(), "Another".to_owned())].into(),
        ..JobOptions::default()
    };
    assert_equal(&media::clip(), &options);
}

fn a_codec_error_arrives_whole() {
    let path = media::silent();
    let error = in_process(&path, &JobOptions::default()).expect_err("there is no sound");
    let mut output = Cursor::new(Vec::new());
    let sink = SeekSink(&mut output);
    let told = isolated(media::open(&path), sink, &JobOptions::default(), &Limits::default());
    let Err(IsolateError::Codec(remote)) = told else { panic!("{told:?}") };
    assert_eq!((remote.kind, remote.to_string()), (error.kind(), error.to_string()));
    assert_eq!(remote.advice, error.advice());
    let probe = remote.probe.expect("it can be described");
    assert_eq!(probe["video_streams"], 1, "{probe}");
    assert!(output.into_inner().is_empty());
}

fn limits_arrive() {
    let limits = Limits { output_bytes: 10_000, ..Limits::default() };
    let sink = SeekSink(Cursor::new(Vec::new()));
    let error =
        isolated(media::open(&media::clip()), sink, &JobOptions::default(), &limits).unwrap_err();
    assert_eq!(error.kind(), Some(FailureKind::LimitExceeded), "{error}");
}

/// Fails after so many bytes.
struct Breaks {
    inner: fs::File,
    left: usize,
}

impl Read for Breaks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "object store gone: 42"));
        }
        let len = buf.len().min(self.left);
        let count = self.inner.read(&mut buf[..len])?;
        self.left -= count;
        Ok(count)
    }
}

impl Seek for Breaks {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

fn an_error_of_the_source_is_its_own() {
    for left in [0, 1_000, 300_000] {
        let source = Breaks { inner: media::open(&media::noise()), left };
        let sink = SeekSink(Cursor::new(Vec::new()));
        let error = isolated(source, sink, &JobOptions::default(), &Limits::default()).unwrap_err();
        let IsolateError::Source(error) = error else { panic!("{error:?}") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(error.to_string(), "object store gone: 42");
    }
}

/// Fails at one step.
#[derive(Clone, Copy, PartialEq)]
enum Full {
    Begin,
    Body,
    Finish,
}

impl Full {
    fn at(self, step: Self) -> io::Result<()> {
        if self == step {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room: 43"));
        }
        Ok(())
    }
}

impl OutputSink for Full {
    fn begin(&mut self, _: usize) -> io::Result<()> {
        self.at(Self::Begin)
    }

    fn write_body(&mut self, _: &[u8]) -> io::Result<()> {
        self.at(Self::Body)
    }

    fn finish(&mut self, _: &[u8]) -> io::Result<()> {
        self.at(Self::Finish)
    }
}

fn an_error_of_the_sink_is_its_own() {
    for sink in [Full::Begin, Full::Body, Full::Finish] {
        let source = media::open(&media::clip());
        let error = isolated(source, sink, &JobOptions::default(), &Limits::default()).unwrap_err();
        let IsolateError::Sink(error) = error else { panic!("{error:?}") };
        assert_eq!(error.to_string(), "no room: 43");
    }
}

fn an_option_is_refused_first() {
    let options = JobOptions { vbr_level: Some(10), ..JobOptions::default() };
    let sink = SeekSink(Cursor::new(Vec::new()));
    let error = isolated(io::empty(), sink, &options, &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), Some(FailureKind::BadInput));
    assert!(matches!(error, IsolateError::Options(_)));
}

fn nothing_is_left_behind() {
    // In a process where nothing else goes on.
    let program = std::env::current_exe().expect("there is one");
    let output = std::process::Command::new(program)
        .args([crate::attempt::COUNT_ARGUMENT, media::clip().to_str().expect("plain names")])
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{output:?}");
}

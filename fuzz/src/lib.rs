//! What the targets share: a sink in memory, tight budgets, and what must hold of every conversion.

use std::io::{self, Cursor};
use std::sync::LazyLock;
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tonemill_codec::mp3::tag::InfoTag;
use tonemill_codec::{
    BitrateMode, CancelToken, ChannelChoice, CodecError, DecoderKind, ErrorKind, Limits,
    MeanBitrate, Mp3Format, Mp3Rate, Mp3Settings, Options, OutputSink, Quality, RateChoice, Report,
    Segmentation, VbrLevel, probe, transcode,
};

/// Probes and converts `media`, and checks whatever comes out.
pub fn media_to_mp3(media: &[u8], decoder: DecoderKind) {
    // The last byte of a file matters to hardly any container.
    let options = options(decoder, media.last().copied().unwrap_or(0));
    let source = || Cursor::new(media.to_vec());
    let probed = probe(source(), decoder, &options.limits, &CancelToken::new());
    let (converted, mp3) = convert(source(), &options);
    for error in [probed.as_ref().err(), converted.as_ref().err()].into_iter().flatten() {
        assert_input_is_to_blame(error);
    }
    let Ok(report) = converted else {
        assert!(mp3.head.is_none(), "a failed conversion was finished");
        return;
    };
    mp3.check(&report);
    check_source(&report, &options, media.len());
    match probed {
        Ok(probe) => assert!(probe.tracks.contains(&report.source.track)),
        // Only time may have run out.
        Err(error) => assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}"),
    }
}

/// Converts `source`. The thread pool is shared by all conversions.
pub fn convert(
    source: Cursor<Vec<u8>>,
    options: &Options,
) -> (Result<Report, CodecError>, MemorySink) {
    static POOL: LazyLock<ThreadPool> =
        LazyLock::new(|| ThreadPoolBuilder::new().num_threads(2).build().expect("two threads"));
    let mut mp3 = MemorySink::default();
    let mut encoded_seconds = 0.0;
    let outcome = transcode(source, &mut mp3, options, &POOL, &CancelToken::new(), |progress| {
        assert!(progress.encoded_seconds > encoded_seconds, "progress stands still");
        encoded_seconds = progress.encoded_seconds;
        assert_sane_length(progress.declared_seconds);
    });
    (outcome, mp3)
}

/// Budgets that leave time for many runs, and settings by the bits of `choice`.
fn options(decoder: DecoderKind, choice: u8) -> Options {
    let bit = |index: u8| choice >> index & 1 == 1;
    let mode = match choice & 3 {
        0 => BitrateMode::default(),
        1 => BitrateMode::Cbr(tonemill_codec::Bitrate::new(16).expect("a bitrate of MP3")),
        2 => BitrateMode::Abr(MeanBitrate::default()),
        _ => BitrateMode::Vbr(VbrLevel::default()),
    };
    let channels = match choice >> 2 & 3 {
        1 => ChannelChoice::Mono,
        2 => ChannelChoice::Stereo,
        _ => ChannelChoice::Auto,
    };
    let rate = Mp3Rate::new(32_000).filter(|_| bit(4)).map_or(RateChoice::Auto, RateChoice::Fixed);
    let quality = Quality::new(9).expect("LAME's fastest");
    Options {
        mp3: Mp3Settings { mode, quality, channels, rate },
        decoder,
        start_seconds: if bit(5) { 0.05 } else { 0.0 },
        end_seconds: bit(6).then_some(0.5),
        strict: bit(7),
        segmentation: Segmentation { frames: 16, warm_up_frames: 4 },
        limits: Limits {
            decoded_seconds: 5,
            output_bytes: 96 << 10, // 4 s at the default bitrate
            picture_bytes: 32 << 10,
            tag_bytes: 64,
            chapters: 4,
            wall_clock: Duration::from_secs(2),
            ..Limits::default()
        },
        ..Options::default()
    }
}

/// Memory neither fails to be read nor to be written, nobody cancels, and nothing may be broken.
fn assert_input_is_to_blame(error: &CodecError) {
    let kind = error.kind();
    assert!(matches!(kind, ErrorKind::BadInput | ErrorKind::LimitExceeded), "{kind:?}: {error:?}");
}

/// Lengths that a file declares are not to be believed, but they are lengths.
fn assert_sane_length(seconds: Option<f64>) {
    assert!(seconds.is_none_or(|s| s.is_finite() && s >= 0.0), "declares {seconds:?} s");
}

fn check_source(report: &Report, options: &Options, media_bytes: usize) {
    let (source, limits) = (&report.source, &options.limits);
    assert_eq!(source.bytes, media_bytes as u64);
    assert!(source.samples_decoded > 0);
    assert!(source.decoded_seconds <= limits.decoded_seconds as f64);
    assert!((1..=limits.channels).contains(&source.channels));
    assert!(
        (limits.min_sample_rate_hz..=limits.max_sample_rate_hz).contains(&source.sample_rate_hz)
    );
    assert_sane_length(source.declared_seconds);
    assert_sane_length(source.track.duration_seconds);
    assert!(report.output.bytes <= limits.output_bytes);
    if let Some(end) = options.end_seconds {
        let sample = 1.0 / f64::from(report.output.format.rate.hz());
        assert!(report.output.duration_seconds <= end - options.start_seconds + sample);
    }
    if report.truncated {
        assert!(!options.strict, "strict let it pass: {:?}", report.warnings);
        assert!(!report.warnings.is_empty(), "truncated, and nobody says why");
    }
}

/// An MP3 in memory. It holds the codec to the order of calls that [`OutputSink`] promises.
#[derive(Default)]
pub struct MemorySink {
    reserved: Option<usize>,
    body: Vec<u8>,
    /// Only of a finished MP3.
    head: Option<Vec<u8>>,
}

impl OutputSink for MemorySink {
    fn begin(&mut self, head_bytes: usize) -> io::Result<()> {
        assert_eq!(self.reserved.replace(head_bytes), None, "begun twice");
        Ok(())
    }

    fn write_body(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(self.reserved.is_some() && self.head.is_none(), "not between begin and finish");
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, head: &[u8]) -> io::Result<()> {
        assert_eq!(Some(head.len()), self.reserved, "the head has another length than announced");
        assert_eq!(self.head.replace(head.to_vec()), None, "finished twice");
        Ok(())
    }
}

impl MemorySink {
    /// The ID3 tag, if there is one, and the tag frame of a finished MP3.
    pub fn tags(&self, format: &Mp3Format) -> (Option<id3::Tag>, InfoTag) {
        let head = self.head.as_ref().expect("the MP3 is finished");
        let (id3, frame) = head.split_at(head.len() - InfoTag::frame_bytes(format));
        let id3 = (!id3.is_empty())
            .then(|| id3::Tag::read_from2(Cursor::new(id3)).expect("the ID3 tag can be read"));
        (id3, InfoTag::parse(frame).expect("the tag frame can be read"))
    }

    /// Holds a finished MP3 and the report of it against each other.
    pub fn check(&self, report: &Report) {
        let output = &report.output;
        let (_, tag) = self.tags(&output.format);
        assert!(output.frames > 0 && output.samples > 0);
        assert_eq!(u64::from(tag.frames), output.frames);
        let samples = output.frames * output.format.samples_per_frame() as u64;
        assert_eq!(samples, u64::from(tag.delay) + output.samples + u64::from(tag.padding));
        let frames_bytes = InfoTag::frame_bytes(&output.format) + self.body.len();
        assert_eq!(tag.bytes as usize, frames_bytes);
        let head_bytes = self.reserved.unwrap_or_default();
        assert_eq!(output.bytes, (head_bytes + self.body.len()) as u64);
        assert_eq!(output.audio_blake3, blake3::hash(&self.body).to_hex().as_str());
        assert!(
            (output.duration_seconds - output.format.rate.seconds(output.samples)).abs() < 1e-9
        );
    }
}

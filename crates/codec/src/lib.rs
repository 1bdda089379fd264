//! Media in, MP3 out, in one process and on every core.
//!
//! [`transcode`] reads any container and audio codec that its decoder knows from a [`MediaSource`],
//! and writes an MP3 to an [`OutputSink`]. It is synchronous, touches no network and no file of its
//! own, and treats its input as hostile.
//!
//! The way of the data, which is also the order of the modules:
//!
//! 1. `source`: a guarded reader over anything that reads and seeks; `envelope` and `isobmff` look
//!    at what a container says about itself.
//! 2. `decode`: FFmpeg or Symphonia, to blocks of planar floats (`pcm`).
//! 3. `convert`: one sample rate, one or two channels.
//! 4. `mp3`: segments, encoded in parallel by LAME, joined in order, with tags in front.
//! 5. `sink`: a body in order and a head that comes last.
//!
//! [`transcode()`] runs `job`, which is steps 1 to 3 on a thread of its own, and writes what comes
//! back; `ffi` is the only place with `unsafe`.

mod cancel;
mod convert;
mod cpu_clock;
mod decode;
mod envelope;
mod error;
mod ffi;
pub mod ffmpeg;
mod isobmff;
mod job;
mod language;
mod limits;
pub mod metadata;
pub mod mp3;
pub mod pcm;
mod probe;
mod report;
mod sink;
mod source;
mod transcode;

pub use cancel::CancelToken;
pub use decode::{DecoderKind, TrackChoice, decode};
pub use error::{CodecError, ErrorKind, LimitKind, Result};
pub use limits::Limits;
pub use mp3::segment::Segmentation;
pub use mp3::settings::{
    Bitrate, BitrateMode, ChannelChoice, MeanBitrate, Mp3Format, Mp3Rate, Mp3Settings, Quality,
    RateChoice, VbrLevel,
};
pub use probe::{AudioTrack, CoverFacts, Probe, probe};
pub use report::{OutputReport, Period, Report, SourceReport, Timing};
pub use sink::{OutputSink, SeekSink};
pub use source::MediaSource;
pub use transcode::{Options, Progress, transcode};

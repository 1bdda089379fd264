//! What the codec says is wrong, as this program says it.

use tonemill_codec::{CodecError, DecoderKind, ErrorKind as CodecErrorKind, LimitKind};

use crate::failure::{ErrorKind, Failure};

impl From<CodecErrorKind> for ErrorKind {
    fn from(kind: CodecErrorKind) -> Self {
        match kind {
            CodecErrorKind::BadInput => Self::BadInput,
            CodecErrorKind::LimitExceeded => Self::LimitExceeded,
            CodecErrorKind::Io => Self::Io,
            CodecErrorKind::Cancelled => Self::Cancelled,
            CodecErrorKind::Bug => Self::Bug,
        }
    }
}

impl Failure {
    /// The codec's, with its advice in terms of this program's options where there is one.
    pub fn codec(error: &CodecError, decoder: DecoderKind) -> Self {
        let cause = std::error::Error::source(error);
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::of_kind(error.kind().into(), format!("{error}{cause}"), codec_advice(error, decoder))
    }
}

fn codec_advice(error: &CodecError, decoder: DecoderKind) -> &'static str {
    match error {
        CodecError::Limit { limit: LimitKind::DecodedSeconds, .. } => "raise --max-duration",
        CodecError::Limit { limit: LimitKind::WallClockSeconds, .. } => "raise --timeout",
        CodecError::Truncated { .. } => "fetch it again, or convert it without --strict",
        CodecError::UnsupportedCodec { .. }
        | CodecError::UnknownFormat
        | CodecError::NoAudioTrack { .. }
        | CodecError::NoSamples { .. }
        | CodecError::DamagedContainer { .. }
            if decoder == DecoderKind::Symphonia =>
        {
            "try it without --decoder symphonia, which knows fewer formats"
        }
        error => error.advice(),
    }
}

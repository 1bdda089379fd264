//! Why a file was not converted or probed, in words: what is wrong, and what to do.

use std::io;
use std::path::Path;

use tonemill_codec::{CodecError, DecoderKind, ErrorKind, LimitKind};

use crate::exit::Outcome;
use crate::request::Target;
use crate::text::shown;

/// Why a file has no output.
pub enum Failure {
    /// The input cannot be opened.
    Open(io::Error),
    /// The output cannot be created or put in its place.
    Create(io::Error),
    Codec(CodecError),
}

impl Failure {
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Open(error) | Self::Create(error)
                if error.kind() == io::ErrorKind::Interrupted =>
            {
                Outcome::Cancelled
            }
            Self::Create(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory
                ) =>
            {
                Outcome::Usage
            }
            Self::Open(_) if self.kind() != ErrorKind::Io => Outcome::BadInput,
            Self::Open(_) | Self::Create(_) => Outcome::Fault,
            Self::Codec(error) => error.into(),
        }
    }

    pub fn kind(&self) -> ErrorKind {
        use io::ErrorKind as K;
        match self {
            Self::Open(error) => match error.kind() {
                K::NotFound
                | K::PermissionDenied
                | K::IsADirectory
                | K::NotADirectory
                | K::InvalidFilename => ErrorKind::BadInput,
                K::TimedOut => ErrorKind::LimitExceeded,
                K::Interrupted => ErrorKind::Cancelled,
                _ => ErrorKind::Io,
            },
            Self::Create(error) if error.kind() == K::Interrupted => ErrorKind::Cancelled,
            Self::Create(_) => ErrorKind::Io,
            Self::Codec(error) => error.kind(),
        }
    }

    /// What is wrong, and what to do.
    pub fn words(
        &self,
        input: &Path,
        target: &Target,
        decoder: DecoderKind,
    ) -> (String, &'static str) {
        match self {
            Self::Open(error) => open_words(input, error),
            Self::Create(error) => create_words(target, error),
            Self::Codec(error) => {
                let cause = std::error::Error::source(error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                (format!("{error}{cause}"), advice(error, decoder))
            }
        }
    }
}

fn open_words(input: &Path, error: &io::Error) -> (String, &'static str) {
    let what = format!("the input cannot be opened: {error}");
    match error.kind() {
        io::ErrorKind::Interrupted => ("cancelled".to_owned(), "start again when ready"),
        io::ErrorKind::TimedOut => {
            ("the input did not end within the time limit".to_owned(), "raise --timeout")
        }
        io::ErrorKind::IsADirectory => ("it is a folder".to_owned(), "name the files in it"),
        io::ErrorKind::NotFound if input.to_string_lossy().contains("://") => {
            (what, "download it first, as with `curl -L URL | tonemill convert - -o OUT.mp3`")
        }
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            (what, "check its name and permissions")
        }
        _ => (what, "check the input and the free space, and try again"),
    }
}

fn create_words(target: &Target, error: &io::Error) -> (String, &'static str) {
    let name = match target {
        Target::Stdout => "standard output".to_owned(),
        Target::File(path) => shown(path),
    };
    match error.kind() {
        io::ErrorKind::Interrupted => ("cancelled".to_owned(), "start again when ready"),
        io::ErrorKind::BrokenPipe => {
            (format!("nobody reads {name} any more"), "start again when ready")
        }
        io::ErrorKind::AlreadyExists => {
            (format!("{name} exists and was kept"), "use --force to replace it")
        }
        io::ErrorKind::IsADirectory => (format!("{name} is a folder"), "use -d to name a folder"),
        _ => {
            let advice = "check the folder, its permissions and its free space";
            (format!("{name} cannot be written: {error}"), advice)
        }
    }
}

/// The codec's advice, in terms of this program's options where there is one.
fn advice(error: &CodecError, decoder: DecoderKind) -> &'static str {
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

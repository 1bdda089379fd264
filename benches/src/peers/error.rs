//! Why a comparison could not be made; every variant says what to do or what to look at.

use std::io;
use std::path::{Path, PathBuf};

/// Why a comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried: "read", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that is needed is not there.
    #[error("cannot start `{program}` ({source}); {remedy}")]
    Missing {
        /// The program, as it was called.
        program: String,
        /// How to get it.
        remedy: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit code or signal.
        status: String,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// A program or a system file said something that could not be understood.
    #[error("cannot make sense of {what}: {detail}")]
    Unreadable {
        /// Where it came from.
        what: String,
        /// What was found or missed.
        detail: String,
    },
    /// The music that the media are made of is not installed.
    #[error(
        "no Ogg Vorbis music in {folder}; install it (Debian: apt-get install wesnoth-1.16-music) \
         or give a folder that holds the media with --media"
    )]
    NoMusic {
        /// Where it was looked for.
        folder: String,
    },
}

/// For `map_err`: what was tried on which file.
pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PeersError {
    let path = path.to_path_buf();
    move |source| PeersError::File { action, path, source }
}

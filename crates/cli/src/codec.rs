//! Commands that convert, and so need FFmpeg and LAME: what the feature `codec` adds. A build
//! without it has `no_codec.rs` instead.
//!
//! | file | what |
//! |---|---|
//! | `convert` | `tonemill convert` |
//! | `request` | what it was asked for, validated |
//! | `input` | files, standard input and pipes, as something that seeks |
//! | `probe` | `tonemill probe` |
//! | `worker` | `tonemill worker` |
//! | `serve` | `tonemill serve` |
//! | `examine` | what an MP3 says of itself, for `tonemill admin recover` |
//! | `failure` | what the codec says is wrong, in words |

mod convert;
mod examine;
mod failure;
mod input;
mod probe;
mod request;
mod serve;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use tonemill_worker::isolate::{CHILD_ARGUMENT, child_main};

use crate::args::convert::{ConvertArgs, ProbeArgs};
use crate::args::serve::ServeArgs;
use crate::args::worker::WorkerArgs;
use crate::exit::{CancelToken, Outcome, on_signals};
use crate::failure::Failure;
pub use examine::examine;

#[derive(Debug, Subcommand)]
pub enum CodecCommand {
    /// Convert audio or video files to MP3
    Convert(Box<ConvertArgs>),
    /// Show what is in a file
    Probe(ProbeArgs),
    /// Take jobs from the queue and convert them, until told to end
    Worker(Box<WorkerArgs>),
    /// Run the whole service in one process: API, workers, and what they need
    Serve(Box<ServeArgs>),
}

/// Does what was asked.
pub fn run(command: &CodecCommand, cancel: &CancelToken) -> Outcome {
    match command {
        CodecCommand::Convert(args) => match args.validate() {
            Ok(request) => {
                on_signals(cancel);
                convert::run(&request, cancel)
            }
            Err(usage) => usage.exit(),
        },
        CodecCommand::Probe(args) => {
            on_signals(cancel);
            probe::run(args, cancel)
        }
        CodecCommand::Worker(args) => worker::run(args),
        CodecCommand::Serve(args) => serve::run(args),
    }
}

/// Whether MP3s that nothing is known of can be looked at: they can.
#[expect(clippy::unnecessary_wraps, reason = "a build without the codec has another")]
pub fn must_read_mp3s() -> Result<(), Failure> {
    Ok(())
}

/// Converts one job and ends, if that is what this process was started for.
pub fn child() -> Option<ExitCode> {
    let is_child = std::env::args_os().nth(1).is_some_and(|argument| argument == CHILD_ARGUMENT);
    is_child.then(child_main)
}

impl From<&CancelToken> for tonemill_codec::CancelToken {
    fn from(cancel: &CancelToken) -> Self {
        Arc::clone(&cancel.flag).into()
    }
}

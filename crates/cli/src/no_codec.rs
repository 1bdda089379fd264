//! What a build without the feature `codec` has instead of the commands that convert: an answer.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Subcommand;
use tonemill_job::ObjectKey;
use tonemill_job::objects::{ObjectStore, StoreError};
use tonemill_ledger::recovery::Sound;

use crate::exit::{CancelToken, Outcome};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub enum CodecCommand {
    /// Convert, probe, work, serve: not in this build
    #[command(
        name = "convert",
        aliases = ["probe", "worker", "serve"],
        hide = true,
        disable_help_flag = true
    )]
    Absent {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<OsString>,
    },
}

/// Says that it cannot be done here.
pub fn run(_: &CodecCommand, _: &CancelToken) -> Outcome {
    let message = "this build has no codec, and so no convert, probe, worker or serve";
    Failure::usage(message, "use the image tonemill-worker, or build with the feature codec").tell()
}

/// Whether MP3s that nothing is known of can be looked at.
pub fn must_read_mp3s() -> Result<(), Failure> {
    let advice = "use the image tonemill-worker, or build with the feature codec";
    Err(Failure::usage("this build has no codec, and cannot tell MP3s from others", advice))
}

/// This build cannot tell: nobody asks it, after [`must_read_mp3s`].
pub async fn examine(
    _: &dyn ObjectStore,
    _: &ObjectKey,
    _: u64,
) -> Result<Option<Sound>, StoreError> {
    Ok(None)
}

/// No process is started for a job.
pub fn child() -> Option<ExitCode> {
    None
}

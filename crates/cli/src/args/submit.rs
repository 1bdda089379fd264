//! What may be said to `tonemill submit`.

use clap::{Args, ValueEnum};
use tonemill_job::Lane;

use super::backends::BackendArgs;
use super::convert::{ConversionArgs, FileArgs};

#[derive(Debug, Args)]
#[command(mut_arg("inputs", |arg| arg.help("Files to convert")))]
#[command(mut_arg("output", |arg| {
    arg.help("The output of a single input [default: the input's name with .mp3]")
}))]
#[command(after_help = "Exit codes: 0 all converted; 1 some input was bad; 2 wrong usage, or an \
    output exists already; 3 queue, store or workers failed; 130 interrupted: what was not done is \
    cancelled.")]
pub struct SubmitArgs {
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub backends: BackendArgs,
    /// How urgent it is
    #[arg(long, value_enum, default_value_t)]
    pub lane: LaneArg,

    #[command(flatten)]
    pub conversion: ConversionArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum LaneArg {
    High,
    #[default]
    Normal,
    Low,
}

impl From<LaneArg> for Lane {
    fn from(arg: LaneArg) -> Self {
        match arg {
            LaneArg::High => Self::High,
            LaneArg::Normal => Self::Normal,
            LaneArg::Low => Self::Low,
        }
    }
}

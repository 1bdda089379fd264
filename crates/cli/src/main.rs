//! `tonemill`: the command line. This page wires; each command has a file of its own.

#![forbid(unsafe_code)]

mod args;
mod convert;
mod exit;
mod failure;
mod input;
mod interruptible;
mod json;
mod output;
mod probe;
mod progress;
mod request;
mod text;

use std::process::ExitCode;

use clap::Parser;
use tonemill_codec::CancelToken;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    std::panic::set_hook(Box::new(tell_panic));
    let cancel = CancelToken::new();
    exit::on_signals(&cancel);
    match cli.command {
        Command::Convert(args) => match args.validate() {
            Ok(request) => convert::run(&request, &cancel),
            Err(usage) => usage.exit(),
        },
        Command::Probe(args) => probe::run(&args, &cancel),
    }
    .into()
}

/// Panics are contained and end as errors of one file; one line is enough to find them. Those of
/// Symphonia on damaged files are expected and reported as damage.
fn tell_panic(panic: &std::panic::PanicHookInfo<'_>) {
    if !panic.location().is_some_and(|at| at.file().contains("symphonia")) {
        eprintln!("tonemill: internal panic: {}", panic.to_string().replace('\n', " "));
    }
}

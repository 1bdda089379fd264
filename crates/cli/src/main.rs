//! `tonemill`: the command line. This page wires; each command has a file of its own.

#![forbid(unsafe_code)]

mod args;
mod convert;
mod exit;
mod input;
mod output;
mod probe;
mod progress;
mod text;

use std::process::ExitCode;

use clap::Parser;
use tonemill_codec::CancelToken;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Panics are contained and end as errors of one file; one line is enough to find them.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("tonemill: internal panic: {}", one_line(panic));
    }));
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

fn one_line(panic: &std::panic::PanicHookInfo<'_>) -> String {
    panic.to_string().replace('\n', " ")
}

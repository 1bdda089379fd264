//! `tonemill`: the command line. This page wires; each command has a file of its own.

#![forbid(unsafe_code)]

mod admin;
mod args;
mod backends;
// Without the codec there are fewer commands than the books have.
#[cfg(all(test, feature = "codec"))]
mod books;
mod client;
#[cfg_attr(not(feature = "codec"), path = "no_codec.rs")]
mod codec;
mod config_check;
mod config_file;
mod config_reference;
mod data_folder;
mod disks;
mod exit;
mod failure;
mod health;
mod interruptible;
mod job_options;
mod json;
mod log;
mod notifier;
mod output;
mod progress;
mod runtime;
mod serve;
mod submit;
mod target;
mod text;
mod transfer;

use std::io::Write as _;
use std::process::ExitCode;

use crate::args::serve::ConfigCommand;
use crate::args::{Cli, Command};
use crate::exit::CancelToken;

fn main() -> ExitCode {
    // A child that converts one job must be that before it is anything else.
    if let Some(code) = codec::child() {
        return code;
    }
    let (cli, sources) = Cli::read();
    std::panic::set_hook(Box::new(tell_panic));
    let cancel = CancelToken::new();
    match cli.command {
        Command::Codec(command) => codec::run(&command, &cancel),
        Command::Submit(args) => {
            exit::on_signals(&cancel);
            submit::run(&args, &cancel)
        }
        Command::Login(args) => client::login::login(&args, &cancel),
        Command::Logout(args) => client::login::logout(&args, &cancel),
        Command::Upload(args) => client::upload::run(&args, &cancel),
        Command::Jobs(args) => client::jobs::run(&args, &cancel),
        Command::Watch(args) => client::watch::run(&args, &cancel),
        Command::Download(args) => client::download::run(&args, &cancel),
        Command::Api(args) => serve::api(&args),
        Command::Notifier(args) => notifier::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Config(ConfigCommand::Check(args)) => config_check::run(&args, &sources),
        Command::Config(ConfigCommand::Reference) => config_reference::run(),
        Command::Admin(command) => admin::run(&command),
    }
    .into()
}

/// Panics are contained and end as errors of one file; one line is enough to find them. Those of
/// Symphonia on damaged files are expected and reported as damage.
fn tell_panic(panic: &std::panic::PanicHookInfo<'_>) {
    if !panic.location().is_some_and(|at| at.file().contains("symphonia")) {
        let text = panic.to_string().replace('\n', " ");
        // A panic in here would end the process.
        let _ = writeln!(std::io::stderr(), "tonemill: internal panic: {text}");
    }
}

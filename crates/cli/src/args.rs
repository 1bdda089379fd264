//! What the user may say: the command line as it is typed, value by value; a file for each family
//! of commands.

pub mod admin;
pub mod backends;
pub mod backup;
pub mod client;
pub mod convert;
pub mod notifier;
pub mod serve;
pub mod submit;
pub mod worker;

use std::ffi::OsString;

use clap::builder::{PossibleValuesParser, Resettable, TypedValueParser};
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use reqwest::Url;
use tonemill_ledger::JobState;

use crate::codec::CodecCommand;
use crate::config_file::ConfigFile;

use admin::AdminCommand;
use client::{DownloadArgs, JobsArgs, LoginArgs, LogoutArgs, UploadArgs, WatchArgs};
use notifier::NotifierArgs;
use serve::{ApiCommandArgs, ConfigCommand};
use submit::SubmitArgs;

/// Heading of the options of a process as a whole, after those of its parts.
pub const PROCESS: &str = "The process";

/// Turns videos into MP3s on every core.
#[derive(Debug, Parser)]
#[command(name = "tonemill", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What was said, and where each value came from; ends the process if it makes no sense.
    pub fn read() -> (Self, Sources) {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let command = without_empty_variables(Self::command());
        let refuse = |why: String| -> ! {
            Self::command().error(clap::error::ErrorKind::InvalidValue, why).exit()
        };
        let file = ConfigFile::find(&arguments).unwrap_or_else(|why| refuse(why));
        let mut command = match &file {
            Some(file) => file.apply(command).unwrap_or_else(|why| refuse(why)),
            None => command,
        };
        let matches =
            command.try_get_matches_from_mut(arguments).unwrap_or_else(|error| error.exit());
        let cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        (cli, Sources { command, matches, file })
    }
}

/// Where what was said came from.
pub struct Sources {
    /// The command line as it can be.
    pub command: clap::Command,
    /// As it is.
    pub matches: ArgMatches,
    /// The file of settings.
    pub file: Option<ConfigFile>,
}

/// A variable that is set to nothing says nothing: containers set all that their templates name.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        value.is_some_and(|value| value.is_empty())
    };
    let unset = |arg: Arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg };
    command.mut_args(unset).mut_subcommands(without_empty_variables)
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Codec(CodecCommand),
    /// Run the API, without workers
    Api(Box<ApiCommandArgs>),
    /// Send notifications, by mail and to webhooks, until told to end
    Notifier(Box<NotifierArgs>),
    /// Ask a process whether it is well, as health checks of containers do
    Health(HealthArgs),
    /// Look at the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look after a service: users, jobs, quarantine, deliveries, webhooks
    #[command(subcommand)]
    Admin(Box<AdminCommand>),
    /// Have files converted by the workers, and wait for the MP3s
    Submit(Box<SubmitArgs>),
    /// Log in to a service
    Login(LoginArgs),
    /// End the log-in
    Logout(LogoutArgs),
    /// Upload files to a service, which converts them
    Upload(Box<UploadArgs>),
    /// List, show, cancel, retry or delete your jobs at a service
    Jobs(JobsArgs),
    /// Watch jobs at a service until they are over
    Watch(WatchArgs),
    /// Download MP3s from a service
    Download(DownloadArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 it is well; 2 wrong usage; 3 it is not, or does not answer.")]
pub struct HealthArgs {
    /// Where to ask, such as <http://127.0.0.1:9464/readyz>
    pub url: Url,
}

/// Reads the states of jobs that anybody sees.
fn job_state() -> impl TypedValueParser<Value = JobState> {
    let states = JobState::UNFINISHED.into_iter().chain(JobState::ENDED);
    PossibleValuesParser::new(states.map(JobState::name))
        .map(|name| JobState::named(&name).expect("it is a state's name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_consistent() {
        Cli::command().debug_assert();
    }
}

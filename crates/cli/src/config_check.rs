//! `tonemill config check`: every setting of the service, what it is, and where that came from.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::args::Sources;
use crate::args::serve::ServeArgs;
use crate::config_file::ConfigFile;
use crate::exit::Outcome;
use crate::json::{print_line, print_lines};

/// Prints what is in force. Secrets are not told.
pub fn run(args: &ServeArgs, sources: &Sources) -> Outcome {
    let Some((command, matches)) = innermost(&sources.command, &sources.matches) else {
        return Outcome::Fault;
    };
    let file = sources.file.as_ref();
    let mut settings: Vec<[String; 3]> =
        command.get_arguments().filter_map(|arg| setting(arg, matches, file)).collect();
    settings.sort();
    let width = |column: usize| {
        settings.iter().map(|row| row[column].chars().count()).max().unwrap_or_default().min(48)
    };
    let (name, value) = (width(0), width(1));
    let rows = settings.iter().map(|[n, v, source]| format!("{n:name$}  {v:value$}  {source}"));
    let told = print_lines(rows).max(print_line("")).max(print_lines(summary(args)));
    told.max(args.check().map_or_else(|failure| failure.tell(), |()| Outcome::Done))
}

/// The command that was given, below the others.
fn innermost<'a>(
    command: &'a Command,
    matches: &'a ArgMatches,
) -> Option<(&'a Command, &'a ArgMatches)> {
    match matches.subcommand() {
        Some((name, matches)) => innermost(command.find_subcommand(name)?, matches),
        None => Some((command, matches)),
    }
}

fn setting(arg: &Arg, matches: &ArgMatches, file: Option<&ConfigFile>) -> Option<[String; 3]> {
    let (name, variable) = (arg.get_long()?, arg.get_env()?);
    let id = arg.get_id().as_str();
    let source = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => format!("--{name}"),
        Some(ValueSource::EnvVariable) => variable.to_string_lossy().into_owned(),
        Some(_) => match file.filter(|file| file.says(name)) {
            Some(file) => file.path.display().to_string(),
            None => "default".to_owned(),
        },
        None => "not set".to_owned(),
    };
    let texts: Vec<String> = matches
        .get_raw(id)
        .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let value = match texts.as_slice() {
        [] => "-".to_owned(),
        _ if arg.is_hide_env_values_set() => "(secret)".to_owned(),
        texts => texts.join(","),
    };
    Some([name.to_owned(), value, source])
}

/// What the service is made of with these settings.
fn summary(args: &ServeArgs) -> Vec<String> {
    let data = args.data.display();
    let api = &args.api;
    let scheme = |url: &str| url.split(':').next().unwrap_or_default().to_owned();
    let ledger = match &api.ledger.database.database_url {
        Some(url) => scheme(url),
        None => format!("SQLite, in {data}/ledger.db"),
    };
    let queue = match &api.backends.redis_url {
        Some(url) => scheme(url),
        None => "in memory, filled again from the ledger at every start".to_owned(),
    };
    let store = match (&api.backends.folder, &api.backends.s3_bucket) {
        (Some(folder), _) => format!("the folder {}", folder.display()),
        (None, Some(bucket)) => format!("the bucket {bucket}"),
        (None, None) => format!("the folder {data}"),
    };
    let mail = match (&args.notify.smtp_url, &args.notify.mail_folder) {
        (Some(server), _) => format!("{}:{}", server.host, server.port),
        (None, Some(folder)) => format!("files in {}", folder.display()),
        (None, None) => format!("files in {data}/mail"),
    };
    vec![
        format!("ledger: {ledger}"),
        format!("queue:  {queue}"),
        format!("store:  {store}"),
        format!("API:    {}", api.http.listen),
        format!("mail:   {mail}"),
        format!("traces: {}", api.log.collector().as_deref().unwrap_or("not exported")),
    ]
}

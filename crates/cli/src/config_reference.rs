//! `tonemill config reference`: every setting there is, as tables in Markdown. docs/configure.md ends
//! with them, and a test sees that it does.

use clap::{Arg, Command, CommandFactory as _};

use crate::args::{Cli, PROCESS};
use crate::exit::Outcome;
use crate::json::print_lines;

/// What runs for long comes first; the other commands as `--help` has them.
const FIRST: [&str; 4] = ["serve", "api", "worker", "notifier"];
/// Takes what `serve` takes.
const LIKE_SERVE: &str = "config";

/// Prints the tables.
pub fn run() -> Outcome {
    print_lines(reference())
}

/// One setting, as the commands have it that understand the same by it.
struct Setting {
    heading: String,
    flag: String,
    variable: String,
    default: String,
    meaning: String,
    commands: Vec<String>,
}

/// The lines of the tables, one table for each heading of `--help`.
fn reference() -> Vec<String> {
    let settings = settings(&Cli::command());
    let mut headings: Vec<&str> = Vec::new();
    for setting in &settings {
        if !headings.contains(&setting.heading.as_str()) {
            headings.push(&setting.heading);
        }
    }
    let mut lines = Vec::new();
    for heading in headings {
        lines.extend([String::new(), format!("### {heading}"), String::new()]);
        lines.push("| flag | variable | default | taken by | meaning |".to_owned());
        lines.push("|---|---|---|---|---|".to_owned());
        lines.extend(settings.iter().filter(|one| one.heading == heading).map(Setting::row));
    }
    lines
}

fn settings(root: &Command) -> Vec<Setting> {
    let first = FIRST.iter().filter_map(|name| root.find_subcommand(name));
    let others = root.get_subcommands().filter(|command| !FIRST.contains(&command.get_name()));
    let others = others.filter(|command| command.get_name() != LIKE_SERVE);
    let mut found = Vec::new();
    for command in first.chain(others) {
        collect(command, command.get_name(), &mut found);
    }
    found
}

/// Adds the settings of a command and of those below it, under the name of the uppermost.
fn collect(command: &Command, name: &str, found: &mut Vec<Setting>) {
    for setting in command.get_arguments().filter_map(Setting::of) {
        let is_same = |one: &&mut Setting| {
            (&one.flag, &one.default, &one.meaning)
                == (&setting.flag, &setting.default, &setting.meaning)
        };
        match found.iter_mut().find(is_same) {
            Some(known) if known.commands.iter().any(|known| known == name) => {}
            Some(known) => known.commands.push(name.to_owned()),
            None => found.push(Setting { commands: vec![name.to_owned()], ..setting }),
        }
    }
    command.get_subcommands().for_each(|below| collect(below, name, found));
}

impl Setting {
    /// What a variable can say is a setting.
    fn of(arg: &Arg) -> Option<Self> {
        let (name, variable) = (arg.get_long()?, arg.get_env()?.to_string_lossy().into_owned());
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        // Defaults that are not clap's are said in the text.
        let (text, said) = match help.split_once(" [default: ") {
            Some((text, default)) => (text, Some(default.trim_end_matches(']'))),
            None => (help.as_str(), None),
        };
        let values = arg.get_default_values().iter().map(|value| value.to_string_lossy());
        let default = match (values.collect::<Vec<_>>().join(","), said) {
            (values, _) if !values.is_empty() => format!("`{values}`"),
            (_, Some(said)) => said.to_owned(),
            _ => "–".to_owned(),
        };
        let choices = arg.get_possible_values();
        let choices: Vec<_> = choices.iter().map(|one| format!("`{}`", one.get_name())).collect();
        let choices = if choices.is_empty() { "" } else { &format!(": {}", choices.join(", ")) };
        let secret = if arg.is_hide_env_values_set() { " *(secret)*" } else { "" };
        let value = arg.get_value_names().and_then(|names| names.first());
        let value = value.map(|name| format!(" {name}")).unwrap_or_default();
        Some(Self {
            heading: arg.get_help_heading().unwrap_or(PROCESS).to_owned(),
            flag: format!("--{name}{value}"),
            variable,
            default,
            meaning: format!("{}{choices}{secret}", with_urls_as_code(text)),
            commands: Vec::new(),
        })
    }

    fn row(&self) -> String {
        let Self { flag, variable, default, meaning, .. } = self;
        let commands = self.commands.join(", ");
        let cells = [&format!("`{flag}`"), &format!("`{variable}`"), default, &commands, meaning];
        format!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
    }
}

/// URLs, which are in angle brackets for rustdoc, as code.
fn with_urls_as_code(text: &str) -> String {
    let is_url = |word: &str| word.contains("://") && word.starts_with('<');
    let as_code =
        |word: &str| if is_url(word) { word.replace(['<', '>'], "`") } else { word.to_owned() };
    let words = text.split(' ').map(as_code);
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(all(test, feature = "codec"))]
mod tests {
    use super::*;

    /// Below it, docs/configure.md is what `tonemill config reference` prints.
    const MARK: &str = "<!-- tonemill config reference -->\n";

    #[test]
    fn the_book_has_every_setting_as_it_is() {
        let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configure.md");
        let book = std::fs::read_to_string(book).expect("docs/configure.md");
        let (_, printed) = book.split_once(MARK).expect("the mark");
        let due = reference().join("\n") + "\n";
        assert!(printed == due, "`make reference` writes docs/configure.md again");
    }

    /// The book says so. One that would say too little alone may begin with its command's name.
    #[test]
    fn a_variable_is_called_as_its_flag() {
        let settings = settings(&Cli::command());
        assert!(settings.len() > 50, "{}", settings.len());
        for Setting { flag, variable, .. } in settings {
            let name = flag.trim_start_matches("--").split(' ').next().unwrap();
            let due = name.replace('-', "_").to_uppercase();
            let begun = variable.strip_suffix(&due);
            assert!(["TONEMILL_", "TONEMILL_IMPORT_"].map(Some).contains(&begun), "{flag}");
        }
    }

    /// What one command says otherwise than another has a row of its own.
    #[test]
    fn no_setting_is_twice_in_a_command() {
        let settings = settings(&Cli::command());
        for (index, one) in settings.iter().enumerate() {
            for other in &settings[index + 1..] {
                let both = other.commands.iter().find(|name| one.commands.contains(name));
                assert!(one.flag != other.flag || both.is_none(), "{} in {both:?}", one.flag);
            }
        }
    }
}

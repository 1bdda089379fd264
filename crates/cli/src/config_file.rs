//! A file of settings, in TOML: `listen = "0.0.0.0:8080"` is `--listen`, and so on for everything
//! that an environment variable can say. Flags come before variables, variables before the file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::{Arg, Command};
use toml::Value;

/// The flag and the variable that name the file.
const FLAG: &str = "--config";
const VARIABLE: &str = "TONEMILL_CONFIG";
/// Names that are more alike than this may have been meant; clap thinks so, too.
const ALIKE: f64 = 0.7;

/// What a file says.
#[derive(Debug, Default)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// By the names of the flags, without dashes in front.
    values: BTreeMap<String, Setting>,
}

#[derive(Debug)]
struct Setting {
    /// Its name as it was written.
    written: String,
    value: String,
}

impl ConfigFile {
    /// The file that `arguments` or the environment name; the error says what is wrong with it.
    pub fn find(arguments: &[OsString]) -> Result<Option<Self>, String> {
        let named = named(arguments).or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
        let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(None);
        };
        let shown = path.display();
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("the settings in {shown} cannot be read: {error}"))?;
        let table: toml::Table = text
            .parse()
            .map_err(|error| format!("{shown} is no TOML: {}", what_is_wrong(&text, &error)))?;
        let values = table.into_iter().map(|(name, value)| {
            if value.is_table() {
                return Err(format!("{shown}: sections such as [{name}] are not used"));
            }
            let value = text_of(value).ok_or_else(|| {
                format!("{shown}: {name} is no text, number, yes or no, or list of those")
            })?;
            Ok((name.replace('_', "-"), Setting { written: name, value }))
        });
        Ok(Some(Self { values: values.collect::<Result<_, String>>()?, path }))
    }

    /// `command` with what the file says as defaults. The error names a setting that nobody has.
    pub fn apply(&self, command: Command) -> Result<Command, String> {
        let mut known = Vec::new();
        names(&command, &mut known);
        if let Some((name, unknown)) = self.values.iter().find(|(name, _)| !known.contains(name)) {
            let near = known.iter().map(|known| (strsim::jaro(name, known), known));
            let near = near.filter(|(likeness, _)| *likeness > ALIKE);
            let near = near.max_by(|(a, _), (b, _)| a.total_cmp(b));
            let near = near.map(|(_, known)| format!(": is it {}?", known.replace('-', "_")));
            let (shown, near) = (self.path.display(), near.unwrap_or_default());
            return Err(format!("{shown}: there is no setting {}{near}", unknown.written));
        }
        Ok(self.with_defaults(command))
    }

    /// Whether the file says something about a setting.
    pub fn says(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    fn with_defaults(&self, command: Command) -> Command {
        let set = |arg: Arg| match self.value_of(&arg) {
            Some(value) => arg.default_value(value.clone()),
            None => arg,
        };
        command.mut_args(set).mut_subcommands(|command| self.with_defaults(command))
    }

    fn value_of(&self, arg: &Arg) -> Option<&String> {
        is_setting(arg).then(|| self.values.get(arg.get_long()?)).flatten().map(|set| &set.value)
    }
}

/// Without the line itself, which may have a password in it.
fn what_is_wrong(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let line = text[..text.floor_char_boundary(start)].matches('\n').count() + 1;
    format!("line {line}: {}", error.message())
}

/// The file that the command line names.
fn named(arguments: &[OsString]) -> Option<PathBuf> {
    let mut named = None;
    // What comes after `--` are files, whatever they are called.
    let mut arguments = arguments.iter().take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if argument == FLAG {
            named = arguments.next().map(PathBuf::from);
        } else if let Some(path) = argument.as_bytes().strip_prefix(b"--config=") {
            named = Some(OsStr::from_bytes(path).into());
        }
    }
    named
}

/// What can be said by a variable can be said by the file.
fn is_setting(arg: &Arg) -> bool {
    arg.get_env().is_some_and(|name| name != VARIABLE) && arg.get_action().takes_values()
}

fn names(command: &Command, known: &mut Vec<String>) {
    let settings = command.get_arguments().filter(|arg| is_setting(arg));
    known.extend(settings.filter_map(|arg| arg.get_long().map(str::to_owned)));
    command.get_subcommands().for_each(|command| names(command, known));
}

fn text_of(value: Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text,
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Array(values) => {
            let texts: Option<Vec<_>> = values.into_iter().map(text_of).collect();
            texts?.join(",")
        }
        Value::Datetime(_) | Value::Table(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_file_is_named_by_an_option_alone() {
        let named =
            |arguments: &[&str]| named(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(named(&["tonemill", "serve", "--config", "a.toml"]), path("a.toml"));
        assert_eq!(named(&["tonemill", "serve", "--config=a.toml"]), path("a.toml"));
        assert_eq!(named(&["tonemill", "convert", "--", "--config", "a.mp4"]), None);
        assert_eq!(named(&["tonemill", "convert", "--", "--config=a.mp4"]), None);
        assert_eq!(named(&["tonemill", "serve", "--config"]), None);
    }

    #[test]
    fn a_wrong_setting_is_named_as_it_was_written() {
        let said = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("t.toml");
            std::fs::write(&path, text).unwrap();
            let file = ConfigFile::find(&["--config".into(), path.into()])?.unwrap();
            file.apply(crate::args::Cli::command()).map(drop)
        };
        let told = |text| said(text).unwrap_err();
        assert_eq!(said("quota_jobs = 3\nkeep-days = 1"), Ok(()));
        let near = "t.toml: there is no setting quota_jbs: is it quota_jobs?";
        assert!(told("quota_jbs = 3").ends_with(near), "{}", told("quota_jbs = 3"));
        assert!(told("xyzzy_42 = 3").ends_with("there is no setting xyzzy_42"));
        assert!(told("[http]\nlisten = 'x'").ends_with("sections such as [http] are not used"));
    }

    #[test]
    fn what_is_wrong_is_told_without_its_line() {
        let told = |text: &str| what_is_wrong(text, &text.parse::<toml::Table>().unwrap_err());
        for text in [
            "listen = \"a\"\nadmin_password = S3CRET\n",
            "listen = \"a\"\ns3_secret_access_key = \"S3C\"RET\"",
            "listen = \"a\"\nredis_url = \"redis://:S3CRET\\q@h\"",
            "listen = \"a\"\nadmin_password = 'S3CRET\n",
            "listen = \"a\"\nS3CRET = 1\nS3CRET = 1",
        ] {
            let told = told(text);
            assert!(told.starts_with("line "), "{told}");
            assert!(!told.contains("S3C") && !told.contains("RET"), "{told}");
        }
    }
}

//! What README.md and docs/ say is held against the program and each other: commands parse, links lead
//! somewhere. `make docs-try` runs what can be run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use crate::args::Cli;

/// What an id in an example is taken for.
const SOME_ID: &str = "01a201f0-8e11-7000-8000-000000000000";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All that is written for readers, by its path.
fn books() -> BTreeMap<PathBuf, String> {
    let folders = [root(), root().join("docs"), root().join("benches")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten());
    let files = files.map(|file| file.path());
    let books = files.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let books: BTreeMap<_, _> = books.map(|path| (path.clone(), read(&path))).collect();
    assert!(books.len() > 8, "{:?}", books.keys());
    books
}

/// Whole lines of the shell in blocks of code, fenced or indented, without comments.
fn shell_lines(book: &str) -> Vec<String> {
    let (mut lines, mut is_fenced, mut begun) = (Vec::new(), false, String::new());
    for line in book.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced || line.starts_with("    ") || !begun.is_empty() {
            begun += line.split(" #").next().unwrap().trim();
            match begun.strip_suffix('\\') {
                Some(more) => begun = more.to_owned(),
                None => lines.push(std::mem::take(&mut begun)),
            }
        }
    }
    lines
}

/// The commands in a line of the shell that are Tonemill's, whoever runs them.
fn ours(line: &str) -> impl Iterator<Item = String> {
    let parts = line.split(['|', ';', '&', '(', ')']).map(str::trim);
    let parts = parts.map(|part| part.replace("sudo tonemill-admin ", "tonemill admin "));
    parts.filter(|part| part.starts_with("tonemill "))
}

/// Commands within sentences: `tonemill …`.
fn mentions(book: &str) -> Vec<&str> {
    let spans = book.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.filter(|span| span.starts_with("tonemill ")).collect()
}

/// Whether the program understands it; one that leaves something out, whether it knows the words.
fn parse(command: &str, is_whole: bool) -> Result<(), String> {
    let words = shlex::split(command).ok_or("quotes do not match")?;
    let words = words.into_iter().take_while(|word| !word.starts_with(['>', '<']));
    let words = words.map(|word| word.trim_end_matches('…').to_owned());
    let words = words.filter(|word| !word.is_empty());
    let is_id = |word: &String| ["JOB", "DELIVERY", "WEBHOOK"].contains(&word.as_str());
    let words = words.map(|word| if is_id(&word) { SOME_ID.to_owned() } else { word });
    match Cli::command().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(()),
            ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => Err(error.to_string()),
            _ if is_whole => Err(error.to_string()),
            _ => Ok(()),
        },
    }
}

#[test]
fn every_command_is_one() {
    let (mut wrong, mut whole, mut mentioned) = (Vec::new(), 0, 0);
    for (path, book) in books() {
        let lines = shell_lines(&book);
        let typed = lines.iter().flat_map(|line| ours(line));
        let typed = typed.map(|command| {
            // Where users come from is said by a variable: no password in a command.
            let is_whole = !command.contains(['…', '$']) && !command.contains(" admin import");
            (command, is_whole)
        });
        let mentions = mentions(&book).into_iter().map(|one| (one.to_owned(), false));
        for (command, is_whole) in typed.chain(mentions) {
            if let Err(why) = parse(&command, is_whole) {
                wrong.push(format!("{}: {command}: {why}", path.display()));
            }
            whole += usize::from(is_whole);
            mentioned += usize::from(!is_whole);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(whole > 40 && mentioned > 40, "{whole} whole, {mentioned} mentioned");
}

#[test]
fn alerts_advise_commands_that_are_there() {
    let rules = ["alerts.yaml", "backup.yaml"];
    let rules = rules.map(|name| read(&root().join("deploy/prometheus").join(name))).concat();
    // A command may go on in the next line.
    let rules = rules.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let commands = mentions(&rules);
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        parse(command, false).unwrap_or_else(|why| panic!("{command}: {why}"));
    }
}

#[test]
fn systemd_starts_commands_that_are_there() {
    let units = std::fs::read_dir(root().join("deploy/systemd")).unwrap().flatten();
    let units: Vec<_> = units.map(|file| whole_lines(&file.path())).collect();
    let started = units.iter().flat_map(|unit| unit.lines());
    let started = started.filter_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/"));
    let started: Vec<_> = started.map(|command| parse(command, true)).collect();
    assert_eq!(started, [Ok(()), Ok(()), Ok(())]);
}

/// A file in which no line goes on in the next.
fn whole_lines(path: &Path) -> String {
    read(path).replace("\\\n", " ")
}

#[test]
fn operators_have_the_ledger_of_the_service() {
    for name in ["tonemill.service", "tonemill-backup.service", "tonemill-admin"] {
        let file = whole_lines(&root().join("deploy/systemd").join(name));
        let words: Vec<&str> = file.split_whitespace().collect();
        let says = |one: &str, other: &str| words.windows(2).any(|pair| pair == [one, other]);
        assert!(says("--config", "/etc/tonemill/tonemill.toml"), "{name}");
        assert!(says("--data", "/var/lib/tonemill"), "{name}");
        let has = |end: &str| words.iter().any(|word| word.ends_with(end));
        assert!(has("EnvironmentFile=-/etc/tonemill/secrets"), "{name}");
        assert!(has("User=tonemill") || has("--uid=tonemill"), "{name}");
    }
}

#[test]
fn what_is_no_command_is_noticed() {
    assert!(parse("tonemill serve --listen 0.0.0.0:80 > log", true).is_ok());
    assert!(parse("tonemill jobs retry JOB", true).is_ok());
    for wrong in ["tonemill serve --lisen 0.0.0.0:80", "tonemill admin job list", "tonemill x"] {
        assert!(parse(wrong, false).is_err(), "{wrong}");
    }
    for wrong in ["tonemill convert", "tonemill jobs retry it", "tonemill serve --grace soon"] {
        assert!(parse(wrong, true).is_err(), "{wrong}");
        assert!(parse(wrong, false).is_ok(), "{wrong}");
    }
}

/// As GitHub names headings in links.
fn anchors(book: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = book.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    let titles = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let is_kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
    titles
        .map(|title| title.chars().filter(is_kept).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let (mut broken, mut followed) = (Vec::new(), 0);
    for (path, book) in books() {
        for link in book.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let there = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let has_anchor = || anchor.is_empty() || anchors(&read(&there)).contains(anchor);
            if !(there.exists() && has_anchor()) {
                broken.push(format!("{}: {link}", path.display()));
            }
            followed += 1;
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(followed > 40, "{followed}");
}

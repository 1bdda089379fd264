//! Where MP3s go: every input has an output of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::args::convert::{FileArgs, PartArgs};
use crate::text::shown;

/// Where one output goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

impl Target {
    /// What to call it.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File(path) => shown(path),
        }
    }

    /// The path as it was given.
    pub fn as_path(&self) -> &Path {
        match self {
            Self::Stdout => Path::new("-"),
            Self::File(path) => path,
        }
    }
}

impl FileArgs {
    /// Inputs with their outputs, which differ from each other; or what is wrong with them.
    pub fn jobs(&self) -> Result<Vec<(PathBuf, Target)>, String> {
        if self.outputs.output.is_some() && self.inputs.len() > 1 {
            return Err("-o takes a single input: use -d DIR for several".to_owned());
        }
        let mut outputs = HashMap::new();
        let mut jobs = Vec::new();
        for input in &self.inputs {
            let target = self.target(input)?;
            if matches!(&target, Target::File(path) if same_file(input, path)) {
                let name = shown(input);
                return Err(format!("{name} would overwrite itself: name another output"));
            }
            if let Some(other) = outputs.insert(place_of(&target), input) {
                let (other, input) = (shown(other), shown(input));
                return Err(format!(
                    "{other} and {input} have the same output: convert them apart"
                ));
            }
            jobs.push((input.clone(), target));
        }
        Ok(jobs)
    }

    fn target(&self, input: &Path) -> Result<Target, String> {
        let is_dash = |path: &Path| path.as_os_str() == "-";
        match (&self.outputs.output, &self.outputs.dir) {
            (Some(output), _) if is_dash(output) => Ok(Target::Stdout),
            (Some(output), _) => Ok(Target::File(output.clone())),
            (None, None) if is_dash(input) => Ok(Target::Stdout),
            (None, Some(_)) if is_dash(input) => Err("standard input needs -o".to_owned()),
            (None, dir) => {
                let named = input.with_extension("mp3");
                let name =
                    named.file_name().ok_or_else(|| format!("{} is no file", shown(input)))?;
                Ok(Target::File(match dir {
                    Some(dir) => dir.join(name),
                    None => named.clone(),
                }))
            }
        }
    }
}

impl PartArgs {
    /// Whether there is anything between start and end.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.end.is_some_and(|end| end <= self.start.unwrap_or(0.0)) {
            return Err("--end must come after --start");
        }
        Ok(())
    }
}

/// What is wrong with how the subcommand `name` is used.
pub fn usage(name: &str, message: &str) -> clap::Error {
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut(name) {
        Some(subcommand) => subcommand.error(ErrorKind::ValueValidation, message),
        None => clap::Error::raw(ErrorKind::ValueValidation, message),
    }
}

/// A target whose folder is spelt in one way only.
fn place_of(target: &Target) -> Target {
    let Target::File(path) = target else { return Target::Stdout };
    let folder = path.parent().map(|p| if p == Path::new("") { Path::new(".") } else { p });
    match (folder.and_then(|folder| folder.canonicalize().ok()), path.file_name()) {
        (Some(folder), Some(name)) => Target::File(folder.join(name)),
        _ => target.clone(),
    }
}

/// Whether both names lead to one existing file.
fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

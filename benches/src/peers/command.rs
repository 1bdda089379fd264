//! A command line: how it is run, how it is shown, and its output as text.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::BenchError;

/// A command to run in the run folder.
#[derive(Clone, Debug)]
pub struct CommandLine {
    /// What is started.
    pub program: PathBuf,
    /// What is shown instead of the path of the program.
    pub shown: String,
    /// Arguments.
    pub arguments: Vec<String>,
    /// Variables set for it, beside those of the caller.
    pub environment: Vec<(&'static str, &'static str)>,
    /// Whether it does its work in child processes, whose memory must be added to its own.
    pub has_children: bool,
}

impl CommandLine {
    /// A program found by its name.
    #[must_use]
    pub fn new(program: &str, arguments: &[&str]) -> Self {
        Self {
            program: PathBuf::from(program),
            shown: program.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: Vec::new(),
            has_children: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with(mut self, arguments: impl IntoIterator<Item = String>) -> Self {
        self.arguments.extend(arguments);
        self
    }

    /// The command, ready to start in `folder`, with no standard input.
    #[must_use]
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(folder).stdin(Stdio::null());
        command.envs(self.environment.iter().copied());
        command
    }

    /// Runs it to its end and returns what it wrote to its standard output.
    pub fn text(&self, folder: &Path) -> Result<String, BenchError> {
        let output = self.command(folder).output().map_err(|source| self.missing(source))?;
        if !output.status.success() {
            return Err(self.failed(output.status, &String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The error for a program that does not start.
    #[must_use]
    pub fn missing(&self, source: std::io::Error) -> BenchError {
        BenchError::Missing {
            program: self.shown.clone(),
            remedy: "install it (Debian: apt-get install ffmpeg lame mediainfo python3-venv)",
            source,
        }
    }

    /// The error for a program that ends badly; keeps the end of what it said.
    #[must_use]
    pub fn failed(&self, status: std::process::ExitStatus, stderr: &str) -> BenchError {
        let tail: Vec<&str> = stderr.trim().lines().rev().take(5).collect();
        BenchError::Failed {
            command: self.to_string(),
            status: status.to_string(),
            stderr: tail.into_iter().rev().collect::<Vec<_>>().join("\n"),
        }
    }

    /// The command line with only the first of many inputs.
    #[must_use]
    pub fn abridged(&self) -> String {
        let is_input = |argument: &String| argument.starts_with("media/clips/");
        let inputs = self.arguments.iter().filter(|argument| is_input(argument)).count();
        if inputs < 3 {
            return self.to_string();
        }
        let mut short = self.clone();
        short.arguments.clear();
        let mut seen = 0;
        for argument in &self.arguments {
            seen += usize::from(is_input(argument));
            if !is_input(argument) || seen == 1 {
                short.arguments.push(argument.clone());
            } else if seen == inputs {
                short.arguments.push(format!("[… {inputs} inputs]"));
            }
        }
        short
            .to_string()
            .replace(&format!("'[… {inputs} inputs]'"), &format!("[… {inputs} inputs]"))
    }
}

/// As one would type it in a shell.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={value} ")?;
        }
        f.write_str(&self.shown)?;
        for argument in &self.arguments {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,%@".contains(c);
            if !argument.is_empty() && argument.chars().all(plain) {
                write!(f, " {argument}")?;
            } else {
                write!(f, " '{}'", argument.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_typed() {
        let mut line = CommandLine::new("ffmpeg", &["-i", "it's a video.mp4", "-map", "0:a:0", ""]);
        line.environment.push(("A", "b"));
        assert_eq!(line.to_string(), r"A=b ffmpeg -i 'it'\''s a video.mp4' -map 0:a:0 ''");
    }

    #[test]
    fn many_inputs_are_abridged() {
        let clips = (0..50).map(|clip| format!("media/clips/{clip:02}.mp4"));
        let line = CommandLine::new("tonemill", &["convert"]).with(clips).with(["-d".to_owned()]);
        assert_eq!(line.abridged(), "tonemill convert media/clips/00.mp4 [… 50 inputs] -d");
    }

    #[test]
    fn a_failure_keeps_what_was_said() {
        let line = CommandLine::new("sh", &["-c", "echo no such thing >&2; exit 3"]);
        let error = line.text(Path::new("/")).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such thing"), "{error}");
    }
}

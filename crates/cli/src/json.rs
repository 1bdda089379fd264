//! `--json`: a line per file on standard output, with the report or the error.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::exit::Outcome;
use crate::failure::Failure;

/// One line: where from and where to, then the report or the error.
#[derive(Serialize)]
pub struct Line<'a, R> {
    input_path: Cow<'a, str>,
    output_path: Option<Cow<'a, str>>,
    #[serde(flatten)]
    report: Option<&'a R>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
}

impl<'a, R: Serialize> Line<'a, R> {
    pub fn converted(input: &'a Path, output: &'a Path, report: &'a R) -> Self {
        Self {
            input_path: input.to_string_lossy(),
            output_path: Some(output.to_string_lossy()),
            report: Some(report),
            error: None,
        }
    }

    pub fn failed(input: &'a Path, error: &'a Failure) -> Self {
        Self {
            input_path: input.to_string_lossy(),
            output_path: None,
            report: None,
            error: Some(error),
        }
    }

    pub fn print(&self) -> Outcome {
        print_json(self)
    }
}

/// Prints a value as a line of JSON.
pub fn print_json(value: &impl Serialize) -> Outcome {
    match serde_json::to_string(value) {
        Ok(text) => print_line(&text),
        Err(error) => lost(&error.into()),
    }
}

/// Prints a line to standard output. If that fails, it says so, and is a fault; that nobody reads
/// any more is none.
pub fn print_line(text: &str) -> Outcome {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => lost(&error),
        _ => Outcome::Done,
    }
}

/// Prints a line that is told once: that nobody reads any more is a fault as well.
pub fn print_line_to_somebody(text: &str) -> Outcome {
    writeln!(io::stdout(), "{text}").map_or_else(|error| lost(&error), |()| Outcome::Done)
}

/// Prints lines as far as they can be printed.
pub fn print_lines<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> Outcome {
    let mut printed = lines.into_iter().map(|line| print_line(line.as_ref()));
    printed.find(|outcome| *outcome != Outcome::Done).unwrap_or(Outcome::Done)
}

fn lost(error: &io::Error) -> Outcome {
    let advice = "check where the output goes";
    Failure::fault(format!("the report cannot be written: {error}"), advice).tell()
}

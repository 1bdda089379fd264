//! `--json`: a line per file on standard output, with the report or the error.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use tonemill_codec::ErrorKind;

/// One line: where from and where to, then the report or the error.
#[derive(Serialize)]
pub struct Line<'a, R> {
    input_path: Cow<'a, str>,
    output_path: Option<Cow<'a, str>>,
    #[serde(flatten)]
    report: Option<&'a R>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorFacts<'a>>,
}

/// What went wrong.
#[derive(Serialize)]
pub struct ErrorFacts<'a> {
    pub kind: ErrorKind,
    pub message: &'a str,
    pub advice: &'a str,
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

    pub fn failed(input: &'a Path, error: ErrorFacts<'a>) -> Self {
        Self {
            input_path: input.to_string_lossy(),
            output_path: None,
            report: None,
            error: Some(error),
        }
    }

    /// Prints it; false, after telling so, if that failed.
    pub fn print(&self) -> bool {
        match serde_json::to_string(self) {
            Ok(text) => print_line(&text),
            Err(error) => tell_lost(&error.into()),
        }
    }
}

/// Prints a line to standard output; false, after telling so, if that failed. That nobody reads any
/// more is no failure.
pub fn print_line(text: &str) -> bool {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => tell_lost(&error),
        _ => true,
    }
}

fn tell_lost(error: &io::Error) -> bool {
    eprintln!("tonemill: the report cannot be written: {error}: check where the output goes");
    false
}

//! Versions of everything that took part.

use std::path::Path;

use serde::Serialize;

use super::command::CommandLine;
use super::moviepy;
use super::options::{Options, Peer};
use super::place::Place;
use crate::error::BenchError;

/// Versions, each as the program itself gives it; `None` where it took no part.
#[derive(Debug, Serialize)]
pub struct Versions {
    /// `tonemill --version`, and the commit that is checked out.
    pub tonemill: String,
    /// First line of `ffmpeg -version`.
    pub ffmpeg: String,
    /// First line of `lame --version`.
    pub lame: Option<String>,
    /// moviepy and its Python.
    pub moviepy: Option<String>,
    /// The compiler.
    pub rustc: String,
    /// Day of the run, UTC.
    pub day: String,
}

impl Versions {
    /// Asks every program.
    pub fn read(options: &Options, place: &Place) -> Result<Self, BenchError> {
        let here = Path::new(".");
        let first = |command: CommandLine, folder: &Path| {
            command.text(folder).map(|text| text.lines().next().unwrap_or("").trim().to_owned())
        };
        let mut tonemill = CommandLine::new("tonemill", &["--version"]);
        tonemill.program.clone_from(&place.tonemill);
        let lame = options.peers.contains(&Peer::Lame);
        let moviepy = options.peers.contains(&Peer::Moviepy) && moviepy::is_installed(place);
        Ok(Self {
            tonemill: first(tonemill, &place.run)? + &commit(here),
            ffmpeg: first(CommandLine::new("ffmpeg", &["-version"]), here)?,
            lame: lame
                .then(|| first(CommandLine::new("lame", &["--version"]), here))
                .transpose()?,
            moviepy: moviepy.then(|| moviepy::version(place)).transpose()?,
            rustc: first(CommandLine::new("rustc", &["--version"]), here)?,
            day: first(CommandLine::new("date", &["-u", "+%F"]), here)?,
        })
    }
}

/// In brackets; empty outside a repository. Changes count where they change the program.
fn commit(repository: &Path) -> String {
    let git = |arguments: &[&str]| CommandLine::new("git", arguments).text(repository);
    let Ok(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return String::new() };
    let status = git(&["status", "--porcelain", "--", "crates", "Cargo.toml", "Cargo.lock"]);
    let changed = if status.is_ok_and(|list| list.is_empty()) { "" } else { " with changes" };
    format!(" ({}{changed})", commit.trim())
}

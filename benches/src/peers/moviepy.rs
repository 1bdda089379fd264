//! moviepy: its virtual environment, with every version pinned, and the script that calls it.

use std::fs;
use std::path::PathBuf;

use super::command::CommandLine;
use super::place::Place;
use crate::error::{BenchError, file};

/// What `pip freeze` said after `pip install moviepy` under Python 3.11.
const REQUIREMENTS: &str = include_str!("moviepy/requirements.txt");
const SCRIPT: &str = include_str!("moviepy/convert.py");
const SCRIPT_NAME: &str = "moviepy_convert.py";

/// Makes the virtual environment unless it holds these very versions, and writes the script.
pub fn install(place: &Place, python: &str) -> Result<(), BenchError> {
    let script = place.run.join(SCRIPT_NAME);
    fs::write(&script, SCRIPT).map_err(file("write", &script))?;
    if is_installed(place) {
        return Ok(());
    }
    eprintln!("installing moviepy (once)");
    let wanted = place.run.join("requirements.txt");
    fs::write(&wanted, REQUIREMENTS).map_err(file("write", &wanted))?;
    let venv = place.venv.display().to_string();
    CommandLine::new(python, &["-m", "venv", "--clear", &venv]).text(&place.run)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    CommandLine::new("venv/bin/python", &pip)
        .with(["-r".to_owned(), "requirements.txt".to_owned()])
        .text(&place.run)?;
    let stamp = stamp(place);
    fs::write(&stamp, REQUIREMENTS).map_err(file("write", &stamp))
}

/// Whether the virtual environment holds these very versions.
#[must_use]
pub fn is_installed(place: &Place) -> bool {
    fs::read_to_string(stamp(place)).is_ok_and(|installed| installed == REQUIREMENTS)
}

/// Written last, with what was installed.
fn stamp(place: &Place) -> PathBuf {
    place.venv.join("installed.txt")
}

/// moviepy converting all inputs in one process.
///
/// `FFMPEG_BINARY` makes it use the ffmpeg that its rivals are measured with, not the one that
/// comes with its package `imageio-ffmpeg`.
#[must_use]
pub fn command(inputs: &[String], folder: &str) -> CommandLine {
    let mut command =
        CommandLine::new("venv/bin/python", &[SCRIPT_NAME, folder]).with(inputs.iter().cloned());
    command.environment.push(("FFMPEG_BINARY", "ffmpeg"));
    command.has_children = true;
    command
}

/// The versions of moviepy and Python.
///
/// Asked of the package, for moviepy 2.2.1 calls itself 2.1.2.
pub fn version(place: &Place) -> Result<String, BenchError> {
    let show = "import importlib.metadata as m, platform as p; \
                print('moviepy', m.version('moviepy') + ', Python', p.python_version())";
    let text = CommandLine::new("venv/bin/python", &["-c", show]).text(&place.run)?;
    Ok(text.trim().to_owned())
}

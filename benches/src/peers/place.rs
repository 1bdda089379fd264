//! The folders of a comparison.
//!
//! Everything is started in `run/` and sees its inputs through links there, so that command lines
//! and reports hold short relative paths whatever the machine: `media/long.mp4`, `out/clip/…`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::options::Options;
use crate::error::{BenchError, file};

/// The folders of a comparison; all absolute.
#[derive(Debug)]
pub struct Place {
    /// Where commands run. Holds `media`, `venv` and `video` (links) and `out`.
    pub run: PathBuf,
    /// Where the media are kept between runs.
    pub media: PathBuf,
    /// moviepy's virtual environment.
    pub venv: PathBuf,
    /// The program under test.
    pub tonemill: PathBuf,
    /// `--video`, seen from `run`.
    pub video: Option<String>,
}

impl Place {
    /// Makes the folders and the links.
    pub fn prepare(options: &Options) -> Result<Self, BenchError> {
        let work = made(&options.work)?;
        let media = made(options.media.as_deref().unwrap_or(&work.join("media")))?;
        let run = made(&work.join("run"))?;
        let venv = work.join("venv");
        link(&media, &run.join("media"))?;
        link(&venv, &run.join("venv"))?;
        let video = match &options.video {
            Some(video) => Some(link_video(video, &run)?),
            None => None,
        };
        let tonemill = options.tonemill.canonicalize().map_err(|source| BenchError::Missing {
            program: options.tonemill.display().to_string(),
            remedy: "build it with `cargo build --release` or name it with --tonemill",
            source,
        })?;
        Ok(Self { run, media, venv, tonemill, video })
    }

    /// An empty folder `out/…` for the outputs of one program, seen from `run`.
    pub fn empty_output(&self, folder: &str) -> Result<(), BenchError> {
        let path = self.run.join(folder);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(file("empty", &path)(error)),
            _ => made(&path).map(drop),
        }
    }

    /// The text without the machine's own paths.
    #[must_use]
    pub fn without_machine_paths(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (folder, name) in [(&self.run, ""), (&self.media, "media/")] {
            text = text.replace(&format!("{}/", folder.display()), name);
        }
        text
    }
}

/// Links to the folder of the video, not to the file: some programs look at a link's target name.
fn link_video(video: &Path, run: &Path) -> Result<String, BenchError> {
    let video = video.canonicalize().map_err(file("find", video))?;
    let (Some(folder), Some(name)) = (video.parent(), video.file_name().and_then(|n| n.to_str()))
    else {
        return Err(BenchError::Unreadable {
            what: "--video".to_owned(),
            detail: "not a file with a UTF-8 name".to_owned(),
        });
    };
    link(folder, &run.join("video"))?;
    Ok(format!("video/{name}"))
}

fn link(target: &Path, link: &Path) -> Result<(), BenchError> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file("replace", link)(error)),
        _ => symlink(target, link).map_err(file("create", link)),
    }
}

/// Creates the folder where it is missing.
pub fn made(folder: &Path) -> Result<PathBuf, BenchError> {
    fs::create_dir_all(folder).map_err(file("create", folder))?;
    folder.canonicalize().map_err(file("find", folder))
}

//! The videos, made once with the ffmpeg program out of real music and a cheap moving picture.
//!
//! A file appears under its name only when it is complete, and is then kept for later runs.

use std::fs;
use std::path::{Path, PathBuf};

use super::command::CommandLine;
use super::place::{Place, made};
use super::workloads::Input;
use crate::error::{BenchError, file};

/// Where Debian's package `wesnoth-1.16-music` puts its tracks, below a folder with the version.
const MUSIC: (&str, &str) = ("/usr/share/games/wesnoth", "data/core/music");
const CLIPS: u32 = 50;
const CLIP_SECONDS: u32 = 5;
const LONG_SECONDS: u32 = 3600;
const PICTURE: &str = "testsrc2=s=320x180:r=10";

/// The long video; its path in the media folder.
pub fn long(place: &Place) -> Result<&'static str, BenchError> {
    music_video(place, "long.mp4", 0, LONG_SECONDS)
}

/// The five-minute video, of music that the long one does not hold.
pub fn five_minutes(place: &Place) -> Result<&'static str, BenchError> {
    music_video(place, "five-minutes.mp4", LONG_SECONDS, 300)
}

/// The clips, from places spread evenly over the long video.
pub fn clips(place: &Place) -> Result<Vec<String>, BenchError> {
    long(place)?;
    made(&place.media.join("clips"))?;
    let length = CLIP_SECONDS.to_string();
    (0..CLIPS)
        .map(|clip| {
            let start = (clip * LONG_SECONDS / CLIPS).to_string();
            let name = format!("clips/clip-{clip:02}.mp4");
            make(place, &name, |out| {
                ffmpeg(&["-ss", &start, "-i", "media/long.mp4", "-t", &length])
                    .with(PICTURE_AND_AAC.map(str::to_owned))
                    .with([out])
            })?;
            Ok(name)
        })
        .collect()
}

/// The WAVs that lame reads.
pub fn wavs(place: &Place, inputs: &[Input]) -> Result<(), BenchError> {
    made(&place.media.join("wav"))?;
    for input in inputs {
        let name = input.wav.trim_start_matches("media/");
        let (wav, source) = (place.media.join(name), place.run.join(&input.media));
        if changed(&wav).is_some_and(|wav| changed(&source).is_some_and(|source| wav < source)) {
            fs::remove_file(&wav).map_err(file("replace", &wav))?;
        }
        make(place, name, |out| {
            ffmpeg(&["-i", &input.media, "-vn", "-map", "0:a:0", "-c:a", "pcm_s16le"]).with([out])
        })?;
    }
    Ok(())
}

/// A lossless piece of the music, `seconds` from `start`, at 48 kHz.
pub fn music(place: &Place, name: &str, start: u32, seconds: u32) -> Result<(), BenchError> {
    make_checked(place, name, |out| {
        let (inputs, graph) = music_graph(start, seconds)?;
        let settings = ["-map", "[a]", "-c:a", "flac", "-ar", "48000", "-sample_fmt", "s16"];
        Ok(ffmpeg(&[])
            .with(inputs)
            .with(["-t".to_owned(), seconds.to_string(), "-filter_complex".to_owned(), graph])
            .with(settings.map(str::to_owned))
            .with([out]))
    })
}

const PICTURE_AND_AAC: [&str; 14] = [
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-pix_fmt",
    "yuv420p",
    "-c:a",
    "aac",
    "-b:a",
    "192k",
    "-ac",
    "2",
    "-ar",
    "44100",
];

fn music_video(
    place: &Place,
    name: &'static str,
    start: u32,
    seconds: u32,
) -> Result<&'static str, BenchError> {
    make_checked(place, name, |out| {
        let (inputs, graph) = music_graph(start, seconds)?;
        let picture = format!("{}:v", inputs.len() / 2);
        let map = ["-f", "lavfi", "-i", PICTURE, "-map", &picture, "-map", "[a]", "-t"];
        Ok(ffmpeg(&[])
            .with(inputs)
            .with(map.map(str::to_owned))
            .with([seconds.to_string(), "-filter_complex".to_owned(), graph])
            .with(PICTURE_AND_AAC.map(str::to_owned))
            .with([out]))
    })?;
    Ok(name)
}

/// `-i` options for all tracks, and a filter graph that gives a piece of their concatenation.
fn music_graph(start: u32, seconds: u32) -> Result<(Vec<String>, String), BenchError> {
    let tracks = tracks()?;
    let pads = (0..tracks.len()).map(|track| format!("[{track}:a]")).collect::<Vec<_>>().concat();
    let graph = format!(
        "{pads}concat=n={}:v=0:a=1,atrim=start={start}:duration={seconds},asetpts=PTS-STARTPTS[a]",
        tracks.len()
    );
    let inputs = tracks.iter().flat_map(|track| ["-i".to_owned(), track.display().to_string()]);
    Ok((inputs.collect(), graph))
}

/// All tracks, by name.
fn tracks() -> Result<Vec<PathBuf>, BenchError> {
    let (root, below) = MUSIC;
    let mut tracks = Vec::new();
    for version in fs::read_dir(root).into_iter().flatten().flatten() {
        let files = fs::read_dir(version.path().join(below)).into_iter().flatten().flatten();
        tracks.extend(files.map(|file| file.path()));
    }
    tracks.retain(|track| track.extension().is_some_and(|extension| extension == "ogg"));
    tracks.sort();
    if tracks.is_empty() {
        return Err(BenchError::NoMusic { folder: format!("{root}/*/{below}") });
    }
    Ok(tracks)
}

/// ffmpeg, quiet, overwriting.
#[must_use]
pub fn ffmpeg(arguments: &[&str]) -> CommandLine {
    CommandLine::new("ffmpeg", &["-nostdin", "-v", "error", "-y"])
        .with(arguments.iter().map(|&argument| argument.to_owned()))
}

/// Makes a file of the media folder unless it is there; the command writes to the path it is given.
pub fn make(
    place: &Place,
    name: &str,
    command: impl FnOnce(String) -> CommandLine,
) -> Result<(), BenchError> {
    make_checked(place, name, |out| Ok(command(out)))
}

fn make_checked(
    place: &Place,
    name: &str,
    command: impl FnOnce(String) -> Result<CommandLine, BenchError>,
) -> Result<(), BenchError> {
    let path = place.media.join(name);
    if path.exists() {
        return Ok(());
    }
    eprintln!("making {name} (once)");
    let (folder, file_name) = name.rsplit_once('/').unwrap_or((".", name));
    let unfinished = format!("{folder}/unfinished-{file_name}");
    command(format!("media/{unfinished}"))?.text(&place.run)?;
    fs::rename(place.media.join(unfinished), &path).map_err(file("name", &path))
}

fn changed(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

//! Who takes part, and the exact commands each of them runs.
//!
//! All encode MP3 at a constant 192 kbit/s with LAME quality 3, joint stereo, and the sample rate
//! of the source.

use std::fs;

use serde::Serialize;

use super::command::CommandLine;
use super::moviepy;
use super::place::Place;
use super::workloads::Input;
use crate::error::{BenchError, file};
use crate::machine;

/// Bits per second that everyone is asked for.
pub const BITRATE: u64 = 192_000;

/// Someone who converts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// The program under test: one process for all inputs.
    Tonemill,
    /// One ffmpeg process per input, one after the other.
    Ffmpeg,
    /// One ffmpeg process per input, as many at a time as there are cores.
    FfmpegParallel,
    /// One lame process per input, one after the other, from WAV.
    Lame,
    /// One Python process for all inputs.
    Moviepy,
}

impl Contender {
    /// As the report calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tonemill => "tonemill",
            Self::Ffmpeg => "ffmpeg",
            Self::FfmpegParallel => "ffmpeg-parallel",
            Self::Lame => "lame",
            Self::Moviepy => "moviepy",
        }
    }

    /// The commands that convert the inputs into `folder`; seen from the run folder.
    pub fn commands(
        self,
        inputs: &[Input],
        folder: &str,
        place: &Place,
    ) -> Result<Vec<CommandLine>, BenchError> {
        Ok(match self {
            Self::Tonemill => vec![tonemill(inputs, folder, place)],
            Self::Ffmpeg => inputs.iter().map(|input| ffmpeg(&input.media, folder)).collect(),
            Self::FfmpegParallel => vec![ffmpeg_parallel(inputs, place)?],
            Self::Lame => inputs.iter().map(|input| lame(input, folder)).collect(),
            Self::Moviepy => {
                let media: Vec<String> = inputs.iter().map(|input| input.media.clone()).collect();
                vec![moviepy::command(&media, folder)]
            }
        })
    }
}

fn tonemill(inputs: &[Input], folder: &str, place: &Place) -> CommandLine {
    let mut command = CommandLine::new("tonemill", &["convert"])
        .with(inputs.iter().map(|input| input.media.clone()));
    command.program.clone_from(&place.tonemill);
    let target = match inputs {
        [input] => ["-o".to_owned(), input.output(folder)],
        _ => ["-d".to_owned(), folder.to_owned()],
    };
    let settings = ["--force", "--bitrate", "192", "--quality", "3", "--json"];
    command.with(target).with(settings.map(str::to_owned))
}

const FFMPEG_INPUT: [&str; 5] = ["-nostdin", "-v", "error", "-y", "-i"];
/// In libavcodec's wrapper of LAME, `compression_level` is LAME's quality.
const FFMPEG_OUTPUT: [&str; 11] = [
    "-vn",
    "-sn",
    "-dn",
    "-map",
    "0:a:0",
    "-c:a",
    "libmp3lame",
    "-b:a",
    "192k",
    "-compression_level",
    "3",
];

fn ffmpeg(media: &str, folder: &str) -> CommandLine {
    let stem = media.rsplit('/').next().and_then(|name| name.rsplit_once('.'));
    let output = format!("{folder}/{}.mp3", stem.map_or(media, |(stem, _)| stem));
    CommandLine::new("ffmpeg", &FFMPEG_INPUT)
        .with([media.to_owned()])
        .with(FFMPEG_OUTPUT.map(str::to_owned))
        .with([output])
}

fn ffmpeg_parallel(inputs: &[Input], place: &Place) -> Result<CommandLine, BenchError> {
    let list = place.run.join("clips.txt");
    let stems: Vec<&str> = inputs.iter().map(|input| input.stem.as_str()).collect();
    fs::write(&list, stems.join("\n")).map_err(file("write", &list))?;
    let at_a_time = machine::cores().to_string();
    let one = ffmpeg("media/clips/{}.mp4", "out/batch/ffmpeg-parallel");
    let mut command =
        CommandLine::new("xargs", &["-a", "clips.txt", "-P", &at_a_time, "-I{}", "ffmpeg"])
            .with(one.arguments);
    command.has_children = true;
    Ok(command)
}

fn lame(input: &Input, folder: &str) -> CommandLine {
    CommandLine::new("lame", &["--quiet", "-b", "192", "-q", "3"])
        .with([input.wav.clone(), input.output(folder)])
}

/// Which LAME quality the ffmpeg program uses when it is given none, as moviepy gives it none:
/// found by encoding five seconds both ways and comparing the bytes.
pub fn ffmpeg_default_quality(place: &Place) -> Result<Option<u8>, BenchError> {
    let noise = "anoisesrc=d=5:r=44100:c=pink:s=1,aformat=cl=stereo";
    let digest = |quality: Option<u8>| {
        let mut command = CommandLine::new("ffmpeg", &["-nostdin", "-v", "error", "-f", "lavfi"])
            .with(["-i", noise, "-c:a", "libmp3lame", "-b:a", "192k"].map(str::to_owned));
        if let Some(quality) = quality {
            command = command.with(["-compression_level".to_owned(), quality.to_string()]);
        }
        let hash = ["-f", "streamhash", "-hash", "sha256", "-"].map(str::to_owned);
        command.with(hash).text(&place.run)
    };
    let default = digest(None)?;
    for quality in 0..=9 {
        if digest(Some(quality))? == default {
            return Ok(Some(quality));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ffmpeg_is_asked_for_equal_work() {
        assert_eq!(
            ffmpeg("media/long.mp4", "out/long/ffmpeg").to_string(),
            "ffmpeg -nostdin -v error -y -i media/long.mp4 -vn -sn -dn -map 0:a:0 -c:a libmp3lame \
             -b:a 192k -compression_level 3 out/long/ffmpeg/long.mp3"
        );
    }

    #[test]
    fn lame_is_asked_for_equal_work() {
        let input = Input::in_media("long.mp4");
        assert_eq!(
            lame(&input, "out/long/lame").to_string(),
            "lame --quiet -b 192 -q 3 media/wav/long.wav out/long/lame/long.mp3"
        );
    }
}

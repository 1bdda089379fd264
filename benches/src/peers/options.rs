//! The command line of `peers`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Compares Tonemill with the ffmpeg and lame programs and with moviepy.
#[derive(Debug, Parser)]
#[command(name = "peers", version)]
pub struct Options {
    /// What to measure; `video` is the file of --video.
    #[arg(long = "case", value_enum, value_delimiter = ',',
          default_values_t = [Case::Long, Case::FiveMinutes, Case::Clip, Case::Batch, Case::Memory])]
    pub cases: Vec<Case>,
    /// With whom.
    #[arg(long, value_enum, value_delimiter = ',',
          default_values_t = [Peer::Ffmpeg, Peer::Lame, Peer::Moviepy])]
    pub peers: Vec<Peer>,
    /// Rounds of every case, instead of 5 (long), 9 (short) and 1 (memory).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// The program under test.
    #[arg(long, default_value = "target/release/tonemill")]
    pub tonemill: PathBuf,
    /// Where to write the report (Markdown); the raw rounds go beside it as JSON.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// The folder of media, which is filled with what is missing [default: WORK/media].
    #[arg(long)]
    pub media: Option<PathBuf>,
    /// One more video to convert, as a case of its own.
    #[arg(long)]
    pub video: Option<PathBuf>,
    /// Where media, outputs and moviepy's virtual environment are kept.
    #[arg(long, default_value = "target/peers")]
    pub work: PathBuf,
    /// The Python that makes moviepy's virtual environment.
    #[arg(long, default_value = "python3")]
    pub python: String,
}

/// A kind of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// One video of an hour.
    Long,
    /// One video of five minutes.
    FiveMinutes,
    /// One clip of five seconds.
    Clip,
    /// Fifty clips of five seconds.
    Batch,
    /// Ten minutes against ten hours: Tonemill's memory only.
    Memory,
    /// The file of `--video`.
    Video,
}

/// A program to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// The `ffmpeg` program.
    Ffmpeg,
    /// The `lame` program, from WAV.
    Lame,
    /// moviepy, as in the well-known tutorial.
    Moviepy,
}

impl Options {
    /// The cases, with `video` whenever a file was given.
    #[must_use]
    pub fn all_cases(&self) -> Vec<Case> {
        let mut cases = self.cases.clone();
        if self.video.is_some() && !cases.contains(&Case::Video) {
            cases.push(Case::Video);
        }
        cases
    }

    /// The rounds of a case.
    #[must_use]
    pub fn rounds_of(&self, case: Case) -> u32 {
        self.rounds.unwrap_or(match case {
            Case::Long | Case::FiveMinutes | Case::Video => 5,
            Case::Clip | Case::Batch => 9,
            Case::Memory => 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }

    #[test]
    fn a_video_adds_its_case_once() {
        let options = Options::parse_from(["peers", "--case", "clip,video", "--video", "a.mp4"]);
        assert_eq!(options.all_cases(), [Case::Clip, Case::Video]);
        let options = Options::parse_from(["peers", "--case", "clip", "--video", "a.mp4"]);
        assert_eq!(options.all_cases(), [Case::Clip, Case::Video]);
    }
}

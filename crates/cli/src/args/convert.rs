//! What the user may say of files that are to be converted, here or elsewhere: which, how, and
//! where the MP3s go.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tonemill_job::message::{ChannelOption, DecoderOption};
use tonemill_job::options::{
    BITRATES_KBPS, MEAN_BITRATES_KBPS, QUALITIES, SAMPLE_RATES_HZ, VBR_LEVELS,
};

use crate::text::parse_time;

/// Heading of the options for how, and how far, to go.
const LIMITS: &str = "Care and limits";

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all converted; 1 some input was bad; 2 wrong usage, or an \
    output exists already; 3 a defect of Tonemill or the machine; 130 interrupted. Of several \
    files the worst counts, in the order 0, 2, 1, 3, 130.")]
pub struct ConvertArgs {
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub conversion: ConversionArgs,
    /// Threads that encode [default: one per core]
    #[arg(long, value_name = "N", help_heading = LIMITS,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Longest audio that is accepted, in seconds or HH:MM:SS [default: 12:00:00]
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = LIMITS)]
    pub max_duration: Option<f64>,
    /// Longest time to spend on one file, in seconds or HH:MM:SS [default: 6:00:00]
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = LIMITS)]
    pub timeout: Option<f64>,
}

#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// The file; "-" for standard input
    pub input: PathBuf,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
    /// The library that reads the file
    #[arg(long, value_enum, default_value_t)]
    pub decoder: DecoderArg,
}

/// What is to be made of each file, whoever does it.
#[derive(Debug, Args)]
pub struct ConversionArgs {
    #[command(flatten)]
    pub sound: SoundArgs,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub tags: TagArgs,
    #[command(flatten)]
    pub care: CareArgs,
}

#[derive(Debug, Args)]
pub struct FileArgs {
    /// Files to convert; "-" for standard input
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub outputs: OutputArgs,
}

/// Where MP3s go, and what is said about it.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// The output of a single input; "-" for standard output [default: the input's name with .mp3]
    #[arg(short, long, value_name = "OUT", conflicts_with = "dir")]
    pub output: Option<PathBuf>,
    /// Folder for the outputs, made if it is not there [default: beside each input]
    #[arg(short, long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Replace outputs that exist
    #[arg(long, short_alias = 'y')]
    pub force: bool,
    /// Print a line of JSON per file
    #[arg(long)]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(short, long)]
    pub quiet: bool,
}

/// What to do with input that is not whole, and what reads it.
#[derive(Debug, Args)]
pub struct CareArgs {
    /// Refuse input that ends early or is damaged, instead of converting what is there
    #[arg(long, help_heading = LIMITS)]
    pub strict: bool,
    /// The library that decodes
    #[arg(long, value_enum, default_value_t, help_heading = LIMITS)]
    pub decoder: DecoderArg,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sound")]
pub struct SoundArgs {
    /// Constant bitrate in kbit/s, 8 to 320 [default: 192]
    #[arg(long, value_name = "K", value_parser = bitrate, conflicts_with_all = ["abr", "vbr"])]
    pub bitrate: Option<u32>,
    /// Average bitrate in kbit/s, 8 to 310
    #[arg(long, value_name = "K", value_parser = mean_bitrate, conflicts_with = "vbr")]
    pub abr: Option<u32>,
    /// Variable bitrate, from 0 (best) to 9 (smallest)
    #[arg(long, value_name = "0-9", value_parser = vbr_level)]
    pub vbr: Option<u8>,
    /// LAME's effort, from 0 (slowest, best) to 9 (fastest)
    #[arg(long, value_name = "0-9", value_parser = quality, default_value = "3")]
    pub quality: u8,
    /// Channels of the output
    #[arg(long, value_enum, default_value_t)]
    pub channels: ChannelArg,
    /// Sample rate in Hz, 8000 to 48000; "auto" keeps the input's where MP3 has it
    #[arg(long, value_name = "HZ", value_parser = rate, default_value = "auto")]
    pub rate: RateArg,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub struct PartArgs {
    /// Audio track, counting from 0 as `tonemill probe` does
    #[arg(long, value_name = "N", conflicts_with = "lang")]
    pub track: Option<usize>,
    /// Audio track in this language, such as "de", "deu" or "ger"
    #[arg(long, value_name = "CODE")]
    pub lang: Option<String>,
    /// Start here, in seconds or HH:MM:SS.fff
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub start: Option<f64>,
    /// End here
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub end: Option<f64>,
}

/// Each overrides the input's tag; an empty text removes it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tags (override the input's; \"\" removes one)")]
pub struct TagArgs {
    /// Title
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Artist
    #[arg(long, value_name = "TEXT")]
    pub artist: Option<String>,
    /// Album
    #[arg(long, value_name = "TEXT")]
    pub album: Option<String>,
    /// Artist of the whole album
    #[arg(long, value_name = "TEXT")]
    pub album_artist: Option<String>,
    /// Number of the track in the album, such as 3 or 3/12
    #[arg(long, value_name = "TEXT")]
    pub track_number: Option<String>,
    /// Number of the disc
    #[arg(long, value_name = "TEXT")]
    pub disc_number: Option<String>,
    /// Year or date
    #[arg(long, value_name = "TEXT")]
    pub date: Option<String>,
    /// Genre
    #[arg(long, value_name = "TEXT")]
    pub genre: Option<String>,
    /// Composer
    #[arg(long, value_name = "TEXT")]
    pub composer: Option<String>,
    /// Comment
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Copyright
    #[arg(long, value_name = "TEXT")]
    pub copyright: Option<String>,
    /// Publisher
    #[arg(long, value_name = "TEXT")]
    pub publisher: Option<String>,
    /// Leave out the input's tags and chapters
    #[arg(long)]
    pub no_tags: bool,
    /// Leave out the input's cover
    #[arg(long)]
    pub no_cover: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum DecoderArg {
    #[default]
    Ffmpeg,
    Symphonia,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum ChannelArg {
    #[default]
    Auto,
    #[value(alias = "1")]
    Mono,
    #[value(alias = "2")]
    Stereo,
}

/// A sample rate of the output, in Hz; `None` keeps the input's.
#[derive(Debug, Clone, Copy)]
pub struct RateArg(pub Option<u32>);

impl From<DecoderArg> for DecoderOption {
    fn from(arg: DecoderArg) -> Self {
        match arg {
            DecoderArg::Ffmpeg => Self::Ffmpeg,
            DecoderArg::Symphonia => Self::Symphonia,
        }
    }
}

impl From<ChannelArg> for ChannelOption {
    fn from(arg: ChannelArg) -> Self {
        match arg {
            ChannelArg::Auto => Self::Auto,
            ChannelArg::Mono => Self::Mono,
            ChannelArg::Stereo => Self::Stereo,
        }
    }
}

fn number<T: std::str::FromStr>(
    text: &str,
    is_valid: impl Fn(&T) -> bool,
    valid: &str,
) -> Result<T, String> {
    text.parse().ok().filter(is_valid).ok_or_else(|| format!("must be {valid}"))
}

fn bitrate(text: &str) -> Result<u32, String> {
    let text = text.strip_suffix('k').unwrap_or(text); // as ffmpeg has it
    let all = BITRATES_KBPS.map(|kbps| kbps.to_string()).join(", ");
    number(text, |kbps| BITRATES_KBPS.contains(kbps), &format!("one of {all}"))
}

fn mean_bitrate(text: &str) -> Result<u32, String> {
    number(text, |kbps| MEAN_BITRATES_KBPS.contains(kbps), "8 to 310")
}

fn vbr_level(text: &str) -> Result<u8, String> {
    number(text, |level| VBR_LEVELS.contains(level), "0 to 9")
}

fn quality(text: &str) -> Result<u8, String> {
    number(text, |level| QUALITIES.contains(level), "0 to 9")
}

fn rate(text: &str) -> Result<RateArg, String> {
    if text == "auto" {
        return Ok(RateArg(None));
    }
    let all = SAMPLE_RATES_HZ.map(|hz| hz.to_string()).join(", ");
    let is_valid = |hz: &u32| SAMPLE_RATES_HZ.contains(hz);
    number(text, is_valid, &format!("auto or one of {all}")).map(|hz| RateArg(Some(hz)))
}

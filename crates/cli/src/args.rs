//! What the user said, and what it means: raw arguments, then a validated [`Request`].

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tonemill_codec::{
    Bitrate, BitrateMode, ChannelChoice, DecoderKind, Limits, MeanBitrate, Mp3Rate, Mp3Settings,
    Options, Quality, RateChoice, TrackChoice, VbrLevel,
};

use crate::text::{parse_time, shown};

/// Turns videos into MP3s on every core.
#[derive(Debug, Parser)]
#[command(name = "tonemill", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Convert audio or video files to MP3
    Convert(Box<ConvertArgs>),
    /// Show what is in a file
    Probe(ProbeArgs),
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

/// Exit codes: 0 all converted; 1 some input was bad; 2 usage; 3 our fault or the machine's.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all converted; 1 some input was bad; 2 wrong usage, or an \
    output exists already; 3 our fault or the machine's; 130 interrupted.")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct ConvertArgs {
    /// Files to convert; "-" for standard input
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,

    /// The output of a single input; "-" for standard output [default: the input's name with .mp3]
    #[arg(short, long, value_name = "OUT", conflicts_with = "dir")]
    pub output: Option<PathBuf>,
    /// Folder for the outputs [default: beside each input]
    #[arg(short, long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Replace outputs that exist
    #[arg(long)]
    pub force: bool,
    /// Print a line of JSON per file
    #[arg(long)]
    pub json: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,

    #[command(flatten)]
    pub sound: SoundArgs,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub tags: TagArgs,

    /// Refuse input that ends early or is damaged, instead of converting what is there
    #[arg(long)]
    pub strict: bool,
    /// The library that decodes
    #[arg(long, value_enum, default_value_t)]
    pub decoder: DecoderArg,
    /// Threads that encode [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Longest audio that is accepted, in seconds or HH:MM:SS [default: 12:00:00]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub max_duration: Option<f64>,
    /// Longest time to spend on one file, in seconds or HH:MM:SS [default: 6:00:00]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub timeout: Option<f64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sound")]
pub struct SoundArgs {
    /// Constant bitrate in kbit/s [default: 192]
    #[arg(long, value_name = "K", value_parser = bitrate, conflicts_with_all = ["abr", "vbr"])]
    pub bitrate: Option<Bitrate>,
    /// Average bitrate in kbit/s, 8 to 310
    #[arg(long, value_name = "K", value_parser = mean_bitrate, conflicts_with = "vbr")]
    pub abr: Option<MeanBitrate>,
    /// Variable bitrate, from 0 (best) to 9 (smallest)
    #[arg(long, value_name = "0-9", value_parser = vbr_level)]
    pub vbr: Option<VbrLevel>,
    /// LAME's effort, from 0 (slowest, best) to 9 (fastest)
    #[arg(long, value_name = "0-9", value_parser = quality, default_value = "3")]
    pub quality: Quality,
    /// Channels of the output
    #[arg(long, value_enum, default_value_t)]
    pub channels: ChannelArg,
    /// Sample rate in Hz; "auto" keeps the input's where MP3 has it
    #[arg(long, value_name = "HZ", value_parser = rate, default_value = "auto")]
    pub rate: RateChoice,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub struct PartArgs {
    /// Audio track, counting from 0 as `tonemill probe` does
    #[arg(long, value_name = "N", conflicts_with = "lang")]
    pub track: Option<usize>,
    /// Audio track in this language, such as "eng"
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

impl From<DecoderArg> for DecoderKind {
    fn from(arg: DecoderArg) -> Self {
        match arg {
            DecoderArg::Ffmpeg => Self::Ffmpeg,
            DecoderArg::Symphonia => Self::Symphonia,
        }
    }
}

/// Where one output goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

/// A validated `convert`.
#[derive(Debug)]
pub struct Request {
    /// Inputs with their outputs, which differ from each other.
    pub jobs: Vec<(PathBuf, Target)>,
    pub options: Options,
    pub force: bool,
    pub json: bool,
    pub quiet: bool,
    /// `None` for one per core.
    pub threads: Option<usize>,
}

impl ConvertArgs {
    pub fn validate(&self) -> Result<Request, clap::Error> {
        let jobs = self.jobs()?;
        let to_stdout = jobs.iter().any(|(_, target)| *target == Target::Stdout);
        if to_stdout && self.json {
            return Err(usage("--json and an MP3 cannot share standard output"));
        }
        if to_stdout && std::io::stdout().is_terminal() {
            return Err(usage("an MP3 is not for a terminal: redirect the output or use -o FILE"));
        }
        let (start, end) = (self.part.start.unwrap_or(0.0), self.part.end);
        if end.is_some_and(|end| end <= start) {
            return Err(usage("--end must come after --start"));
        }
        Ok(Request {
            jobs,
            options: self.options(),
            force: self.force,
            json: self.json,
            quiet: self.quiet || to_stdout,
            threads: self.threads.map(usize::from),
        })
    }

    fn jobs(&self) -> Result<Vec<(PathBuf, Target)>, clap::Error> {
        if self.output.is_some() && self.inputs.len() > 1 {
            return Err(usage("-o takes a single input: use -d DIR for several"));
        }
        let mut outputs = HashMap::new();
        let mut jobs = Vec::new();
        for input in &self.inputs {
            let target = self.target(input)?;
            if matches!(&target, Target::File(path) if same_file(input, path)) {
                let name = shown(input);
                return Err(usage(&format!("{name} would be overwritten: use -o or -d")));
            }
            if let Some(other) = outputs.insert(target.clone(), input) {
                let names = (shown(other), shown(input));
                let text =
                    format!("{} and {} have the same output: use -d or -o", names.0, names.1);
                return Err(usage(&text));
            }
            jobs.push((input.clone(), target));
        }
        Ok(jobs)
    }

    fn target(&self, input: &Path) -> Result<Target, clap::Error> {
        let is_dash = |path: &Path| path.as_os_str() == "-";
        match (&self.output, &self.dir) {
            (Some(output), _) if is_dash(output) => Ok(Target::Stdout),
            (Some(output), _) => Ok(Target::File(output.clone())),
            (None, None) if is_dash(input) => Ok(Target::Stdout),
            (None, Some(_)) if is_dash(input) => Err(usage("standard input needs -o")),
            (None, dir) => {
                let named = input.with_extension("mp3");
                let name = named
                    .file_name()
                    .ok_or_else(|| usage(&format!("{} is no file", shown(input))))?;
                Ok(Target::File(match dir {
                    Some(dir) => dir.join(name),
                    None => named.clone(),
                }))
            }
        }
    }

    fn options(&self) -> Options {
        let mut limits = Limits::default();
        if let Some(seconds) = self.max_duration {
            limits.decoded_seconds = seconds.ceil() as u64;
        }
        if let Some(seconds) = self.timeout {
            limits.wall_clock = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        }
        let track = match (self.part.track, &self.part.lang) {
            (Some(index), _) => TrackChoice::Index(index),
            (None, Some(language)) => TrackChoice::Language(language.clone()),
            (None, None) => TrackChoice::Auto,
        };
        Options {
            mp3: self.sound.settings(),
            decoder: self.decoder.into(),
            track,
            start_seconds: self.part.start.unwrap_or(0.0),
            end_seconds: self.part.end,
            tags: self.tags.overrides(),
            drop_tags: self.tags.no_tags,
            drop_cover: self.tags.no_cover,
            strict: self.strict,
            limits,
            ..Options::default()
        }
    }
}

impl SoundArgs {
    fn settings(&self) -> Mp3Settings {
        let mode = match (self.bitrate, self.abr, self.vbr) {
            (Some(kbps), _, _) => BitrateMode::Cbr(kbps),
            (None, Some(kbps), _) => BitrateMode::Abr(kbps),
            (None, None, Some(level)) => BitrateMode::Vbr(level),
            (None, None, None) => BitrateMode::default(),
        };
        let channels = match self.channels {
            ChannelArg::Auto => ChannelChoice::Auto,
            ChannelArg::Mono => ChannelChoice::Mono,
            ChannelArg::Stereo => ChannelChoice::Stereo,
        };
        Mp3Settings { mode, quality: self.quality, channels, rate: self.rate }
    }
}

impl TagArgs {
    fn overrides(&self) -> BTreeMap<&'static str, String> {
        [
            ("title", &self.title),
            ("artist", &self.artist),
            ("album", &self.album),
            ("album_artist", &self.album_artist),
            ("track", &self.track_number),
            ("disc", &self.disc_number),
            ("date", &self.date),
            ("genre", &self.genre),
            ("composer", &self.composer),
            ("comment", &self.comment),
            ("copyright", &self.copyright),
            ("publisher", &self.publisher),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((name, text.clone()?)))
        .collect()
    }
}

fn usage(message: &str) -> clap::Error {
    let mut command = Cli::command();
    command.build();
    let convert = command.find_subcommand_mut("convert");
    match convert {
        Some(convert) => convert.error(ErrorKind::ValueValidation, message),
        None => clap::Error::raw(ErrorKind::ValueValidation, message),
    }
}

/// Whether both names lead to one existing file.
fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn number<T: std::str::FromStr, V>(
    text: &str,
    new: impl Fn(T) -> Option<V>,
    valid: &str,
) -> Result<V, String> {
    text.parse().ok().and_then(new).ok_or_else(|| format!("must be {valid}"))
}

fn bitrate(text: &str) -> Result<Bitrate, String> {
    let all = tonemill_codec::mp3::settings::BITRATES_KBPS.map(|kbps| kbps.to_string()).join(", ");
    number(text, Bitrate::new, &format!("one of {all}"))
}

fn mean_bitrate(text: &str) -> Result<MeanBitrate, String> {
    number(text, MeanBitrate::new, "8 to 310")
}

fn vbr_level(text: &str) -> Result<VbrLevel, String> {
    number(text, VbrLevel::new, "0 to 9")
}

fn quality(text: &str) -> Result<Quality, String> {
    number(text, Quality::new, "0 to 9")
}

fn rate(text: &str) -> Result<RateChoice, String> {
    if text == "auto" {
        return Ok(RateChoice::Auto);
    }
    let all = tonemill_codec::mp3::settings::SAMPLE_RATES_HZ.map(|hz| hz.to_string()).join(", ");
    number(text, Mp3Rate::new, &format!("auto or one of {all}")).map(RateChoice::Fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(args: &[&str]) -> Result<Request, clap::Error> {
        let all = ["tonemill", "convert"].iter().chain(args);
        match Cli::try_parse_from(all)?.command {
            Command::Convert(args) => args.validate(),
            Command::Probe(_) => unreachable!("convert was asked for"),
        }
    }

    fn file(path: &str) -> Target {
        Target::File(path.into())
    }

    #[test]
    fn the_command_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn outputs_are_named_after_inputs() {
        let named = |args: &[&str]| convert(args).unwrap().jobs.remove(0).1;
        assert_eq!(named(&["v/a.mp4"]), file("v/a.mp3"));
        assert_eq!(named(&["v/a.b"]), file("v/a.mp3"));
        assert_eq!(named(&["v/noext", "-d", "out"]), file("out/noext.mp3"));
        assert_eq!(named(&["--", "--help.m4a"]), file("--help.mp3"));
        assert_eq!(named(&["a.mp4", "-o", "x"]), file("x"));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for args in [
            &["a.mp4", "b.mp4", "-o", "x"][..],
            &["a.mp4", "a.mkv"],
            &["a.mp4", "-o", "x", "-d", "y"],
            &["a.mp4", "--bitrate", "193"],
            &["a.mp4", "--bitrate", "192", "--vbr", "2"],
            &["a.mp4", "--quality", "10"],
            &["a.mp4", "--rate", "44000"],
            &["a.mp4", "--start", "5", "--end", "5"],
            &["a.mp4", "--threads", "0"],
            &["-", "-d", "x"],
            &["a.mp4", "-o", "-", "--json"],
            &[],
        ] {
            assert!(convert(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn options_are_understood() {
        let request = convert(&[
            "a.mp4",
            "--vbr",
            "0",
            "--start",
            "1:00",
            "--title",
            "T",
            "--comment",
            "",
            "--track",
            "1",
        ])
        .unwrap();
        let options = request.options;
        assert_eq!(options.mp3.mode, BitrateMode::Vbr(VbrLevel::new(0).unwrap()));
        assert!((options.start_seconds - 60.0).abs() < 1e-9);
        assert_eq!(options.tags["title"], "T");
        assert_eq!(options.tags["comment"], "");
        assert_eq!(options.track, TrackChoice::Index(1));
    }
}

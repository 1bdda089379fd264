//! What a `convert` means: arguments become a validated [`Request`] with every output named.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap::error::ErrorKind;
use tonemill_codec::{BitrateMode, ChannelChoice, Limits, Mp3Settings, Options, TrackChoice};

use crate::args::Cli;
use crate::args::convert::{
    ChannelArg, ConversionArgs, ConvertArgs, FileArgs, PartArgs, SoundArgs, TagArgs,
};
use crate::text::{seconds, shown};

/// Where one output goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

impl Target {
    /// What to call it.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File(path) => shown(path),
        }
    }

    /// The path as it was given.
    pub fn as_path(&self) -> &Path {
        match self {
            Self::Stdout => Path::new("-"),
            Self::File(path) => path,
        }
    }
}

/// A validated `convert`.
#[derive(Debug)]
pub struct Request {
    /// Inputs with their outputs, which differ from each other.
    pub jobs: Vec<(PathBuf, Target)>,
    /// A folder to make for them, if it is not there.
    pub new_folder: Option<PathBuf>,
    pub options: Options,
    pub force: bool,
    pub json: bool,
    pub quiet: bool,
    /// `None` for one per core.
    pub threads: Option<usize>,
}

impl ConvertArgs {
    pub fn validate(&self) -> Result<Request, clap::Error> {
        let jobs = self.files.jobs().map_err(|text| usage("convert", &text))?;
        let to_stdout = jobs.iter().any(|(_, target)| *target == Target::Stdout);
        if to_stdout && self.files.outputs.json {
            return Err(usage("convert", "--json and an MP3 cannot share standard output"));
        }
        if to_stdout && std::io::stdout().is_terminal() {
            return Err(usage(
                "convert",
                "an MP3 is not written to a terminal: redirect it or use -o FILE",
            ));
        }
        self.conversion.part.check().map_err(|text| usage("convert", text))?;
        Ok(Request {
            jobs,
            new_folder: self.files.outputs.dir.clone(),
            options: self.options(),
            force: self.files.outputs.force,
            json: self.files.outputs.json,
            quiet: self.files.outputs.quiet || to_stdout,
            threads: self.threads.map(usize::from),
        })
    }

    fn options(&self) -> Options {
        let mut limits = Limits::default();
        if let Some(seconds) = self.max_duration {
            limits.decoded_seconds = seconds.ceil() as u64;
        }
        if let Some(timeout) = self.timeout {
            limits.wall_clock = seconds(timeout);
        }
        let ConversionArgs { sound, part, tags, care } = &self.conversion;
        let track = match (part.track, &part.lang) {
            (Some(index), _) => TrackChoice::Index(index),
            (None, Some(language)) => TrackChoice::Language(language.clone()),
            (None, None) => TrackChoice::Auto,
        };
        Options {
            mp3: sound.settings(),
            decoder: care.decoder.into(),
            track,
            start_seconds: part.start.unwrap_or(0.0),
            end_seconds: part.end,
            tags: tags.overrides(),
            drop_tags: tags.no_tags,
            drop_cover: tags.no_cover,
            strict: care.strict,
            limits,
            ..Options::default()
        }
    }
}

impl FileArgs {
    /// Inputs with their outputs, which differ from each other; or what is wrong with them.
    pub fn jobs(&self) -> Result<Vec<(PathBuf, Target)>, String> {
        if self.outputs.output.is_some() && self.inputs.len() > 1 {
            return Err("-o takes a single input: use -d DIR for several".to_owned());
        }
        let mut outputs = HashMap::new();
        let mut jobs = Vec::new();
        for input in &self.inputs {
            let target = self.target(input)?;
            if matches!(&target, Target::File(path) if same_file(input, path)) {
                let name = shown(input);
                return Err(format!("{name} would overwrite itself: name another output"));
            }
            if let Some(other) = outputs.insert(place_of(&target), input) {
                let (other, input) = (shown(other), shown(input));
                return Err(format!(
                    "{other} and {input} have the same output: convert them apart"
                ));
            }
            jobs.push((input.clone(), target));
        }
        Ok(jobs)
    }

    fn target(&self, input: &Path) -> Result<Target, String> {
        let is_dash = |path: &Path| path.as_os_str() == "-";
        match (&self.outputs.output, &self.outputs.dir) {
            (Some(output), _) if is_dash(output) => Ok(Target::Stdout),
            (Some(output), _) => Ok(Target::File(output.clone())),
            (None, None) if is_dash(input) => Ok(Target::Stdout),
            (None, Some(_)) if is_dash(input) => Err("standard input needs -o".to_owned()),
            (None, dir) => {
                let named = input.with_extension("mp3");
                let name =
                    named.file_name().ok_or_else(|| format!("{} is no file", shown(input)))?;
                Ok(Target::File(match dir {
                    Some(dir) => dir.join(name),
                    None => named.clone(),
                }))
            }
        }
    }
}

impl PartArgs {
    /// Whether there is anything between start and end.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.end.is_some_and(|end| end <= self.start.unwrap_or(0.0)) {
            return Err("--end must come after --start");
        }
        Ok(())
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
    pub fn overrides(&self) -> BTreeMap<&'static str, String> {
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

/// What is wrong with how the subcommand `name` is used.
pub fn usage(name: &str, message: &str) -> clap::Error {
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut(name) {
        Some(subcommand) => subcommand.error(ErrorKind::ValueValidation, message),
        None => clap::Error::raw(ErrorKind::ValueValidation, message),
    }
}

/// A target whose folder is spelt in one way only.
fn place_of(target: &Target) -> Target {
    let Target::File(path) = target else { return Target::Stdout };
    let folder = path.parent().map(|p| if p == Path::new("") { Path::new(".") } else { p });
    match (folder.and_then(|folder| folder.canonicalize().ok()), path.file_name()) {
        (Some(folder), Some(name)) => Target::File(folder.join(name)),
        _ => target.clone(),
    }
}

/// Whether both names lead to one existing file.
fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Command;
    use clap::Parser;
    use tonemill_codec::VbrLevel;

    fn convert(args: &[&str]) -> Result<Request, clap::Error> {
        let all = ["tonemill", "convert"].iter().chain(args);
        match Cli::try_parse_from(all)?.command {
            Command::Convert(args) => args.validate(),
            _ => unreachable!("convert was asked for"),
        }
    }

    fn file(path: &str) -> Target {
        Target::File(path.into())
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

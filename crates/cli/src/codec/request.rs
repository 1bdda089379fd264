//! What a `convert` means: arguments become a validated [`Request`] with every output named.

use std::io::IsTerminal;
use std::path::PathBuf;

use tonemill_codec::{Limits, Options};
use tonemill_worker::{InvalidOption, codec_options};

use crate::args::convert::ConvertArgs;
use crate::target::{Target, usage};
use crate::text::seconds;

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
            options: self.options().map_err(|why| usage("convert", &why.to_string()))?,
            force: self.files.outputs.force,
            json: self.files.outputs.json,
            quiet: self.files.outputs.quiet || to_stdout,
            threads: self.threads.map(usize::from),
        })
    }

    fn options(&self) -> Result<Options, InvalidOption> {
        let mut limits = Limits::default();
        if let Some(seconds) = self.max_duration {
            limits.decoded_seconds = seconds.ceil() as u64;
        }
        if let Some(timeout) = self.timeout {
            limits.wall_clock = seconds(timeout);
        }
        codec_options(&self.conversion.job_options(), &limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use tonemill_codec::{BitrateMode, TrackChoice, VbrLevel};

    use crate::args::{Cli, Command};
    use crate::codec::CodecCommand;

    fn convert(args: &[&str]) -> Result<Request, clap::Error> {
        let all = ["tonemill", "convert"].iter().chain(args);
        match Cli::try_parse_from(all)?.command {
            Command::Codec(CodecCommand::Convert(args)) => args.validate(),
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

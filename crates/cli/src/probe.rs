//! `tonemill probe`: what a file says about itself.

use std::fmt::Write as _;
use std::io::{self, Write};

use tonemill_codec::{AudioTrack, CancelToken, CodecError, Limits, Probe};

use crate::args::ProbeArgs;
use crate::exit::Outcome;
use crate::input;
use crate::text::{clock, shown};

/// Probes one file and prints it.
pub fn run(args: &ProbeArgs, cancel: &CancelToken) -> Outcome {
    let name = shown(&args.input);
    let source = match input::open(&args.input, Limits::default().input_bytes, cancel) {
        Ok(source) => source,
        Err(error) => {
            eprintln!("tonemill: {name}: the input cannot be opened: {error}: check its name");
            return Outcome::BadInput;
        }
    };
    let probe = match probe(source, args, cancel) {
        Ok(probe) => probe,
        Err(error) => {
            eprintln!("tonemill: {name}: {error}: {}", error.advice());
            return (&error).into();
        }
    };
    let text = if args.json {
        serde_json::to_string(&probe).unwrap_or_default() + "\n"
    } else {
        describe(&name, &probe)
    };
    // Nobody may be reading any more.
    let _ = io::stdout().write_all(text.as_bytes());
    Outcome::Done
}

fn probe(
    source: std::fs::File,
    args: &ProbeArgs,
    cancel: &CancelToken,
) -> Result<Probe, CodecError> {
    tonemill_codec::probe(source, args.decoder.into(), &Limits::default(), cancel)
}

fn describe(name: &str, probe: &Probe) -> String {
    let mut text = String::new();
    let duration = probe.duration_seconds.map_or("unknown length".to_owned(), clock);
    let _ = writeln!(text, "{name}: {}, {duration}, {} bytes", probe.container, probe.bytes);
    for track in &probe.tracks {
        let _ = writeln!(text, "  {}", describe_track(track));
    }
    if probe.tracks.is_empty() {
        let _ = writeln!(text, "  no audio track");
    }
    let _ =
        writeln!(text, "  {} video and {} other streams", probe.video_streams, probe.other_streams);
    for (tag, value) in &probe.tags {
        let _ = writeln!(text, "  {tag}: {value}");
    }
    for chapter in &probe.chapters {
        let title = chapter.title.as_deref().unwrap_or("untitled");
        let _ = writeln!(text, "  chapter {}: {title}", clock(chapter.start_seconds));
    }
    if let Some(cover) = &probe.cover {
        let _ = writeln!(text, "  cover: {}, {} bytes", cover.mime, cover.bytes);
    }
    for warning in &probe.warnings {
        let _ = writeln!(text, "  warning: {warning}");
    }
    text
}

fn describe_track(track: &AudioTrack) -> String {
    let mut text = format!(
        "audio track {}: {}, {} Hz, {} channels",
        track.index, track.codec, track.sample_rate_hz, track.channels
    );
    if let Some(seconds) = track.duration_seconds {
        let _ = write!(text, ", {}", clock(seconds));
    }
    if let Some(language) = &track.language {
        let _ = write!(text, ", {}", shown(language.as_ref()));
    }
    if let Some(title) = &track.title {
        let _ = write!(text, ", \"{}\"", shown(title.as_ref()));
    }
    if track.default {
        text.push_str(", default");
    }
    if !track.decodable {
        text.push_str(", no decoder");
    }
    text
}

//! `tonemill probe`: what a file says about itself.

use std::fmt::Write as _;

use tonemill_codec::{AudioTrack, DecoderKind, Limits, Probe};

use crate::args::convert::{DecoderArg, ProbeArgs};
use crate::exit::{CancelToken, Outcome};
use crate::failure::Failure;
use crate::json::{Line, print_json, print_line};
use crate::text::{clock, shown};

use super::input::{self, unopened};

/// Probes one file and prints it.
pub fn run(args: &ProbeArgs, cancel: &CancelToken) -> Outcome {
    let name = shown(&args.input);
    let probe = match probe(args, cancel) {
        Ok(probe) => probe,
        Err(failure) => {
            let outcome = failure.tell_of(&name);
            if !args.json {
                return outcome;
            }
            return outcome.max(Line::<Probe>::failed(&args.input, &failure).print());
        }
    };
    if args.json { print_json(&probe) } else { print_line(describe(&name, &probe).trim_end()) }
}

fn probe(args: &ProbeArgs, cancel: &CancelToken) -> Result<Probe, Failure> {
    let limits = Limits::default();
    let unopened = |error| unopened(&args.input, &error);
    let source = input::open(&args.input).map_err(unopened)?;
    let source = source.seekable(&limits, cancel).map_err(unopened)?;
    let decoder = match args.decoder {
        DecoderArg::Ffmpeg => DecoderKind::Ffmpeg,
        DecoderArg::Symphonia => DecoderKind::Symphonia,
    };
    tonemill_codec::probe(source, decoder, &limits, &cancel.into())
        .map_err(|error| Failure::codec(&error, decoder))
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
        "audio track {}: {}, {} Hz, {}",
        track.index,
        track.codec,
        track.sample_rate_hz,
        match track.channels {
            1 => "mono".to_owned(),
            2 => "stereo".to_owned(),
            channels => format!("{channels} channels"),
        }
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

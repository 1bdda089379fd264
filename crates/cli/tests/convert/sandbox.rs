//! A conversion opens its input and its output and nothing else, and no socket, whatever the input
//! asks for: playlists, manifests and references are data, not instructions.
//!
//! strace is the witness. What the C library opens for itself (never by a name from the input) is
//! listed here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fixtures;
use crate::support::media;
use crate::support::process::{PATIENCE, is_installed, names_in, start};
use crate::support::skip;
use crate::support::verdict::Verdict;

const CALLS: &str = "trace=open,openat,openat2,creat,socket,socketpair,connect,bind,accept,\
    accept4,execve,execveat,fork,vfork,?memfd_create";

/// What the C library opens for itself.
const OF_THE_C_LIBRARY: [&str; 3] = [
    "\"/etc/localtime\"",                 // the first date that is broken down
    "\"/proc/sys/vm/overcommit_memory\"", // the first heap of a thread that shrinks
    "/gconv/",                            // the character set of digital television
];

/// Calls that a traced conversion makes after it has opened `input`.
fn calls_after_opening(input: &Path, arguments: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (trace, output) = (folder.path().join("trace"), folder.path().join("out.mp3"));
    let mut strace = Command::new("strace");
    // Long strings, so that no name is cut.
    strace.args(["-f", "-qq", "-s", "4096", "-e", "signal=none", "-e", CALLS, "-o"]).arg(&trace);
    strace.arg(env!("CARGO_BIN_EXE_tonemill")).arg("convert").arg(input).arg("-o").arg(output);
    let finished = start(strace.args(arguments).env("RUST_BACKTRACE", "0")).finish(PATIENCE);
    assert!(finished.code.is_some(), "{}: {finished:?}", input.display());
    let trace = fs::read_to_string(trace).unwrap();
    let opening = format!("\"{}\", O_RDONLY", input.display());
    let mut lines = trace.lines().skip_while(|line| !line.contains(&opening));
    assert!(lines.next().is_some(), "{} was never opened: {trace}", input.display());
    // A thread that is gone when strace looks at it made no call.
    let is_call = |line: &str| line.contains('(') && !line.contains("???(");
    let harmless = |line: &str| OF_THE_C_LIBRARY.iter().any(|name| line.contains(name));
    let unnamed = format!("\"{}\", O_RDWR|", folder.path().display());
    let is_output = |line: &str| line.contains(&unnamed) && line.contains("O_TMPFILE");
    let other = |line: &&str| is_call(line) && !harmless(line) && !is_output(line);
    lines.filter(other).map(str::to_owned).collect()
}

fn can_trace() -> bool {
    let installed = is_installed("strace");
    if !installed {
        skip("there is no strace (`make setup` installs it)");
    }
    installed
}

fn check(inputs: &[PathBuf]) {
    let mut verdict = Verdict::default();
    for input in inputs {
        for decoder in ["ffmpeg", "symphonia"] {
            let calls = calls_after_opening(input, &["--decoder", decoder, "--end", "1"]);
            let name = input.file_name().unwrap().to_string_lossy();
            verdict.expect(calls.is_empty(), &name, || format!("{decoder}: {}", calls.join("; ")));
        }
    }
    verdict.pronounce();
}

fn files_of(folder: &str, matching: impl Fn(&str) -> bool) -> Option<Vec<PathBuf>> {
    let folder = media::shared(folder)?;
    let names =
        names_in(&folder).into_iter().filter(|name| name != "MANIFEST.tsv" && matching(name));
    Some(names.map(|name| folder.join(name)).collect())
}

#[test]
fn hostile_files_open_nothing() {
    let Some(files) = files_of("hostile", |_| true).filter(|_| can_trace()) else { return };
    check(&files);
}

#[test]
fn ordinary_files_open_nothing() {
    if !can_trace() {
        return;
    }
    let mut inputs: Vec<PathBuf> =
        ["s16.wav", "s16.flac", "aac.mp4", "opus.webm", "lame.mp3", "mp2.ts"]
            .map(fixtures::path)
            .to_vec();
    inputs.push(fixtures::tagged());
    check(&inputs);
}

/// Playlists made here, beside the file that they name: a run without the shared media shows the
/// same.
#[test]
fn playlists_do_not_reach_their_neighbours() {
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixtures::path("aac.aac"), folder.path().join("neighbour.aac")).unwrap();
    fs::copy(fixtures::path("s16.wav"), folder.path().join("neighbour.wav")).unwrap();
    let here = folder.path().display();
    let hls = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nneighbour.aac\n#EXT-X-ENDLIST\n";
    let playlists = [
        ("hls.mp4", hls.to_owned()),
        ("absolute.m3u8", hls.replace("neighbour", &format!("{here}/neighbour"))),
        ("concat.mp4", "ffconcat version 1.0\nfile neighbour.wav\n".to_owned()),
        ("concat.txt", format!("ffconcat version 1.0\nfile '{here}/neighbour.wav'\n")),
        ("plain.m3u", "neighbour.wav\n".to_owned()),
        (
            "sdp.mp4",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n\
            m=audio 5004 RTP/AVP 0\n"
                .to_owned(),
        ),
    ];
    let write = |(name, text): &(&str, String)| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    check(&playlists.iter().map(write).collect::<Vec<_>>());
}

/// A QuickTime file that says its samples are in the file beside it.
#[test]
fn references_are_not_followed() {
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(fixtures::path("alac.m4a")).unwrap();
    let at = bytes.windows(4).position(|w| w == b"url ").expect("a data reference");
    // "url " with the flag "in this file" becomes an alias to elsewhere.
    bytes[at..at + 8].copy_from_slice(b"alis\0\0\0\0");
    let input = folder.path().join("reference.mov");
    fs::write(&input, bytes).unwrap();
    check(&[input]);
}

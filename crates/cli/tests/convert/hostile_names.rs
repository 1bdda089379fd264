//! Names that are options, controls, right-to-left tricks or shell commands elsewhere are plain
//! names here, of inputs and of outputs.

use std::fs;
use std::path::Path;

use crate::support::fixtures;
use crate::support::media;
use crate::support::process::{Finished, PATIENCE, names_in, program, start};
use crate::support::verdict::Verdict;

/// What uploads have been called.
fn names() -> Option<Vec<String>> {
    let text = fs::read_to_string(media::shared("hostile_names.json")?).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

/// Runs in `folder`, where the names mean something.
fn run_in(folder: &Path, arguments: &[&str]) -> Finished {
    start(program().current_dir(folder).args(arguments)).finish(PATIENCE)
}

/// Whether `text` could play tricks on a terminal.
fn is_tricky(text: &str) -> bool {
    let mirrors = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().any(|c| (c.is_control() && c != '\n') || mirrors(c))
}

#[test]
fn every_name_works_for_input_and_output() {
    let Some(names) = names() else { return };
    let mut verdict = Verdict::default();
    for name in &names {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join(name);
        fs::copy(fixtures::path("aac.m4a"), &input).unwrap();
        let finished = run_in(folder.path(), &["convert", "--vbr", "9", "--", name]);
        verdict.expect(finished.code == Some(0), name, || finished.stderr.clone());
        let output = Path::new(name).with_extension("mp3").to_string_lossy().into_owned();
        let mut left = vec![name.clone(), output];
        left.sort();
        verdict.equal(name, "the folder", names_in(folder.path()), left);
        let told = String::from_utf8_lossy(&finished.stdout);
        verdict.equal(name, "lines that tell of it", told.lines().count(), 1);
        verdict.expect(!is_tricky(&told), name, || format!("raw controls: {told:?}"));
    }
    verdict.pronounce();
}

#[test]
fn every_name_works_after_o() {
    let Some(names) = names() else { return };
    let mut verdict = Verdict::default();
    for name in &names {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(fixtures::path("aac.m4a"), folder.path().join("in")).unwrap();
        let option = format!("--output={name}");
        let finished = run_in(folder.path(), &["convert", "--json", "--vbr", "9", &option, "in"]);
        verdict.expect(finished.code == Some(0), name, || finished.stderr.clone());
        verdict.expect(folder.path().join(name).is_file(), name, || "it is not there".to_owned());
        if finished.code == Some(0) {
            let told = finished.json()["output_path"].as_str().map(str::to_owned);
            verdict.equal(name, "the path in JSON", told, Some(name.clone()));
        }
    }
    verdict.pronounce();
}

#[test]
fn a_refusal_is_one_line_whatever_the_name() {
    let Some(mut names) = names() else { return };
    names.push("escape \u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m.mp4".to_owned());
    names.push("mark \u{61c}\u{2028}\u{2029}.mp4".to_owned());
    let mut verdict = Verdict::default();
    for name in &names {
        for command in ["convert", "probe"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), "<html>404</html>").unwrap();
            let finished = run_in(folder.path(), &[command, "--", name]);
            verdict.equal(name, "the exit code", finished.code, Some(1));
            verdict.equal(name, "what is left", names_in(folder.path()), vec![name.clone()]);
            let lines = finished.stderr.split(['\n', '\u{2028}', '\u{2029}', '\u{85}']);
            let lines = lines.filter(|line| !line.is_empty()).count();
            verdict.expect(lines == 1, name, || format!("{lines} lines: {:?}", finished.stderr));
            verdict.expect(!is_tricky(&finished.stderr), name, || format!("{:?}", finished.stderr));
        }
    }
    verdict.pronounce();
}

/// Names need not be Unicode on Unix.
#[test]
fn a_name_that_is_not_unicode_works() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.m4a"));
    fs::copy(fixtures::path("aac.m4a"), &input).unwrap();
    let finished = start(program().args(["convert", "--json", "--vbr", "9"]).arg(&input));
    finished.finish(PATIENCE).succeeded().json();
    assert!(folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.mp3")).is_file());
}

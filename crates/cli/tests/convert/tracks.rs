//! Of several audio tracks the default is converted, or the one that is asked for by number or
//! language.

use crate::support::fixtures;
use crate::support::process::{convert, converted, names_in};
use serde_json::Value;

/// Rate, channels and index of the track that was chosen.
fn chosen(arguments: &[&str]) -> (Value, Value, Value) {
    let folder = tempfile::tempdir().unwrap();
    let report = converted(&fixtures::two_languages(), &folder.path().join("out.mp3"), arguments);
    let source = &report["source"];
    (source["sample_rate_hz"].clone(), source["channels"].clone(), source["track"]["index"].clone())
}

fn english() -> (Value, Value, Value) {
    (48_000.into(), 2.into(), 0.into())
}

fn german() -> (Value, Value, Value) {
    (44_100.into(), 1.into(), 1.into())
}

#[test]
fn the_default_track_is_taken() {
    assert_eq!(chosen(&[]), german());
}

#[test]
fn a_track_is_chosen_by_number_or_language() {
    assert_eq!(chosen(&["--track", "0"]), english());
    assert_eq!(chosen(&["--track", "1"]), german());
    assert_eq!(chosen(&["--lang", "eng"]), english());
    assert_eq!(chosen(&["--lang", "DEU"]), german());
}

/// Not the default: Symphonia sees the mark only where it is written out, which Matroska allows to
/// leave out.
#[test]
fn symphonia_chooses_the_same() {
    assert_eq!(chosen(&["--decoder", "symphonia", "--lang", "eng"]), english());
    assert_eq!(chosen(&["--decoder", "symphonia", "--track", "1"]), german());
}

#[test]
fn a_track_that_is_not_there_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, wanted) in [(["--track", "2"], "2"), (["--lang", "fra"], "fra")] {
        let output = folder.path().join("out.mp3");
        let finished = convert(&fixtures::two_languages(), &output, &arguments).ended_with(1);
        for word in [wanted, "0 (eng), 1 (deu)", "tonemill probe"] {
            assert!(finished.stderr.contains(word), "no {word} in {}", finished.stderr);
        }
    }
    assert_eq!(names_in(folder.path()), [""; 0]);
}

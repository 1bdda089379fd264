//! What a file says about itself comes along: tags, chapters and cover; the caller's word counts
//! more.

use std::fs;
use std::path::PathBuf;

use crate::support::fixtures::{self, CHAPTERS, TAGS};
use crate::support::media;
use crate::support::process::converted;
use crate::support::sound::{chapters, ffprobe, has_cover, tag};
use serde_json::Value;

/// What ffprobe says about the MP3 of the tagged file.
fn made_with(arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    converted(&fixtures::tagged(), &output, arguments);
    ffprobe(&output)
}

#[test]
fn tags_chapters_and_cover_come_along() {
    let probe = made_with(&[]);
    for (name, text) in TAGS {
        assert_eq!(tag(&probe, name), Some(text), "{name}");
    }
    let found = chapters(&probe);
    assert_eq!(found.iter().map(|c| c.2.as_str()).collect::<Vec<_>>(), CHAPTERS);
    for (index, (start, end, _)) in found.iter().enumerate() {
        let due = index as f64;
        assert!((start - due).abs() < 0.01 && (end - due - 1.0).abs() < 0.01, "{found:?}");
    }
    assert!(has_cover(&probe));
}

#[test]
fn the_cover_is_passed_on_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp3");
    converted(&fixtures::tagged(), &output, &[]);
    let (mp3, cover) = (fs::read(&output).unwrap(), fs::read(fixtures::cover()).unwrap());
    assert!(mp3.windows(cover.len()).any(|window| window == cover));
}

#[test]
fn every_tag_can_be_set() {
    let set = [
        ("--title", "title", "A \u{1f3b5} title"),
        ("--artist", "artist", "日本語"),
        ("--album", "album", "-dash first"),
        ("--album-artist", "album_artist", "Various"),
        ("--track-number", "track", "7/9"),
        ("--disc-number", "disc", "2"),
        ("--date", "date", "2024-05-06"),
        ("--genre", "genre", "Techno"),
        ("--composer", "composer", "J. S. B."),
        ("--comment", "comment", "one = two"),
        ("--copyright", "copyright", "© nobody"),
        ("--publisher", "publisher", "us"),
    ];
    let arguments = set.map(|(option, _, text)| format!("{option}={text}"));
    let probe = made_with(&arguments.each_ref().map(String::as_str));
    for (_, name, text) in set {
        assert_eq!(tag(&probe, name), Some(text), "{name}");
    }
    assert!(has_cover(&probe) && chapters(&probe).len() == 3);
}

#[test]
fn an_empty_tag_is_removed() {
    let probe = made_with(&["--title", "", "--comment="]);
    assert_eq!((tag(&probe, "title"), tag(&probe, "comment")), (None, None));
    assert_eq!(tag(&probe, "artist"), Some("Кто-то"));
}

#[test]
fn tags_and_cover_can_be_left_out() {
    let probe = made_with(&["--no-tags"]);
    for (name, _) in TAGS {
        assert_eq!(tag(&probe, name), None, "{name}");
    }
    assert!(chapters(&probe).is_empty() && has_cover(&probe));
    let probe = made_with(&["--no-cover"]);
    assert!(!has_cover(&probe) && tag(&probe, "album") == Some(TAGS[2].1));
    let probe = made_with(&["--no-tags", "--no-cover", "--title", "mine"]);
    assert!(!has_cover(&probe) && tag(&probe, "title") == Some("mine"));
    assert_eq!((tag(&probe, "artist"), chapters(&probe).len()), (None, 0));
}

#[test]
fn chapters_move_with_start_and_end() {
    let probe = made_with(&["--start", "1.5", "--end", "2.5"]);
    let found = chapters(&probe);
    assert_eq!(found.iter().map(|c| c.2.as_str()).collect::<Vec<_>>(), CHAPTERS[1..]);
    for ((start, end, _), due) in found.iter().zip([(0.0, 0.5), (0.5, 1.0)]) {
        assert!((start - due.0).abs() < 0.01 && (end - due.1).abs() < 0.01, "{found:?}");
    }
}

/// ffmpeg's own copy of the tags from one container to another is the measure.
#[test]
fn tags_come_along_from_every_container() {
    for name in
        ["tags.mkv", "tags.ogg", "tags.opus", "tags.flac", "tags.mp3", "tags.wav", "tags.mov"]
    {
        let tags =
            ["-metadata", "title=Ti\u{e4}", "-metadata", "artist=Ar", "-metadata", "date=2001"];
        let input: PathBuf = fixtures::named("s24.wav").sound.encoded(name, &tags);
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.mp3");
        converted(&input, &output, &[]);
        let probe = ffprobe(&output);
        let found = ["title", "artist", "date"].map(|name| tag(&probe, name));
        assert_eq!(found, [Some("Ti\u{e4}"), Some("Ar"), Some("2001")], "{name}");
    }
}

#[test]
fn nasty_tags_come_out_clean() {
    let Some(hostile) = media::shared("hostile") else { return };
    for name in ["own_mp3_nasty_tags.mp3", "real_mozilla_bad_utf8_tags.wav"] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.mp3");
        converted(&hostile.join(name), &output, &[]);
        let probe = ffprobe(&output);
        let tags = probe["format"]["tags"].as_object().into_iter().flatten();
        for (name, text) in tags {
            let text = text.as_str().unwrap();
            assert!(text.len() <= 4096, "{name}: {} bytes", text.len());
            assert!(
                !text.contains(|c: char| c.is_control() || c == '\u{202e}'),
                "{name}: {text:?}"
            );
        }
        assert!(fs::metadata(&output).unwrap().len() < 100_000, "{name}");
    }
}

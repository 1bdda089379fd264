//! No text and no picture may break the tags of an MP3: what is written must never hold characters
//! that deceive, be longer than allowed, or read back as something else.
#![no_main]

use std::collections::BTreeMap;
use std::io::Cursor;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tonemill_codec::metadata::{Picture, TAGS, clean};
use tonemill_codec::{DecoderKind, Limits, Mp3Settings, Options, Quality};
use tonemill_fuzz::convert;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    symphonia: bool,
    max_bytes: u8,
    /// By index in [`TAGS`].
    tags: Vec<(u8, &'a str)>,
    /// The title and the artist as the WAV has them, in whatever encoding.
    title: &'a [u8],
    artist: &'a [u8],
    picture: &'a [u8],
}

fuzz_target!(|input: Input| {
    let max_bytes = usize::from(input.max_bytes);
    for (_, text) in &input.tags {
        check_clean(text, max_bytes);
    }
    check_sniff(input.picture);

    let decoder = if input.symphonia { DecoderKind::Symphonia } else { DecoderKind::Ffmpeg };
    let name = |index: u8| TAGS[usize::from(index) % TAGS.len()];
    let tags: BTreeMap<_, _> =
        input.tags.iter().map(|(index, text)| (name(*index), (*text).to_owned())).collect();
    let options = Options {
        mp3: Mp3Settings {
            quality: Quality::new(9).expect("LAME's fastest"),
            ..Mp3Settings::default()
        },
        decoder,
        limits: Limits { tag_bytes: max_bytes, ..Limits::default() },
        tags,
        ..Options::default()
    };
    let (converted, mp3) = convert(Cursor::new(wav(input.title, input.artist)), &options);
    let report = converted.expect("the WAV is whole");
    mp3.check(&report);
    let written = mp3.tags(&report.output.format).0.unwrap_or_default();
    check_tags(&written, &options);
});

fn check_clean(text: &str, max_bytes: usize) {
    let (whole, cut) = clean(text, usize::MAX);
    assert!(!cut && whole.len() <= text.len());
    // Also at the edge, and one past it.
    for max_bytes in [max_bytes, whole.len(), whole.len().saturating_sub(1)] {
        let (cleaned, cut) = clean(text, max_bytes);
        assert_presentable(&cleaned, max_bytes);
        assert!(whole.starts_with(&cleaned));
        assert_eq!(cut, cleaned != whole, "{text:?} in {max_bytes} bytes");
        assert!(!cut || whole.len() > max_bytes, "{text:?} fits in {max_bytes} bytes");
        assert_eq!(clean(&cleaned, max_bytes), (cleaned, false), "cleaned twice");
    }
}

fn assert_presentable(text: &str, max_bytes: usize) {
    let deceives = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert!(text.len() <= max_bytes, "{text:?} is longer than {max_bytes}");
    assert!(!text.contains(deceives), "{text:?}");
    assert!(text.trim() == text && !text.contains("  "), "{text:?}");
}

fn check_sniff(bytes: &[u8]) {
    let Some(picture) = Picture::sniff(bytes) else { return };
    assert_eq!(picture.bytes, bytes);
    assert!(["image/jpeg", "image/png", "image/gif", "image/webp"].contains(&picture.mime));
}

/// Every tag of the options is there, and what else there is came clean from the file.
fn check_tags(written: &id3::Tag, options: &Options) {
    let max_bytes = options.limits.tag_bytes;
    for name in TAGS {
        let found = text_of(written, name);
        if let Some(found) = found {
            assert_presentable(found, max_bytes);
        }
        if let Some(text) = options.tags.get(name) {
            let (expected, _) = clean(text, max_bytes);
            assert_eq!(found.unwrap_or_default(), expected, "{name}");
        }
    }
}

/// The text of a tag, which is never empty.
fn text_of<'a>(tag: &'a id3::Tag, name: &str) -> Option<&'a str> {
    let id = match name {
        "title" => "TIT2",
        "artist" => "TPE1",
        "album" => "TALB",
        "album_artist" => "TPE2",
        "track" => "TRCK",
        "disc" => "TPOS",
        "date" => "TDRC",
        "genre" => "TCON",
        "composer" => "TCOM",
        "copyright" => "TCOP",
        "publisher" => "TPUB",
        "language" => "TLAN",
        "comment" => return tag.comments().next().map(|comment| comment.text.as_str()),
        _ => {
            let mut texts = tag.extended_texts();
            return texts.find(|text| text.description == name).map(|text| text.value.as_str());
        }
    };
    id3::TagLike::get(tag, id).and_then(|frame| frame.content().text())
}

/// A hundredth of a second at 8 kHz, with a title and an artist.
fn wav(title: &[u8], artist: &[u8]) -> Vec<u8> {
    let chunk = |id: &[u8; 4], body: &[u8]| {
        let padding: &[u8] = if body.len() % 2 == 1 { &[0] } else { &[] };
        [id, &(body.len() as u32).to_le_bytes(), body, padding].concat()
    };
    let info = [b"INFO".to_vec(), chunk(b"INAM", title), chunk(b"IART", artist)].concat();
    // PCM, mono, 8,000 Hz, 16,000 bytes a second, 2 bytes a sample, 16 bits.
    let format = [1, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x80, 0x3e, 0, 0, 2, 0, 16, 0];
    let chunks = [chunk(b"fmt ", &format), chunk(b"LIST", &info), chunk(b"data", &[1; 160])];
    chunk(b"RIFF", &[b"WAVE".to_vec(), chunks.concat()].concat())
}

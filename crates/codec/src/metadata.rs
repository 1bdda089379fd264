//! What a file says about itself: tags, chapters, a cover.
//!
//! All of it is untrusted text and bytes: control and direction characters are dropped, lengths are
//! capped, and pictures are passed on undecoded.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::limits::Limits;

/// The tags that are carried over, by FFmpeg's names, in the order they are written.
pub const TAGS: [&str; 14] = [
    "title",
    "artist",
    "album",
    "album_artist",
    "track",
    "disc",
    "date",
    "genre",
    "composer",
    "comment",
    "description",
    "copyright",
    "publisher",
    "language",
];

/// Other names under which containers keep some of [`TAGS`].
const ALIASES: [(&str, &str); 9] = [
    ("albumartist", "album_artist"),
    ("tracknumber", "track"),
    ("part_number", "track"),
    ("discnumber", "disc"),
    ("year", "date"),
    ("date_recorded", "date"),
    ("creation_time", ""),
    ("author", "artist"),
    ("organization", "publisher"),
];

/// A named stretch of the audio.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chapter {
    /// Start, in seconds.
    pub start_seconds: f64,
    /// End, in seconds.
    pub end_seconds: f64,
    /// Its title, if it has one.
    pub title: Option<String>,
}

/// An attached picture, not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// MIME type, by the picture's first bytes.
    pub mime: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

impl Picture {
    /// `None` if `bytes` are no picture that MP3 players show.
    #[must_use]
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        let mime = match bytes {
            [0xff, 0xd8, 0xff, ..] => "image/jpeg",
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
            [b'G', b'I', b'F', b'8', ..] => "image/gif",
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
            _ => return None,
        };
        Some(Self { mime, bytes: bytes.to_vec() })
    }
}

/// Everything a file says about itself, cleaned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// By the names in [`TAGS`].
    pub tags: BTreeMap<&'static str, String>,
    /// In order of their start.
    pub chapters: Vec<Chapter>,
    /// The front cover.
    pub cover: Option<Picture>,
}

impl Metadata {
    /// Takes the known ones of `raw` tags (keys in lower case), cleaned and cut to the limits.
    /// Earlier calls win over later ones. Says what was cut in `warnings`.
    pub(crate) fn add_tags(
        &mut self,
        raw: &BTreeMap<String, String>,
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) {
        for (key, value) in raw {
            let Some(name) = known_tag(key) else { continue };
            let (text, cut) = clean(value, limits.tag_bytes);
            if cut {
                warnings.push(format!("the tag {name} was cut to {} bytes", limits.tag_bytes));
            }
            let says_nothing = text.is_empty() || (name == "language" && text == "und");
            if !says_nothing {
                self.tags.entry(name).or_insert(text);
            }
        }
    }

    /// Takes a chapter unless there are too many.
    pub(crate) fn add_chapter(
        &mut self,
        mut chapter: Chapter,
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) {
        if self.chapters.len() == limits.chapters {
            let warning = format!("only the first {} chapters were kept", limits.chapters);
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
            return;
        }
        chapter.title =
            chapter.title.map(|t| clean(&t, limits.tag_bytes).0).filter(|t| !t.is_empty());
        if chapter.start_seconds.is_finite() && chapter.end_seconds.is_finite() {
            self.chapters.push(chapter);
        }
    }

    /// Takes the first picture that is one and not too large.
    pub(crate) fn add_picture(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) {
        if self.cover.is_some() {
            return;
        }
        if bytes.len() > limits.picture_bytes {
            warnings.push(format!("a cover of {} bytes was left out", bytes.len()));
            return;
        }
        self.cover = Picture::sniff(bytes);
    }
}

fn known_tag(key: &str) -> Option<&'static str> {
    let alias = ALIASES.iter().find(|(from, _)| *from == key).map(|(_, to)| *to);
    let name = alias.unwrap_or(key);
    TAGS.into_iter().find(|tag| *tag == name)
}

/// Text without control, bidirectional-override or invisible characters, runs of white space
/// shortened to one space, cut to `max_bytes` at a character; and whether it was cut.
#[must_use]
pub fn clean(text: &str, max_bytes: usize) -> (String, bool) {
    let mut out = String::new();
    let mut space = false;
    for c in text.chars() {
        match c {
            '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => continue,
            c if c.is_whitespace() || c.is_control() => {
                space = !out.is_empty();
                continue;
            }
            _ => {}
        }
        // White space at the end is not missed, so it counts only once something follows.
        if out.len() + usize::from(space) + c.len_utf8() > max_bytes {
            return (out, true);
        }
        if std::mem::take(&mut space) {
            out.push(' ');
        }
        out.push(c);
    }
    (out, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cleaned_and_cut_at_a_character() {
        assert_eq!(clean(" a\r\n\0b\u{202e}c\t", 99), ("a bc".into(), false));
        assert_eq!(clean("äöü", 6), ("äöü".into(), false));
        assert_eq!(clean("äöü", 5), ("äö".into(), true));
        assert_eq!(clean("\u{1b}[31mred", 99), ("[31mred".into(), false));
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let limits = Limits { picture_bytes: 4, chapters: 1, ..Limits::default() };
        let mut warnings = Vec::new();
        let mut metadata = Metadata::default();
        metadata.add_picture(&[0xff, 0xd8, 0xff, 0, 0], &limits, &mut warnings);
        assert!(metadata.cover.is_none() && warnings.len() == 1);
        metadata.add_picture(&[0xff, 0xd8, 0xff, 0], &limits, &mut warnings);
        assert_eq!(metadata.cover.as_ref().unwrap().mime, "image/jpeg");
        for _ in 0..3 {
            let chapter = Chapter { start_seconds: 0.0, end_seconds: 1.0, title: None };
            metadata.add_chapter(chapter, &limits, &mut warnings);
        }
        assert_eq!((metadata.chapters.len(), warnings.len()), (1, 2));
    }

    #[test]
    fn only_known_tags_are_carried() {
        let raw = [("title", "T"), ("year", "1999"), ("encoder", "x"), ("creation_time", "y")];
        let raw = raw.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let mut metadata = Metadata::default();
        metadata.add_tags(&raw, &Limits::default(), &mut Vec::new());
        assert_eq!(metadata.tags.keys().copied().collect::<Vec<_>>(), ["date", "title"]);
    }
}

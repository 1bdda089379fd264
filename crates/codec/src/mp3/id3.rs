//! ID3v2.4 in front of the MP3: tags in UTF-8, chapters as CHAP and CTOC, the cover as APIC.
//!
//! The tag's length depends on the metadata alone, not on chapter times, so that it can be reserved
//! before the first sample and written when the real length of the audio is known.

use id3::frame::{self, Content, ExtendedText, PictureType};
use id3::{Encoder, Frame, Tag, TagLike, Version};

use crate::error::{CodecError, Result};
use crate::metadata::{Chapter, Metadata};

/// ID3 frames of the tags that have one (ID3v2.4.0-frames §4.2); the rest become TXXX.
const FRAMES: [(&str, &str); 12] = [
    ("title", "TIT2"),
    ("artist", "TPE1"),
    ("album", "TALB"),
    ("album_artist", "TPE2"),
    ("track", "TRCK"),
    ("disc", "TPOS"),
    ("date", "TDRC"),
    ("genre", "TCON"),
    ("composer", "TCOM"),
    ("copyright", "TCOP"),
    ("publisher", "TPUB"),
    ("language", "TLAN"),
];

/// The tag for audio of `duration_seconds`, at whose end chapters are cut. Empty for metadata that
/// says nothing.
pub(crate) fn encode(metadata: &Metadata, duration_seconds: f64) -> Result<Vec<u8>> {
    if *metadata == Metadata::default() {
        return Ok(Vec::new());
    }
    let mut tag = Tag::new();
    for (name, text) in &metadata.tags {
        tag.add_frame(text_frame(name, text));
    }
    tag.add_frame(Frame::text("TSSE", concat!("Tonemill ", env!("CARGO_PKG_VERSION"))));
    if let Some(cover) = &metadata.cover {
        tag.add_frame(frame::Picture {
            mime_type: cover.mime.to_owned(),
            picture_type: PictureType::CoverFront,
            description: String::new(),
            data: cover.bytes.clone(),
        });
    }
    add_chapters(&mut tag, &metadata.chapters, duration_seconds);

    let mut bytes = Vec::new();
    Encoder::new()
        .version(Version::Id3v24)
        .encode(&tag, &mut bytes)
        .map_err(|e| CodecError::Bug { stage: "tags", detail: e.to_string() })?;
    Ok(bytes)
}

fn text_frame(name: &str, text: &str) -> Frame {
    if let Some((_, id)) = FRAMES.iter().find(|(tag, _)| *tag == name) {
        return Frame::text(*id, text);
    }
    if name == "comment" {
        let (lang, description) = ("XXX".to_owned(), String::new());
        return frame::Comment { lang, description, text: text.to_owned() }.into();
    }
    ExtendedText { description: name.to_owned(), value: text.to_owned() }.into()
}

fn add_chapters(tag: &mut Tag, chapters: &[Chapter], duration_seconds: f64) {
    /// "Offsets are not used" (ID3v2 chapter frame addendum 1.0, §3.1).
    const NO_OFFSET: u32 = u32::MAX;
    let milliseconds = |s: f64| (s.clamp(0.0, duration_seconds) * 1000.0).round() as u32;
    let mut elements = Vec::new();
    for (index, chapter) in chapters.iter().enumerate() {
        let element_id = format!("chp{index}");
        elements.push(element_id.clone());
        tag.add_frame(frame::Chapter {
            element_id,
            start_time: milliseconds(chapter.start_seconds),
            end_time: milliseconds(chapter.end_seconds),
            start_offset: NO_OFFSET,
            end_offset: NO_OFFSET,
            frames: chapter.title.iter().map(|title| Frame::text("TIT2", title)).collect(),
        });
    }
    if !elements.is_empty() {
        tag.add_frame(Frame::with_content(
            "CTOC",
            Content::TableOfContents(frame::TableOfContents {
                element_id: "toc".to_owned(),
                top_level: true,
                ordered: true,
                elements,
                frames: Vec::new(),
            }),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Picture;

    fn metadata() -> Metadata {
        let chapter = |start, end| Chapter {
            start_seconds: start,
            end_seconds: end,
            title: Some("Kapitel 一".into()),
        };
        Metadata {
            tags: [("title", "Tür 門"), ("comment", "c"), ("description", "d"), ("date", "2024")]
                .map(|(k, v)| (k, v.to_owned()))
                .into(),
            chapters: vec![chapter(0.0, 5.0), chapter(5.0, 60.0)],
            cover: Picture::sniff(&[0xff, 0xd8, 0xff, 1]),
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let bytes = encode(&metadata(), 10.0).unwrap();
        let tag = Tag::read_from2(std::io::Cursor::new(bytes)).unwrap();
        assert_eq!(tag.version(), Version::Id3v24);
        assert_eq!(tag.title(), Some("Tür 門"));
        assert_eq!(tag.comments().next().unwrap().text, "c");
        assert_eq!(tag.pictures().next().unwrap().data, [0xff, 0xd8, 0xff, 1]);
        let chapters: Vec<_> = tag.chapters().map(|c| (c.start_time, c.end_time)).collect();
        assert_eq!(chapters, [(0, 5000), (5000, 10_000)]);
        assert_eq!(tag.tables_of_contents().next().unwrap().elements, ["chp0", "chp1"]);
    }

    #[test]
    fn the_length_does_not_depend_on_the_duration() {
        let lengths = [0.0, 1.0, 1e6].map(|d| encode(&metadata(), d).unwrap().len());
        assert_eq!(lengths[0], lengths[1]);
        assert_eq!(lengths[1], lengths[2]);
    }

    #[test]
    fn nothing_to_say_is_no_tag() {
        assert!(encode(&Metadata::default(), 1.0).unwrap().is_empty());
    }
}

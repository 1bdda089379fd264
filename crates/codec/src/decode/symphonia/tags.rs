//! Symphonia's tags under the names that FFmpeg gives them.

use std::collections::BTreeMap;

use symphonia::core::meta::{StandardTag, Tag};

/// All tags that have such a name; numbers with their totals, as in "3/12".
pub(super) fn named_tags<'a>(
    tags: impl Iterator<Item = &'a Tag> + Clone,
) -> BTreeMap<String, String> {
    let mut named: BTreeMap<_, _> = tags.clone().filter_map(named).collect();
    for tag in tags {
        let (name, total) = match tag.std {
            Some(StandardTag::TrackTotal(total)) => ("track", total),
            Some(StandardTag::DiscTotal(total)) => ("disc", total),
            _ => continue,
        };
        if let Some(number) = named.get_mut(name).filter(|number| !number.contains('/')) {
            *number = format!("{number}/{total}");
        }
    }
    named
}

/// A tag under the name that FFmpeg would give it.
fn named(tag: &Tag) -> Option<(String, String)> {
    let (name, value) = match tag.std.as_ref()? {
        StandardTag::TrackTitle(v) | StandardTag::MovieTitle(v) => ("title", v.to_string()),
        StandardTag::Artist(v) => ("artist", v.to_string()),
        StandardTag::Album(v) => ("album", v.to_string()),
        StandardTag::AlbumArtist(v) => ("album_artist", v.to_string()),
        StandardTag::TrackNumber(v) => ("track", v.to_string()),
        StandardTag::DiscNumber(v) => ("disc", v.to_string()),
        StandardTag::RecordingDate(v) | StandardTag::ReleaseDate(v) => ("date", v.to_string()),
        StandardTag::RecordingYear(v) | StandardTag::ReleaseYear(v) => ("date", v.to_string()),
        StandardTag::Genre(v) => ("genre", v.to_string()),
        StandardTag::Composer(v) => ("composer", v.to_string()),
        StandardTag::Comment(v) => ("comment", v.to_string()),
        StandardTag::Description(v) => ("description", v.to_string()),
        StandardTag::Copyright(v) => ("copyright", v.to_string()),
        StandardTag::Label(v) => ("publisher", v.to_string()),
        _ => return None,
    };
    Some((name.to_owned(), value))
}

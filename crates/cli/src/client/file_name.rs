//! Names for files, of what a service says: no path, nothing hidden, no tricks for terminals.

use std::path::Path;

use crate::text::shown;

/// Longest name that file systems take, in bytes.
pub const MAX_BYTES: usize = 255;

/// The name that an output is saved under.
pub fn safe(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_plain = |letter: &char| {
        let mut buffer = [0; 4];
        let text: &str = letter.encode_utf8(&mut buffer);
        shown(Path::new(text)) == text
    };
    let clean: String = last.chars().filter(is_plain).collect();
    // A name that begins with a dot is not seen, and may be one that a shell reads.
    let clean = clean.trim().trim_start_matches('.').trim();
    match clean {
        "" | "mp3" => "output.mp3".to_owned(),
        clean => shortened(clean, MAX_BYTES),
    }
}

/// The name in at most `most` bytes, with its ending.
pub fn shortened(name: &str, most: usize) -> String {
    if name.len() <= most {
        return name.to_owned();
    }
    let ending = name.rfind('.').map(|at| &name[at..]).filter(|ending| ending.len() <= 16);
    let ending = ending.unwrap_or_default();
    let mut end = most.saturating_sub(ending.len()).min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ending}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_where_they_are_put() {
        for (name, kept) in [
            ("talk.mp3", "talk.mp3"),
            ("../../etc/cron.d/x.mp3", "x.mp3"),
            ("C:\\x\\a b.mp3", "a b.mp3"),
            (".bashrc", "bashrc"),
            ("..", "output.mp3"),
            ("/", "output.mp3"),
            ("", "output.mp3"),
            (".mp3", "output.mp3"),
            ("a\r\n\u{1b}[2Jb\u{202e}.mp3", "a[2Jb.mp3"),
            ("Grüße 🎬.mp3", "Grüße 🎬.mp3"),
        ] {
            assert_eq!(safe(name), kept, "{name:?}");
        }
        let long = safe(&format!("{}.mp3", "ä".repeat(300)));
        assert_eq!(long.len(), 254);
        assert!(long.ends_with("ä.mp3"));
    }
}

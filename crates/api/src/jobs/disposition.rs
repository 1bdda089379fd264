//! The name of a file in `Content-Disposition` (RFC 6266), as a client sends it beside a body. The
//! library that reads forms reads the same of their parts, for itself alone.

use axum::http::{HeaderMap, header};
use percent_encoding::percent_decode_str;

/// What the body is called: in UTF-8 (`filename*`) if that is said, else in its plain form.
pub(super) fn file_name(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_DISPOSITION)?.to_str().ok()?;
    let extended = parameter(text, "filename*").and_then(|value| {
        // RFC 8187 section 3.2: a character set, a language, and bytes in per cent.
        let (charset, rest) = value.split_once('\'')?;
        let (_language, encoded) = rest.split_once('\'')?;
        let is_utf8 = charset.eq_ignore_ascii_case("UTF-8");
        let name = percent_decode_str(encoded).decode_utf8().ok().filter(|_| is_utf8)?;
        Some(name.into_owned())
    });
    extended.or_else(|| parameter(text, "filename"))
}

/// The first parameter of this name (RFC 9110 section 5.6.6).
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.split_once(';')?.1;
        let end = rest.find(['=', ';'])?;
        let name = rest[..end].trim();
        let Some(after) = rest[end..].strip_prefix('=') else { continue };
        let (value, after) = value(after)?;
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// A token or a quoted string (RFC 9110 section 5.6.4), and what comes after it; `None` if its
/// quotes are not closed.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.trim_start().strip_prefix('"') else {
        let (token, after) = text.split_at(text.find(';').unwrap_or(text.len()));
        return Some((token.trim().to_owned(), after));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    loop {
        match letters.next()? {
            (at, '"') => return Some((value, &quoted[at + 1..])),
            (_, '\\') => value.push(letters.next()?.1),
            (_, letter) => value.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_the_standard_says() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_DISPOSITION, text.parse().unwrap());
            file_name(&headers)
        };
        for (text, name) in [
            ("attachment; filename=a.mp4", "a.mp4"),
            ("attachment;FileName = a.mp4 ;x=y", "a.mp4"),
            ("attachment; filename=\"Part 1; intro.mp4\"", "Part 1; intro.mp4"),
            (r#"attachment; filename="say \"hi\".mp4""#, "say \"hi\".mp4"),
            (r#"attachment; filename="a\\b.mp4"; x=y"#, r"a\b.mp4"),
            (r#"attachment; x="; filename=b.mp4"; filename="a.mp4""#, "a.mp4"),
            ("attachment; x; ;filename=a.mp4", "a.mp4"),
            ("attachment; filename=\"\"", ""),
            ("attachment; filename=a.mp4; filename*=UTF-8''%C3%A4.mp4", "\u{e4}.mp4"),
            ("attachment; filename*=utf-8'de'%C3%A4%3B.mp4; filename=a.mp4", "\u{e4};.mp4"),
            ("attachment; filename*=KOI8-R''%C3%A4.mp4; filename=a.mp4", "a.mp4"),
            ("attachment; filename*=UTF-8''%FF; filename=a.mp4", "a.mp4"),
        ] {
            assert_eq!(of(text).as_deref(), Some(name), "{text}");
        }
        for none in ["", "attachment", "attachment; filename", "filename=a.mp4", "a; filename=\"b"]
        {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(of(r#"a; filename="b\"#), None);
    }
}

//! Words for terminals: names that cannot play tricks, and times.

use std::path::Path;
use std::time::Duration;

use tonemill_job::is_deceptive;

/// A path as one line: characters that would move the cursor or turn the text around are escaped.
pub fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| !is_deceptive(c);
    if text.chars().all(plain) {
        return text.into_owned();
    }
    text.chars()
        .map(|c| if plain(c) { c.to_string() } else { c.escape_unicode().to_string() })
        .collect()
}

/// Longest text of somebody else that is shown, in characters.
const MAX_PLAIN: usize = 500;

/// What somebody else says, such as a service, as one line.
pub fn plain(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MAX_PLAIN) {
        Some((end, _)) => format!("{}…", shown(Path::new(&text[..end]))),
        None => shown(Path::new(text)),
    }
}

/// Seconds as `1:02:03` or `2:03`.
pub fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Bytes from `1048576`, `512MiB` or `2GiB`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].trim() {
        "" | "B" => 0,
        "KiB" | "Ki" | "K" => 10,
        "MiB" | "Mi" | "M" => 20,
        "GiB" | "Gi" | "G" => 30,
        "TiB" | "Ti" | "T" => 40,
        _ => return Err(format!("\"{text}\" is not a size: use bytes, MiB or GiB")),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("\"{text}\" is not a size: use bytes, MiB or GiB"))
}

/// Seconds from `90`, `90.5`, `1:30` or `1:02:03.25`.
pub fn parse_time(text: &str) -> Result<f64, String> {
    let wrong = || format!("\"{text}\" is not a time: use seconds, MM:SS or HH:MM:SS");
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 || parts.iter().any(|p| !p.starts_with(|c: char| c.is_ascii_digit())) {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    for (index, part) in parts.iter().enumerate() {
        let value: f64 = part.parse().map_err(|_| wrong())?;
        let whole = index + 1 == parts.len() || value.fract() == 0.0;
        if !value.is_finite() || !whole || (index > 0 && value >= 60.0) {
            return Err(wrong());
        }
        seconds = seconds * 60.0 + value;
    }
    Ok(seconds)
}

/// Seconds as a duration, however many.
pub fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        for (text, seconds) in [("90", 90.0), ("1:30", 90.0), ("1:02:03.25", 3723.25), ("0", 0.0)] {
            assert_eq!(parse_time(text), Ok(seconds));
        }
        for wrong in ["", "-1", "1:60", "a", "1:2:3:4", "1.5:00", "inf", "nan", "1e999"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        assert_eq!((clock(3723.4), clock(59.6)), ("1:02:03".into(), "1:00".into()));
    }

    #[test]
    fn names_play_no_tricks() {
        assert_eq!(shown(Path::new("a b.mp4")), "a b.mp4");
        assert_eq!(
            shown(Path::new("a\nb\u{1b}[2J\u{202e}.mp4")),
            "a\\u{a}b\\u{1b}[2J\\u{202e}.mp4"
        );
    }
}

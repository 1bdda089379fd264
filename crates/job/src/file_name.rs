//! What a name of a file may not hold, wherever it comes from and wherever it is shown.

/// Whether a character makes a line look like another one: it is not seen, ends the line, moves the
/// cursor, or turns the text around, so that `gpj.exe` reads as `exe.jpg` (Unicode Standard Annex
/// 9, section 2).
#[must_use]
pub fn is_deceptive(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2066}'..='\u{2069}')
        // Nothing at all: a space without width, a byte-order mark, tags. (Those that join letters
        // have a use.)
        || matches!(letter, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_harmless_in_any_direction() {
        assert!(!"a b Ä שלום سلام 🎬 \u{202f}\u{200d}".chars().any(is_deceptive));
        assert!(
            "\r\n\u{1b}\u{7f}\u{85}\u{2029}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}"
                .chars()
                .all(is_deceptive)
        );
    }
}

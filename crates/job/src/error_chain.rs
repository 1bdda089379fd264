//! Errors in one line, for logs and terminals.

use std::error::Error;

/// An error and its causes, joined by colons; what a text already says is not said again.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn each_cause_is_told_once() {
        let inner = Layer("refused", None);
        let middle = Layer("cannot connect: refused", Some(Box::new(inner)));
        let outer = Layer("no answer", Some(Box::new(middle)));
        assert_eq!(chain(&outer), "no answer: cannot connect: refused");
    }
}

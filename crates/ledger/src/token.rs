//! What a token looks like: `{prefix}_{id}_{secret}`. The secret has 244 random bits, so a fast
//! hash of it is kept; whoever reads the ledger cannot use it.

use std::fmt;

use uuid::Uuid;

/// Bytes that nobody can guess: two UUIDs of version 4 have 244 bits by the system's generator.
#[must_use]
pub fn random_bytes() -> [u8; blake3::OUT_LEN] {
    let ids = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()];
    *blake3::hash(ids.as_flattened()).as_bytes()
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Gets new access tokens.
    Refresh,
    /// Is an access token itself.
    ApiKey,
}

impl TokenKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Refresh => "tmr",
            Self::ApiKey => "tmk",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::ApiKey => "api_key",
        }
    }
}

/// A token in full. It is told once and then known to its holder alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) id: Uuid,
    secret: String,
}

impl Token {
    pub(crate) fn new(kind: TokenKind) -> Self {
        let secret = blake3::Hash::from_bytes(random_bytes()).to_hex().to_string();
        Self { kind, id: Uuid::now_v7(), secret }
    }

    /// The token that `text` is, if it is one of this kind.
    #[must_use]
    pub fn parse(kind: TokenKind, text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(kind.prefix())?.strip_prefix('_')?.split_once('_')?;
        let is_secret = secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        let id = Uuid::try_parse(id).ok()?;
        is_secret.then(|| Self { kind, id, secret: secret.to_owned() })
    }

    /// What its holder is told.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}_{}_{}", self.kind.prefix(), self.id.simple(), self.secret)
    }

    pub(crate) fn hash(&self) -> blake3::Hash {
        blake3::hash(self.secret.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_…", self.kind.prefix(), self.id.simple())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_what_they_say() {
        let token = Token::new(TokenKind::ApiKey);
        let text = token.text();
        assert_eq!(Token::parse(TokenKind::ApiKey, &text), Some(token.clone()));
        assert_eq!(Token::parse(TokenKind::Refresh, &text), None);
        assert!(!format!("{token:?}").contains(&token.secret));
        let hyphens = format!("tmk_{}_{}", token.id, token.secret);
        assert!(Token::parse(TokenKind::ApiKey, &hyphens).is_some());
        let (short, long) = (&text[..text.len() - 1], format!("{text}0"));
        for wrong in ["", "tmk", "tmk_", "tmk__", "tmk_x_y", short, &long] {
            assert_eq!(Token::parse(TokenKind::ApiKey, wrong), None, "{wrong}");
        }
    }
}

//! `Upload-Checksum` of tus: what the bytes of one request add up to.

use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::problem::{Answer, Problem};

/// The algorithms, by their names in tus; the protocol asks for the first.
const ALGORITHMS: [(&str, &Algorithm); 3] =
    [("sha1", &SHA1_FOR_LEGACY_USE_ONLY), ("sha256", &SHA256), ("sha512", &SHA512)];

/// Their names.
pub(crate) const NAMES: &str = "sha1,sha256,sha512";

/// A checksum that is being computed, and what it should be.
pub(crate) struct Checksum {
    context: Context,
    expected: Vec<u8>,
}

impl Checksum {
    /// What the request says, if it says something.
    pub(crate) fn expected_by(headers: &HeaderMap) -> Answer<Option<Self>> {
        let Some(value) = headers.get("upload-checksum") else { return Ok(None) };
        let invalid = |why: &str| Problem::bad_request(why).field("Upload-Checksum");
        let text = value.to_str().map_err(|_| invalid("this is no text"))?;
        let (name, encoded) = text.split_once(' ').ok_or_else(|| {
            invalid("the name of an algorithm, a space, and the checksum in Base64")
        })?;
        let algorithm = ALGORITHMS.iter().find(|(known, _)| *known == name);
        let (_, algorithm) =
            algorithm.ok_or_else(|| invalid(&format!("the algorithm is one of {NAMES}")))?;
        let expected = BASE64_STANDARD.decode(encoded).ok();
        let expected = expected.filter(|sum| sum.len() == algorithm.output_len());
        let expected = expected.ok_or_else(|| invalid("the checksum is no such one, in Base64"))?;
        Ok(Some(Self { context: Context::new(algorithm), expected }))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub(crate) fn verify(self) -> bool {
        self.context.finish().as_ref() == self.expected
    }
}

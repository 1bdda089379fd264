//! Objects in parts that come over days, from whoever has the next one: what names them, and what
//! parts an object can have.
//!
//! The names are short texts, which the caller writes down: with them, any process can go on where
//! another stopped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Result, StoreError, StoreErrorKind};
use crate::object_key::ObjectKey;

/// Length of all parts but the last, in bytes. S3 wants at least 5 MiB, and some stores want all
/// alike.
pub const PART_BYTES: usize = 8 << 20;

/// Most parts of an object, which is S3's limit: together they are 78 GiB.
pub const MAX_PARTS: u32 = 10_000;

/// A store's name for an object in parts: what [`super::Unfinished::upload`] says of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PartsId(String);

impl PartsId {
    /// The longest, in bytes. S3 promises no limit; known stores stay far below.
    pub const MAX_BYTES: usize = 1024;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// That a store has a part, and how the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PartTag {
    number: u32,
    bytes: u32,
    /// CRC-64/NVME, if the store was told.
    checksum: Option<u64>,
    /// Empty where the store gives none.
    etag: String,
}

impl PartTag {
    /// The longest, as text, in bytes.
    pub const MAX_BYTES: usize = 200;

    /// A part of a length that [`check_part`] has seen.
    pub(super) fn new(number: u32, bytes: usize, checksum: Option<u64>, etag: String) -> Self {
        Self { number, bytes: bytes as u32, checksum, etag }
    }

    /// Which part it is, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.into()
    }

    pub(super) fn checksum(&self) -> Option<u64> {
        self.checksum
    }

    pub(super) fn etag(&self) -> Option<&str> {
        (!self.etag.is_empty()).then_some(&self.etag)
    }
}

/// A text that names neither an object in parts nor a part.
#[derive(Debug, thiserror::Error)]
#[error("no name that a store gave: {0:?}")]
pub struct InvalidName(String);

impl fmt::Display for PartsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PartsId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        if (1..=Self::MAX_BYTES).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(InvalidName(text))
        }
    }
}

impl From<PartsId> for String {
    fn from(id: PartsId) -> Self {
        id.0
    }
}

impl fmt::Display for PartTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checksum = self.checksum.map(|value| format!("{value:016x}")).unwrap_or_default();
        write!(f, "{}.{}.{checksum}.{}", self.number, self.bytes, self.etag)
    }
}

impl FromStr for PartTag {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let parse = || {
            let mut fields = text.splitn(4, '.');
            let mut next = || fields.next();
            let (number, bytes): (u32, u32) = (next()?.parse().ok()?, next()?.parse().ok()?);
            let checksum = match next()? {
                "" => None,
                hex => Some(u64::from_str_radix(hex, 16).ok()?),
            };
            let is_part = is_number(number) && is_length(bytes as usize);
            let is_short = text.len() <= Self::MAX_BYTES;
            let etag = next()?.to_owned();
            (is_part && is_short).then_some(Self { number, bytes, checksum, etag })
        };
        parse().ok_or_else(|| InvalidName(text.to_owned()))
    }
}

impl TryFrom<String> for PartTag {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<PartTag> for String {
    fn from(tag: PartTag) -> Self {
        tag.to_string()
    }
}

fn is_number(number: u32) -> bool {
    (1..=MAX_PARTS).contains(&number)
}

fn is_length(bytes: usize) -> bool {
    (1..=PART_BYTES).contains(&bytes)
}

/// Refuses a part that no object can have. Which one is the last is known at the end only.
pub(super) fn check_part(key: &ObjectKey, number: u32, bytes: usize) -> Result<()> {
    let why = if !is_number(number) {
        format!("{number} is no number of a part from 1 to {MAX_PARTS}")
    } else if !is_length(bytes) {
        format!("a part of {bytes} bytes has not 1 to {PART_BYTES}")
    } else {
        return Ok(());
    };
    Err(StoreError::new(StoreErrorKind::Invalid, "write", Some(key), why))
}

/// The parts in their order, if they make an object of `total_bytes`.
pub(super) fn in_order<'a>(
    key: &ObjectKey,
    parts: &'a [PartTag],
    total_bytes: u64,
) -> Result<Vec<&'a PartTag>> {
    let invalid = |why| Err(StoreError::new(StoreErrorKind::Invalid, "finish", Some(key), why));
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_unstable_by_key(|part| part.number);
    for (part, number) in sorted.iter().zip(1_u32..) {
        if part.number != number {
            return invalid(format!("where part {number} should be there is {}", part.number));
        }
        if part.bytes as usize != PART_BYTES && number as usize != sorted.len() {
            return invalid(format!("part {number} is not the last, and not full"));
        }
    }
    let bytes: u64 = sorted.iter().map(|part| part.bytes()).sum();
    if bytes != total_bytes {
        return invalid(format!("the parts have {bytes} bytes instead of {total_bytes}"));
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;

    #[test]
    fn names_are_read_back() {
        let etag = "\"0a-1.b\"".to_owned();
        let tags = [
            PartTag::new(1, 1, None, String::new()),
            PartTag::new(MAX_PARTS, PART_BYTES, Some(0xab), etag),
            PartTag::new(3, 5, Some(u64::MAX), "x".repeat(150)),
        ];
        for tag in tags {
            let text = serde_json::to_string(&tag).unwrap();
            assert_eq!(serde_json::from_str::<PartTag>(&text).unwrap(), tag, "{text}");
            assert!(String::from(tag).len() <= PartTag::MAX_BYTES);
        }
        let long = format!("1.1..{}", "x".repeat(PartTag::MAX_BYTES));
        for text in
            ["", "1", "1.1", "1.1.", "0.1..", "10001.1..", "1.0..", "1.8388609..", "1.1.g.", &long]
        {
            assert!(text.parse::<PartTag>().is_err(), "{text:?}");
        }
        let id = "x".repeat(PartsId::MAX_BYTES);
        assert_eq!(PartsId::try_from(id.clone()).unwrap().as_str(), id);
        assert!(PartsId::try_from(id + "x").is_err() && PartsId::try_from(String::new()).is_err());
    }

    #[test]
    fn parts_make_an_object_or_not() {
        let key = ObjectKey::upload(JobId::new());
        let part = |number, bytes| PartTag::new(number, bytes, None, String::new());
        let full = |number| part(number, PART_BYTES);
        let judge = |parts: &[PartTag], total: usize| {
            let numbers = |parts: Vec<&PartTag>| parts.iter().map(|part| part.number).collect();
            in_order(&key, parts, total as u64).map(numbers).map_err(|error| error.kind)
        };
        let invalid = Err(StoreErrorKind::Invalid);
        assert_eq!(judge(&[], 0), Ok(vec![]));
        assert_eq!(judge(&[], 1), invalid);
        assert_eq!(judge(&[part(2, 7), full(1)], PART_BYTES + 7), Ok(vec![1, 2]));
        assert_eq!(judge(&[full(2), full(1)], 2 * PART_BYTES), Ok(vec![1, 2]));
        assert_eq!(judge(&[full(2), full(1)], 2 * PART_BYTES - 1), invalid);
        assert_eq!(judge(&[full(2)], PART_BYTES), invalid);
        assert_eq!(judge(&[full(1), full(1)], 2 * PART_BYTES), invalid);
        assert_eq!(judge(&[full(1), part(3, 7)], PART_BYTES + 7), invalid);
        assert_eq!(judge(&[part(1, PART_BYTES - 1), full(2)], 2 * PART_BYTES - 1), invalid);
    }
}

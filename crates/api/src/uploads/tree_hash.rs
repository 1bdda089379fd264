//! BLAKE3 of an upload from its parts, which may come in requests to different processes.
//!
//! BLAKE3 is a binary tree over chunks of 1 KiB whose left halves are as large a power of two as
//! there is. A part is a power of two long, so it is a subtree of its own, whose chaining value is
//! all that has to be kept of it (the BLAKE3 paper, section 2.1).

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root,
    merge_subtrees_root,
};
use blake3::{Hash, Hasher};
use tonemill_job::objects::PART_BYTES;

const _: () = assert!(PART_BYTES.is_power_of_two() && PART_BYTES >= blake3::CHUNK_LEN);

/// The chaining value of part `number`, from 1, in hexadecimal.
pub(crate) fn subtree_hash(number: u32, part: &[u8]) -> String {
    let offset = u64::from(number - 1) * PART_BYTES as u64;
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset).update(part);
    Hash::from_bytes(hasher.finalize_non_root()).to_hex().to_string()
}

/// The hash of all parts together, in hexadecimal; `None` if a subtree hash is none. `last` is the
/// last part: one that is alone is no subtree, but the whole.
pub(crate) fn whole_hash(subtrees: &[String], total_bytes: u64, last: &[u8]) -> Option<String> {
    if subtrees.len() <= 1 {
        return Some(blake3::hash(last).to_hex().to_string());
    }
    let values: Option<Vec<ChainingValue>> =
        subtrees.iter().map(|text| Some(*Hash::from_hex(text).ok()?.as_bytes())).collect();
    let values = values?;
    let (left, right) = halves(&values, total_bytes);
    let (left, right) = (merge(left.0, left.1), merge(right.0, right.1));
    Some(merge_subtrees_root(&left, &right, Mode::Hash).to_hex().to_string())
}

fn merge(values: &[ChainingValue], bytes: u64) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = halves(values, bytes);
    merge_subtrees_non_root(&merge(left.0, left.1), &merge(right.0, right.1), Mode::Hash)
}

type Half<'a> = (&'a [ChainingValue], u64);

fn halves(values: &[ChainingValue], bytes: u64) -> (Half<'_>, Half<'_>) {
    let left_bytes = left_subtree_len(bytes);
    let (left, right) = values.split_at((left_bytes / PART_BYTES as u64) as usize);
    ((left, left_bytes), (right, bytes - left_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_as_if_hashed_at_once() {
        let part = PART_BYTES;
        let lengths = [
            1,
            1024,
            part - 1,
            part,
            part + 1,
            2 * part - 1,
            2 * part,
            2 * part + 1,
            3 * part,
            3 * part + 5000,
            4 * part,
            5 * part + 1,
        ];
        let bytes: Vec<u8> =
            (0..=5 * part).map(|n| (n as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect();
        for length in lengths {
            let bytes = &bytes[..length];
            let subtrees: Vec<String> =
                (1..).zip(bytes.chunks(part)).map(|(n, part)| subtree_hash(n, part)).collect();
            let whole = whole_hash(&subtrees, length as u64, bytes.chunks(part).last().unwrap());
            assert_eq!(whole.unwrap(), blake3::hash(bytes).to_hex().as_str(), "{length} bytes");
        }
    }
}

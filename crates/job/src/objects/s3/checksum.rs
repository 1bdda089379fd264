//! Checksums: CRC-64/NVME of what we write, whatever there is of what is stored.

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::ChecksumType;
use aws_smithy_types::base64;
use crc_fast::CrcAlgorithm;

use super::super::{Checksum, ChecksumAlgorithm, ObjectInfo};
use super::S3Checksums;

const CRC: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;
const ALGORITHM: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Nvme;

/// The checksum of `bytes`, if objects are to have one.
pub fn of(checksums: S3Checksums, bytes: &[u8]) -> Option<u64> {
    match checksums {
        S3Checksums::Always => Some(crc_fast::checksum(CRC, bytes)),
        S3Checksums::WhenRequired => None,
    }
}

/// The checksum of all parts one after the other, given the checksum and the length of each.
pub fn combined(parts: impl IntoIterator<Item = (Option<u64>, u64)>) -> Option<u64> {
    parts.into_iter().try_fold(crc_fast::checksum(CRC, &[]), |before, (checksum, bytes)| {
        Some(crc_fast::checksum_combine(CRC, before, checksum?, bytes))
    })
}

/// As S3 writes it.
pub fn encoded(checksum: u64) -> String {
    base64::encode(checksum.to_be_bytes())
}

/// Whether what is there has this length and, as far as the store can tell, these bytes.
pub fn is_same(is: &ObjectInfo, bytes: u64, checksum: Option<u64>) -> bool {
    let stored = is.checksum.filter(|stored| stored.algorithm == ALGORITHM);
    is.bytes == bytes && stored.is_none_or(|is| checksum.is_none_or(|ours| is.value == ours))
}

/// A checksum of all bytes, rather than one of the checksums of parts; those end in `-N`.
pub fn stored(head: &HeadObjectOutput) -> Option<Checksum> {
    if head.checksum_type() == Some(&ChecksumType::Composite) {
        return None;
    }
    [
        (ChecksumAlgorithm::Crc64Nvme, 8, head.checksum_crc64_nvme()),
        (ChecksumAlgorithm::Crc32c, 4, head.checksum_crc32_c()),
        (ChecksumAlgorithm::Crc32, 4, head.checksum_crc32()),
    ]
    .into_iter()
    .find_map(|(algorithm, bytes, text)| {
        let value = base64::decode(text?).ok()?;
        let value = (value.len() == bytes)
            .then(|| value.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))?;
        Some(Checksum { algorithm, value })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_parts_make_that_of_the_whole() {
        let parts: [&[u8]; 3] = [b"1234", b"", b"56789"];
        let parts = parts.map(|part| (of(S3Checksums::Always, part), part.len() as u64));
        // The check value of CRC-64/NVME.
        assert_eq!(combined(parts), Some(0xae8b_1486_0a79_9888));
        assert_eq!(combined([]), of(S3Checksums::Always, b""));
        assert_eq!(combined([(Some(1), 1), (None, 1)]), None);
    }

    #[test]
    fn checksums_of_checksums_are_none() {
        let head = HeadObjectOutput::builder().checksum_crc32("y/Q5Jg==");
        let expected = Checksum { algorithm: ChecksumAlgorithm::Crc32, value: 0xcbf4_3926 };
        assert_eq!(stored(&head.clone().build()), Some(expected));
        let composite = head.clone().checksum_type(ChecksumType::Composite).build();
        assert_eq!(stored(&composite), None);
        assert_eq!(stored(&head.checksum_crc32("y/Q5Jg==-2").build()), None);
        assert_eq!(stored(&HeadObjectOutput::builder().build()), None);
    }
}

//! Addresses that let anyone in for a while.

use std::fmt::Write;
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;

use super::super::{Result, StoreError, StoreErrorKind};
use super::S3Store;
use super::error::store_error;
use crate::file_name::is_deceptive;
use crate::object_key::ObjectKey;

/// What S3 takes by a single PUT.
const MAX_PUT_BYTES: u64 = 5 << 30;

const OPERATION: &str = "presign";

pub async fn get(
    store: &S3Store,
    key: &ObjectKey,
    file_name: &str,
    valid: Duration,
) -> Result<String> {
    let request = store
        .client
        .get_object()
        .bucket(&store.config.bucket)
        .key(key.as_str())
        .response_content_disposition(attachment(file_name))
        .presigned(validity(key, valid)?)
        .await
        .map_err(|error| store_error(OPERATION, Some(key), error))?;
    Ok(request.uri().to_owned())
}

/// The length is signed, so that the store refuses any other.
pub async fn put(store: &S3Store, key: &ObjectKey, bytes: u64, valid: Duration) -> Result<String> {
    if bytes > MAX_PUT_BYTES {
        let why = format!("{bytes} bytes are more than the {MAX_PUT_BYTES} of a PUT");
        return Err(StoreError::new(StoreErrorKind::Invalid, OPERATION, Some(key), why));
    }
    let request = store
        .client
        .put_object()
        .bucket(&store.config.bucket)
        .key(key.as_str())
        .content_length(bytes as i64)
        .presigned(validity(key, valid)?)
        .await
        .map_err(|error| store_error(OPERATION, Some(key), error))?;
    Ok(request.uri().to_owned())
}

fn validity(key: &ObjectKey, valid: Duration) -> Result<PresigningConfig> {
    PresigningConfig::expires_in(valid)
        .map_err(|error| StoreError::new(StoreErrorKind::Invalid, OPERATION, Some(key), error))
}

/// A `Content-Disposition` that saves as `file_name` (RFC 6266): once in ASCII for old browsers,
/// once in UTF-8 (RFC 8187). Nothing of the name can end the text, the header or the folder.
fn attachment(file_name: &str) -> String {
    let is_unsafe = |c: char| is_deceptive(c) || "\"\\/:*?<>|".contains(c);
    let name: String = file_name.chars().filter(|&c| !is_unsafe(c)).collect();
    let name = name.trim_matches(|c: char| c == '.' || c.is_whitespace());
    let name = if name.is_empty() { "download" } else { name };

    // A `%` makes some browsers decode the old form, so it does not get there.
    let ascii: String =
        name.chars().map(|c| if c.is_ascii() && c != '%' { c } else { '_' }).collect();
    let mut disposition = format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''");
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                disposition.push(byte.into());
            }
            _ => write!(disposition, "%{byte:02X}").expect("a String takes everything"),
        }
    }
    disposition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_and_harmless() {
        for (name, ascii, utf8) in [
            ("talk.mp3", "talk.mp3", "talk.mp3"),
            ("My Täg 100%.mp3", "My T_g 100_.mp3", "My%20T%C3%A4g%20100%25.mp3"),
            ("a\r\nSet-Cookie: x=\"1\"", "aSet-Cookie x=1", "aSet-Cookie%20x%3D1"),
            ("../../etc/passwd", "etcpasswd", "etcpasswd"),
            ("C:\\x\0.mp3", "Cx.mp3", "Cx.mp3"),
            ("\u{202e}3pm.exe", "3pm.exe", "3pm.exe"),
            (" .. ", "download", "download"),
            ("", "download", "download"),
        ] {
            let expected = format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{utf8}");
            assert_eq!(attachment(name), expected, "{name:?}");
        }
    }
}

//! When a certificate expires (RFC 5280, section 4.1). Libraries that read the whole of one bring a
//! dozen crates for this date.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The tag of `version`, which may be left out.
const VERSION: u8 = 0xa0;
/// Those of the two kinds of times.
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of a certificate in DER; `None` if it is none.
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if *rest.first()? == VERSION {
        rest = element(rest)?.2;
    }
    // Its number, the algorithm of its signature, its issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    let time = str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let century = match tag {
        GENERALIZED_TIME => "",
        UTC_TIME if time < "50" => "20",
        UTC_TIME => "19",
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", format!("{century}{time}")).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The first element of `der`: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    let (length, rest) = match length {
        ..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;

    use super::*;

    /// As much of a certificate as counts, with this `notAfter`.
    fn certificate(tag: u8, time: &str) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
        let validity = [wrap(UTC_TIME, b"250101000000Z"), wrap(tag, time.as_bytes())].concat();
        let version = wrap(VERSION, &wrap(2, &[2]));
        let head = [version, wrap(2, &[1]), wrap(0x30, &[]), wrap(0x30, &[])].concat();
        let to_be_signed = [head, wrap(0x30, &validity), vec![0x30; 200]].concat();
        let long = |content: &[u8]| {
            [&[0x30, 0x82], &(content.len() as u16).to_be_bytes()[..], content].concat()
        };
        long(&long(&to_be_signed))
    }

    #[test]
    fn both_kinds_of_times_are_read() {
        for (tag, time, expected) in [
            (UTC_TIME, "491231235959Z", "2049-12-31T23:59:59Z"),
            (UTC_TIME, "500101000000Z", "1950-01-01T00:00:00Z"),
            (GENERALIZED_TIME, "20500101000000Z", "2050-01-01T00:00:00Z"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(not_after(&certificate(tag, time)), Some(expected));
        }
    }

    #[test]
    fn a_real_certificate_is_read() {
        let authority = tonemill_testbed::tls::Authority::new();
        let certificate = CertificateDer::from_pem_file(authority.certificate_file()).unwrap();
        // What rcgen makes of certificates whose end nobody names.
        let expected: Timestamp = "4096-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(not_after(&certificate), Some(expected));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = certificate(UTC_TIME, "491231235959Z");
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "{end}");
        }
        assert_eq!(not_after(&certificate(4, "491231235959Z")), None);
        assert_eq!(not_after(&certificate(UTC_TIME, "491331235959Z")), None);
        assert_eq!(not_after(&certificate(UTC_TIME, "nonsense")), None);
    }
}

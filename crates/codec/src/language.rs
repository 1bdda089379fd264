//! Languages by their ISO 639 codes: "de", "deu" and "ger" are one.

use isolang::Language;

/// ISO 639-2 has two codes for some languages: the bibliographic one, which Matroska and MP4 files
/// often bear, and the terminological one, which ISO 639-3 continues.
const BIBLIOGRAPHIC: [(&str, &str); 20] = [
    ("alb", "sqi"),
    ("arm", "hye"),
    ("baq", "eus"),
    ("bur", "mya"),
    ("chi", "zho"),
    ("cze", "ces"),
    ("dut", "nld"),
    ("fre", "fra"),
    ("geo", "kat"),
    ("ger", "deu"),
    ("gre", "ell"),
    ("ice", "isl"),
    ("mac", "mkd"),
    ("mao", "mri"),
    ("may", "msa"),
    ("per", "fas"),
    ("rum", "ron"),
    ("slo", "slk"),
    ("tib", "bod"),
    ("wel", "cym"),
];

/// Whether two codes mean the same language; subtags, as in "en-US", are left aside. Codes that
/// ISO 639 does not know are compared as they are.
pub(crate) fn same_language(a: &str, b: &str) -> bool {
    canonical(a) == canonical(b)
}

/// The ISO 639-3 code.
fn canonical(code: &str) -> String {
    let code = code.split(['-', '_']).next().unwrap_or(code).trim().to_ascii_lowercase();
    if let Some((_, terminological)) = BIBLIOGRAPHIC.iter().find(|(b, _)| *b == code) {
        return (*terminological).to_owned();
    }
    match Language::from_639_1(&code) {
        Some(language) => language.to_639_3().to_owned(),
        None => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_has_many_codes() {
        for same in ["de", "deu", "ger", "DE", "de-CH", "ger_AT"] {
            assert!(same_language(same, "deu") && same_language("ger", same), "{same}");
        }
        assert!(!same_language("en", "deu"));
        assert!(same_language("xx1", "XX1") && !same_language("", "deu"));
    }

    #[test]
    fn every_bibliographic_code_leads_to_a_language() {
        for (bibliographic, terminological) in BIBLIOGRAPHIC {
            assert!(Language::from_639_3(bibliographic).is_none(), "{bibliographic}");
            assert!(Language::from_639_3(terminological).is_some(), "{terminological}");
        }
    }
}

//! JSON in requests: parsed strictly, refused with the field to blame.

use std::fmt;
use std::marker::PhantomData;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::problem::{Answer, Problem};
use crate::server::BodyTooSlow;

/// Longest JSON that is taken, in bytes.
pub const MAX_JSON_BYTES: usize = 256 << 10;

/// A body of JSON.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Answer<Self> {
        let headers = request.headers().clone();
        let body = small_body(request).await?;
        Self::parse(&headers, &body).map(Self)
    }
}

impl<T: DeserializeOwned> JsonBody<T> {
    /// What `body` says, if it says that it is JSON.
    pub fn parse(headers: &HeaderMap, body: &[u8]) -> Answer<T> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Problem::unsupported("send JSON, as application/json"));
        }
        parse_json(body)
    }
}

/// A body that fits into memory.
pub async fn small_body(request: Request) -> Answer<Bytes> {
    let limited = http_body_util::Limited::new(request.into_body(), MAX_JSON_BYTES);
    match http_body_util::BodyExt::collect(limited).await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::too_large(format!("JSON has at most {MAX_JSON_BYTES} bytes here")))
        }
        Err(error) => Err(broken(&*error)),
    }
}

/// The body did not come to its end.
pub fn broken(error: &(dyn std::error::Error + 'static)) -> Problem {
    if BodyTooSlow::is_cause_of(error) {
        return Problem::timeout("the body came too slowly");
    }
    Problem::bad_request("the body broke off")
}

/// What JSON says.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut reader);
    let Object(value) = parsed.map_err(|error| {
        let field = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() {
            return invalid(&field, without_place(&error.to_string()));
        }
        // A value where a name is due reads to serde_json as if it were no JSON.
        if serde_json::from_slice::<IgnoredAny>(body).is_ok() {
            return invalid(&field, "a value of this kind cannot be here");
        }
        Problem::bad_request(format!("this is no JSON: {error}"))
    })?;
    reader.end().map_err(|error| Problem::bad_request(format!("this is no JSON: {error}")))?;
    Ok(value)
}

/// A value that comes as an object and in no other way: serde would take an array of its fields,
/// too.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OfObject(PhantomData)).map(Self)
    }
}

/// A whole number, however it is written: JSON has no other kind than 8.0, and JSON Schema says
/// that it is an integer.
pub fn whole<'de, D: Deserializer<'de>, N: TryFrom<u64>>(
    deserializer: D,
) -> Result<Option<N>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let is_whole =
        |float: &f64| float.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(float);
    let float = || number.as_f64().filter(is_whole).map(|float| float as u64);
    let value = number.as_u64().or_else(float).and_then(|value| N::try_from(value).ok());
    value.map(Some).ok_or_else(|| D::Error::custom(format!("{number} is no such whole number")))
}

/// A value that may be `null` and means something by it.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Nullable<T>(pub Option<T>);

/// A value that was given, and be it `null`: what is absent is another thing.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// One that must be there.
pub fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    whole(deserializer)?.ok_or_else(|| D::Error::custom("null is no whole number"))
}

/// A value that is none, by the path to it. Of a field that is missing or comes twice serde gives
/// the path to what it belongs to, and its name in the text alone.
pub(crate) fn invalid(path: &str, text: &str) -> Problem {
    let starts = ["missing field `", "duplicate field `"];
    let name = starts.iter().find_map(|start| text.strip_prefix(start)?.split('`').next());
    let path = Some(path).filter(|path| *path != ".");
    let problem = Problem::invalid(text);
    match (path, name) {
        (Some(path), Some(name)) => problem.field(format!("{path}.{name}")),
        (Some(field), None) | (None, Some(field)) => problem.field(field),
        (None, None) => problem,
    }
}

/// Lines and columns of a single line help nobody.
fn without_place(text: &str) -> &str {
    text.split(" at line ").next().unwrap_or(text)
}

/// Whether a text fits into the ledger.
pub(crate) fn check_text(field: &'static str, text: &str, most_bytes: usize) -> Answer<()> {
    if text.len() > most_bytes {
        return Err(Problem::invalid(format!("has at most {most_bytes} bytes")).field(field));
    }
    if text.contains('\0') {
        return Err(Problem::invalid("may not hold a NUL character").field(field));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is parsed, not read")]
    struct Thing {
        inner: Inner,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is parsed, not read")]
    struct Inner {
        number: Option<u32>,
        #[serde(default)]
        kind: Kind,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        Soft,
    }

    #[test]
    fn the_field_is_named() {
        assert!(parse_json::<Thing>(br#"{"inner":{"number":5}}"#).is_ok());
        let problem = parse_json::<Thing>(br#"{"inner":{"number":-5}}"#).unwrap_err();
        assert_eq!((problem.status, problem.field.as_deref()), (422, Some("inner.number")));
        let problem = parse_json::<Thing>(br#"{"inner":{"nmber":5}}"#).unwrap_err();
        assert_eq!((problem.status, problem.field.as_deref()), (422, Some("inner.nmber")));
        assert!(problem.detail.starts_with("unknown field `nmber`"), "{}", problem.detail);
        let blamed = |json: &[u8]| {
            let problem = parse_json::<Thing>(json).unwrap_err();
            assert_eq!(problem.status, 422, "{}", problem.detail);
            problem.field.unwrap_or_default()
        };
        assert_eq!(blamed(b"{}"), "inner");
        assert_eq!(blamed(br#"{"inner":{},"inner":{}}"#), "inner");
        assert_eq!(blamed(br#"{"inner":{"number":5,"number":5}}"#), "inner.number");
        assert_eq!(blamed(br#"[{"number":5}]"#), "");
        for value in ["null", "{}", "5", "[]", "true", "\"loud\""] {
            assert_eq!(
                blamed(format!("{{\"inner\":{{\"kind\":{value}}}}}").as_bytes()),
                "inner.kind"
            );
        }
        for wrong in [&b"{"[..], b"", b"\xff", br#"{"inner":{}} x"#, br#"{"inner":{"kind":nul"#] {
            assert_eq!(parse_json::<Thing>(wrong).unwrap_err().status, 400, "{wrong:?}");
        }
    }
}

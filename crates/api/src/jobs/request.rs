//! What may be asked of a job: the options of `tonemill convert`, a lane, a label, who is told of
//! it.
//!
//! The same fields come as JSON, as fields of a form, or in a query; all three are parsed as one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use tonemill_job::options::{ChannelOption, DecoderOption};
use tonemill_job::{JobOptions, Lane, is_deceptive};
use tonemill_ledger::deliveries::default_events;
use tonemill_ledger::job::{MAX_FILE_NAME_BYTES, MAX_LABEL_BYTES};
use tonemill_ledger::webhooks::NewWebhook;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::body::{parse_json, whole};
use crate::names::{self, ChannelsName, DecoderName, EventName, LaneName};
use crate::problem::{Answer, Problem};
use crate::webhooks::target::{check_some_events, check_url, new_webhook};

/// What to make of an upload. Everything is optional.
#[derive(Debug, Clone, Default, Deserialize, ToSchema, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobRequest {
    /// Constant bitrate, in kbit/s: 8 to 320. Default: 192.
    #[param(schema_with = names::bitrate)]
    #[schema(schema_with = names::nullable_bitrate)]
    #[serde(deserialize_with = "whole")]
    pub bitrate_kbps: Option<u32>,
    /// Average bitrate, in kbit/s, instead.
    #[param(minimum = 8, maximum = 310)]
    #[schema(minimum = 8, maximum = 310)]
    #[serde(deserialize_with = "whole")]
    pub abr_kbps: Option<u32>,
    /// Variable bitrate instead, from 0 (best) to 9 (smallest).
    #[param(minimum = 0, maximum = 9)]
    #[schema(minimum = 0, maximum = 9)]
    #[serde(deserialize_with = "whole")]
    pub vbr_level: Option<u8>,
    /// The encoder's effort, from 0 (slowest, best) to 9 (fastest). Default: 3.
    #[param(minimum = 0, maximum = 9)]
    #[schema(minimum = 0, maximum = 9)]
    #[serde(deserialize_with = "whole")]
    pub quality: Option<u8>,
    /// `auto` (as many as the input, at most two), `mono` or `stereo`.
    #[param(value_type = Option<ChannelsName>, inline)]
    #[schema(value_type = ChannelsName, required = false)]
    pub channels: ChannelOption,
    /// Sample rate, in Hz. Default: the input's, if MP3 has it.
    #[param(schema_with = names::rate)]
    #[schema(schema_with = names::nullable_rate)]
    #[serde(deserialize_with = "whole")]
    pub rate_hz: Option<u32>,
    /// Audio track, from 0. Default: the one that players choose.
    #[serde(deserialize_with = "whole")]
    pub track: Option<usize>,
    /// Audio track in this language, by any ISO 639 code.
    #[param(max_length = 64, pattern = "\\S")]
    #[schema(schema_with = names::language)]
    pub language: Option<String>,
    /// Where to start, in seconds.
    #[param(minimum = 0)]
    #[schema(minimum = 0)]
    pub start_seconds: Option<f64>,
    /// Where to end, in seconds of the input.
    #[param(minimum = 0)]
    #[schema(minimum = 0)]
    pub end_seconds: Option<f64>,
    /// Tags that replace the input's; an empty text removes one. In forms and queries
    /// `tag.title=…`.
    #[param(ignore)]
    #[schema(schema_with = names::tags, required = false)]
    pub tags: BTreeMap<String, String>,
    /// Leave out the input's tags and chapters.
    pub drop_tags: bool,
    /// Leave out the input's cover.
    pub drop_cover: bool,
    /// Refuse input that ends early or is damaged.
    pub strict: bool,
    /// `ffmpeg` (everything) or `symphonia` (memory-safe, fewer formats).
    #[param(value_type = Option<DecoderName>, inline)]
    #[schema(value_type = DecoderName, required = false)]
    pub decoder: DecoderOption,
    /// `high` (somebody is waiting), `normal` or `low` (whenever there is time).
    #[param(value_type = Option<LaneName>, inline)]
    #[schema(value_type = LaneName, required = false)]
    pub lane: Lane,
    /// What you call it, to find it again.
    #[param(max_length = 190)]
    #[schema(max_length = 190)]
    pub label: String,
    /// What the upload is called, whatever it says itself; of a long name 255 bytes are kept. The
    /// output is named after it.
    pub file_name: Option<String>,
    /// Who is told of this job alone: a webhook, by its URL (https, or http).
    #[param(format = Uri, max_length = 2000, pattern = "^https?://[^/?#@]+([/?#]|$)")]
    #[schema(format = Uri, max_length = 2000, pattern = "^https?://[^/?#@]+([/?#]|$)")]
    pub webhook: Option<String>,
    /// What it is told: some of `job.started`, `job.finished`, `job.failed`. Default: the last two.
    /// In forms and queries separated by commas.
    #[param(value_type = Option<Vec<EventName>>, style = Form, explode = false, min_items = 1)]
    #[schema(value_type = Option<Vec<EventName>>, min_items = 1)]
    pub webhook_events: Option<Vec<String>>,
    /// A finished upload, instead of a body.
    pub upload: Option<Uuid>,
}

/// Fields whose values are texts, whatever they look like.
const TEXTS: [&str; 7] =
    ["label", "file_name", "language", "channels", "decoder", "lane", "webhook"];
/// The field whose value is a list.
const LIST: &str = "webhook_events";

impl JobRequest {
    /// From the fields of a form or a query.
    pub fn from_fields(fields: impl IntoIterator<Item = (String, String)>) -> Answer<Self> {
        let mut object = Map::new();
        let mut tags = Map::new();
        for (name, text) in fields {
            let (into, key) = match name.strip_prefix("tag.") {
                Some(tag) => (&mut tags, tag),
                None => (&mut object, name.as_str()),
            };
            let is_text = TEXTS.contains(&key);
            // Numbers, yes and no as they are in JSON; the rest is text.
            let value = if is_text { None } else { serde_json::from_str(&text).ok() };
            let value = match value {
                _ if name == LIST => text.split(',').map(str::trim).collect(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value,
                _ => Value::String(text),
            };
            if into.insert(key.to_owned(), value).is_some() {
                return Err(Problem::invalid("comes twice").field(name));
            }
        }
        if !tags.is_empty() {
            let as_text = |value: &mut Value| {
                if !value.is_string() {
                    *value = Value::String(value.to_string());
                }
            };
            tags.values_mut().for_each(as_text);
            if object.insert("tags".to_owned(), Value::Object(tags)).is_some() {
                return Err(Problem::invalid("tags come one by one, as tag.title").field("tags"));
            }
        }
        let json = serde_json::to_vec(&object).map_err(|error| Problem::defect(&error))?;
        let request: Self = parse_json(&json)?;
        request.check()?;
        Ok(request)
    }

    /// From JSON.
    pub fn from_json(json: &[u8]) -> Answer<Self> {
        let request: Self = parse_json(json)?;
        request.check()?;
        Ok(request)
    }

    /// Whether a job can have all of it.
    fn check(&self) -> Answer<()> {
        self.options().validate().map_err(|invalid| {
            Problem::invalid(format!("{} {}", invalid.field, invalid.reason)).field(invalid.field)
        })?;
        if self.label.len() > MAX_LABEL_BYTES {
            let why = format!("a label has at most {MAX_LABEL_BYTES} bytes");
            return Err(Problem::invalid(why).field("label"));
        }
        self.webhook()?;
        // PostgreSQL has no text with it, and no one else needs it.
        let texts = [("label", &self.label)].into_iter();
        let texts = texts.chain(self.language.iter().map(|code| ("language", code)));
        let mut texts = texts.chain(self.tags.values().map(|text| ("tags", text)));
        if let Some((field, _)) = texts.find(|(_, text)| text.contains('\0')) {
            return Err(Problem::invalid("no text may hold a NUL character").field(field));
        }
        Ok(())
    }

    /// Who is told of the job, with a new name and secret each time.
    pub fn webhook(&self) -> Answer<Option<NewWebhook>> {
        let Some(url) = &self.webhook else {
            if self.webhook_events.is_none() {
                return Ok(None);
            }
            let why = "say as well which webhook is told";
            return Err(Problem::invalid(why).field("webhook_events"));
        };
        check_url("webhook", url)?;
        let events = match &self.webhook_events {
            Some(events) => check_some_events("webhook_events", events)?,
            None => default_events(),
        };
        Ok(Some(new_webhook(url.clone(), events)))
    }

    /// As the workers know them.
    #[must_use]
    pub fn options(&self) -> JobOptions {
        JobOptions {
            bitrate_kbps: self.bitrate_kbps,
            abr_kbps: self.abr_kbps,
            vbr_level: self.vbr_level,
            quality: self.quality,
            channels: self.channels,
            rate_hz: self.rate_hz,
            track: self.track,
            language: self.language.clone(),
            start_seconds: self.start_seconds,
            end_seconds: self.end_seconds,
            tags: self.tags.clone(),
            drop_tags: self.drop_tags,
            drop_cover: self.drop_cover,
            strict: self.strict,
            decoder: self.decoder,
        }
    }
}

/// A name that a client gives a file, as it is kept: its last component, without control characters
/// and such, of a bounded length.
#[must_use]
pub fn clean_file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean = String::new();
    for letter in last.trim().chars().filter(|letter| !is_deceptive(*letter)) {
        if clean.len() + letter.len_utf8() > MAX_FILE_NAME_BYTES {
            break;
        }
        clean.push(letter);
    }
    if clean.is_empty() || clean == "." || clean == ".." { "upload".to_owned() } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, &str)]) -> Answer<JobRequest> {
        JobRequest::from_fields(fields.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())))
    }

    #[test]
    fn forms_and_json_say_the_same() {
        let form = fields(&[
            ("bitrate_kbps", "128"),
            ("tag.title", "007"),
            ("tag.track", "7"),
            ("drop_cover", "true"),
            ("label", "42"),
            ("lane", "high"),
            ("start_seconds", "1.5"),
            ("webhook", "https://example.org/"),
            ("webhook_events", "job.failed,job.started"),
        ]);
        let form = form.unwrap();
        let json = br#"{"bitrate_kbps":128,"tags":{"title":"007","track":"7"},"drop_cover":true,
            "label":"42","lane":"high","start_seconds":1.5,"webhook":"https://example.org/",
            "webhook_events":["job.failed","job.started"]}"#;
        let json = JobRequest::from_json(json).unwrap();
        let of_form = form.webhook().unwrap().unwrap();
        let of_json = json.webhook().unwrap().unwrap();
        assert_eq!((&of_form.url, &of_form.events), (&of_json.url, &of_json.events));
        assert_eq!(of_form.events, ["job.started", "job.failed"]);
        assert_ne!(of_form.secret, of_json.secret);
        assert_eq!(form.options(), json.options());
        assert_eq!((form.lane, form.label.as_str()), (Lane::High, "42"));
        assert_eq!(form.tags["title"], "007");
    }

    #[test]
    fn the_field_to_blame_is_named() {
        let blamed = |given: &[(&str, &str)]| {
            let problem = fields(given).unwrap_err();
            assert_eq!(problem.status, 422);
            problem.field.unwrap_or_default()
        };
        assert_eq!(blamed(&[("bitrate_kbps", "129")]), "bitrate_kbps");
        assert_eq!(blamed(&[("bitrate_kbps", "loud")]), "bitrate_kbps");
        assert_eq!(blamed(&[("quality", "10")]), "quality");
        assert_eq!(blamed(&[("lane", "fast")]), "lane");
        assert_eq!(blamed(&[("bitrat", "128")]), "bitrat");
        assert_eq!(blamed(&[("tag.lyrics", "la")]), "tags");
        assert_eq!(blamed(&[("label", &"x".repeat(MAX_LABEL_BYTES + 1))]), "label");
        assert_eq!(blamed(&[("label", "a"), ("label", "b")]), "label");
        assert_eq!(blamed(&[("start_seconds", "5"), ("end_seconds", "5")]), "end_seconds");
        assert_eq!(blamed(&[("label", "a\0")]), "label");
        assert_eq!(blamed(&[("language", "en\0")]), "language");
        assert_eq!(blamed(&[("tag.title", "a\0")]), "tags");
        assert_eq!(blamed(&[("tags", "x"), ("tag.title", "y")]), "tags");
        assert_eq!(blamed(&[("tag.title", "x"), ("tag.title", "y")]), "tag.title");
        assert!(fields(&[("label", &"x".repeat(MAX_LABEL_BYTES))]).is_ok());
        assert_eq!(blamed(&[("webhook", "h")]), "webhook");
        assert_eq!(blamed(&[("webhook", "")]), "webhook");
        assert_eq!(blamed(&[("webhook_events", "job.failed")]), "webhook_events");
        let events = |events| fields(&[("webhook", "http://h/"), ("webhook_events", events)]);
        for wrong in ["", ",", "job.failed,", "webhook.test", "job.failed job.started"] {
            let field = events(wrong).unwrap_err().field;
            assert_eq!(field.as_deref(), Some("webhook_events"), "{wrong}");
        }
        assert!(events("job.failed, job.failed").is_ok());
    }

    #[test]
    fn json_of_another_kind_is_json() {
        for (json, field) in [
            (r#"{"lane":null}"#, "lane"),
            (r#"{"lane":{}}"#, "lane"),
            (r#"{"channels":null}"#, "channels"),
            (r#"{"channels":5}"#, "channels"),
            (r#"{"decoder":["ffmpeg"]}"#, "decoder"),
            (r#"{"label":"a","label":"b"}"#, "label"),
            (r#"{"tags":{"title":5}}"#, "tags.title"),
        ] {
            let problem = JobRequest::from_json(json.as_bytes()).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (422, Some(field)), "{json}");
        }
    }

    #[test]
    fn names_of_files_are_harmless() {
        let cases = [
            ("talk.mp4", "talk.mp4"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Videos\\a b.mov", "a b.mov"),
            ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
            ("\u{202e}4pm.exe", "4pm.exe"),
            ("..", "upload"),
            ("", "upload"),
            ("dir/", "upload"),
            ("Grüße 🎬.mkv", "Grüße 🎬.mkv"),
        ];
        for (name, clean) in cases {
            assert_eq!(clean_file_name(name), clean);
        }
        assert_eq!(clean_file_name(&"ä".repeat(200)).len(), 254);
    }
}

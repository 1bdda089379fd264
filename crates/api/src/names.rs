//! Names that requests and answers may hold, as the description lists them. Handlers take and give
//! texts; the tests here hold the lists against what is understood.

#![allow(dead_code, reason = "for the description")]

use tonemill_job::options::{
    BITRATES_KBPS, MAX_LANGUAGE_BYTES, MAX_TAGS_BYTES, SAMPLE_RATES_HZ, TAGS,
};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, SchemaType, Type};
use utoipa::openapi::{Object, ObjectBuilder, Schema};

use crate::admin::MAX_EMAIL_BYTES;

/// How urgent a job is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum LaneName {
    High,
    Normal,
    Low,
}

/// Where a job is in its life.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum StateName {
    Waiting,
    Queued,
    Running,
    Finished,
    Failed,
    Cancelled,
}

/// Channels of an output.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum ChannelsName {
    Auto,
    Mono,
    Stereo,
}

/// The library that decodes.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum DecoderName {
    Ffmpeg,
    Symphonia,
}

/// What a user is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum RoleName {
    Admin,
    User,
}

/// What an API key may do.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum ScopeName {
    Read,
    Write,
    Admin,
}

/// What a webhook can be told.
#[derive(ToSchema)]
pub(crate) enum EventName {
    #[schema(rename = "job.started")]
    Started,
    #[schema(rename = "job.finished")]
    Finished,
    #[schema(rename = "job.failed")]
    Failed,
}

/// How far a notification is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum DeliveryStateName {
    Owed,
    Delivered,
    Dead,
}

/// Whose fault a failure was.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum FailureName {
    BadInput,
    LimitExceeded,
    Transient,
    Crash,
    Bug,
}

/// The version of tus.
#[derive(ToSchema)]
pub(crate) enum TusVersion {
    #[schema(rename = "1.0.0")]
    V1,
}

/// A method that POST can stand for.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum OverriddenMethod {
    Head,
    Patch,
    Delete,
}

/// One of MP3's bitrates, in kbit/s.
pub(crate) fn bitrate() -> Object {
    integer().enum_values(Some(BITRATES_KBPS)).build()
}

/// The same in JSON, where it may be `null`.
pub(crate) fn nullable_bitrate() -> Object {
    nullable(&BITRATES_KBPS)
}

/// One of MP3's sample rates, in Hz.
pub(crate) fn rate() -> Object {
    integer().enum_values(Some(SAMPLE_RATES_HZ)).build()
}

/// The same in JSON, where it may be `null`.
pub(crate) fn nullable_rate() -> Object {
    nullable(&SAMPLE_RATES_HZ)
}

/// Texts by the names of tags.
pub(crate) fn tags() -> Object {
    let tag = || ObjectBuilder::new().schema_type(Type::String).max_length(Some(MAX_TAGS_BYTES));
    let object = ObjectBuilder::new().schema_type(Type::Object);
    let object = TAGS.iter().fold(object, |object, name| object.property(*name, tag()));
    object.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false))).build()
}

/// A code of a language.
pub(crate) fn language() -> Object {
    let text = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
    text.pattern(Some("\\S")).max_length(Some(MAX_LANGUAGE_BYTES)).build()
}

/// An address for mails.
pub(crate) fn email() -> Object {
    let text = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
    let atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
    let label = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";
    let pattern = format!("^({atom}(\\.{atom})*@{label}(\\.{label})*)?$");
    let text = text.description(Some("Where mails go; an empty text: nowhere"));
    text.pattern(Some(pattern)).max_length(Some(MAX_EMAIL_BYTES)).build()
}

fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

fn nullable(values: &[u32]) -> Object {
    let values = values.iter().map(|value| Some(*value)).chain([None]);
    let either = SchemaType::from_iter([Type::Integer, Type::Null]);
    ObjectBuilder::new().schema_type(either).enum_values(Some(values)).build()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tonemill_job::Lane;
    use tonemill_job::message::FailureKind;
    use tonemill_job::options::{ChannelOption, DecoderOption};
    use tonemill_ledger::JobState;
    use tonemill_ledger::deliveries::{DeliveryState, JOB_EVENTS};
    use tonemill_ledger::users::Role;
    use utoipa::PartialSchema;

    use super::*;
    use crate::auth::Scope;

    fn listed<T: PartialSchema>() -> Vec<String> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let names = schema["enum"].as_array().unwrap();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    fn understood<T: serde::de::DeserializeOwned>(names: &[String]) -> bool {
        names.iter().all(|name| serde_json::from_value::<T>(json!(name)).is_ok())
    }

    #[test]
    fn what_is_listed_is_what_is_understood() {
        assert_eq!(listed::<LaneName>(), Lane::ALL.map(Lane::name));
        assert_eq!(listed::<ScopeName>(), Scope::ALL.map(Scope::name));
        assert_eq!(listed::<EventName>(), JOB_EVENTS);
        let states = DeliveryState::ALL.map(DeliveryState::name);
        assert_eq!(listed::<DeliveryStateName>(), states);
        assert!(listed::<RoleName>().iter().all(|name| Role::named(name).is_some()));
        assert!(listed::<StateName>().iter().all(|name| JobState::named(name).is_some()));
        assert!(understood::<ChannelOption>(&listed::<ChannelsName>()));
        assert!(understood::<DecoderOption>(&listed::<DecoderName>()));
        assert!(understood::<FailureKind>(&listed::<FailureName>()));
    }

    #[test]
    fn numbers_and_tags_are_listed() {
        let of = |object: Object| serde_json::to_value(object).unwrap();
        assert_eq!(of(bitrate())["enum"].as_array().unwrap().len(), BITRATES_KBPS.len());
        assert_eq!(of(nullable_rate())["enum"].as_array().unwrap().last(), Some(&Value::Null));
        assert_eq!(of(tags())["properties"].as_object().unwrap().len(), TAGS.len());
        assert_eq!(of(tags())["additionalProperties"], json!(false));
    }
}

//! What the bucket does with objects by itself.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule};

use super::S3Store;
use super::error::store_error;
use crate::object_key::ObjectKey;
use crate::objects::{Result, StoreErrorKind};

/// What a bucket's rules do with our objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifecycle {
    /// Objects go after a while, whatever the ledger says.
    pub removes_objects: bool,
    /// Uploads and outputs that nobody finished go after a while.
    pub removes_unfinished: bool,
}

impl S3Store {
    /// The bucket's rules; `None` where the store knows no rules. Not every key that may read and
    /// write objects may ask (`s3:GetLifecycleConfiguration`): that is [`StoreErrorKind::Denied`].
    pub async fn lifecycle(&self) -> Result<Option<Lifecycle>> {
        let bucket = &self.config.bucket;
        let asked = self.client.get_bucket_lifecycle_configuration().bucket(bucket).send().await;
        let error = match asked {
            Ok(answer) => return Ok(Some(Lifecycle::of(answer.rules()))),
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => {
                return Ok(Some(Lifecycle::default()));
            }
            Err(error) => store_error("read the rules of", None, error),
        };
        if error.kind == StoreErrorKind::Unsupported { Ok(None) } else { Err(error) }
    }
}

impl Lifecycle {
    fn of(rules: &[LifecycleRule]) -> Self {
        let is_on = |rule: &&LifecycleRule| rule.status == ExpirationStatus::Enabled;
        let expires = |rule: &LifecycleRule| {
            let when = rule.expiration.as_ref();
            when.is_some_and(|when| when.days.is_some() || when.date.is_some())
        };
        let aborts = |rule: &LifecycleRule| rule.abort_incomplete_multipart_upload.is_some();
        let begun = [ObjectKey::UPLOADS, ObjectKey::OUTPUTS];
        let mark = ObjectKey::mark();
        let all = [ObjectKey::UPLOADS, ObjectKey::OUTPUTS, ObjectKey::CARDS, mark.as_str()];
        let rules: Vec<&LifecycleRule> = rules.iter().filter(is_on).collect();
        Self {
            removes_objects: rules.iter().any(|rule| {
                expires(rule) && has_no_tags(rule) && all.iter().any(|keys| is_about(rule, keys))
            }),
            removes_unfinished: begun.iter().all(|keys| {
                rules.iter().any(|rule| aborts(rule) && keys.starts_with(prefix(rule)))
            }),
        }
    }
}

/// What the keys start with that a rule is about. The first place is where it was before there were
/// filters.
fn prefix(rule: &LifecycleRule) -> &str {
    #[allow(deprecated, reason = "rules of that time are still in force")]
    let old = rule.prefix.as_deref();
    let filter = rule.filter.as_ref();
    let alone = filter.and_then(|filter| filter.prefix.as_deref());
    let with_others = filter.and_then(|filter| filter.and.as_ref()?.prefix.as_deref());
    old.or(alone).or(with_others).unwrap_or_default()
}

/// Whether a rule is about some keys that start with `keys`.
fn is_about(rule: &LifecycleRule, keys: &str) -> bool {
    let prefix = prefix(rule);
    keys.starts_with(prefix) || prefix.starts_with(keys)
}

/// Our objects have no tags: a rule that asks for one is about others.
fn has_no_tags(rule: &LifecycleRule) -> bool {
    rule.filter.as_ref().is_none_or(|filter| {
        filter.tag.is_none() && filter.and.as_ref().is_none_or(|and| and.tags().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::builders::LifecycleRuleBuilder;
    use aws_sdk_s3::types::{
        AbortIncompleteMultipartUpload, LifecycleExpiration, LifecycleRuleAndOperator,
        LifecycleRuleFilter, NoncurrentVersionExpiration, Tag,
    };

    use super::*;

    fn of(rules: impl IntoIterator<Item = LifecycleRuleBuilder>) -> Lifecycle {
        let on = |rule: LifecycleRuleBuilder| rule.status(ExpirationStatus::Enabled).build();
        Lifecycle::of(&rules.into_iter().map(|rule| on(rule).unwrap()).collect::<Vec<_>>())
    }

    fn rule() -> LifecycleRuleBuilder {
        LifecycleRule::builder()
    }

    fn expires() -> LifecycleRuleBuilder {
        rule().expiration(LifecycleExpiration::builder().days(30).build())
    }

    fn aborts() -> LifecycleRuleBuilder {
        let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(2).build();
        rule().abort_incomplete_multipart_upload(abort)
    }

    fn below(prefix: &str) -> LifecycleRuleFilter {
        LifecycleRuleFilter::builder().prefix(prefix).build()
    }

    #[test]
    fn a_rule_counts_if_it_is_about_our_objects() {
        let tag = Tag::builder().key("a").value("b").build().unwrap();
        let tagged = LifecycleRuleFilter::builder().tag(tag.clone()).build();
        let and = LifecycleRuleAndOperator::builder().prefix("uploads/");
        let both = |and: LifecycleRuleAndOperator| LifecycleRuleFilter::builder().and(and).build();
        let long = both(and.clone().object_size_greater_than(1 << 20).build());
        let long_and_tagged = both(and.tags(tag).build());
        #[allow(deprecated, reason = "rules of that time are still in force")]
        let old = |prefix: &str| expires().prefix(prefix);
        let marker = LifecycleExpiration::builder().expired_object_delete_marker(true).build();
        let versions = NoncurrentVersionExpiration::builder().noncurrent_days(1).build();
        for (what, rule, removes) in [
            ("all", expires(), true),
            ("all, as an empty prefix", expires().filter(below("")), true),
            ("uploads", expires().filter(below("uploads/")), true),
            ("outputs, by what they start with", expires().filter(below("out")), true),
            ("some outputs", expires().filter(below("outputs/0")), true),
            ("cards", expires().filter(below("cards/")), true),
            ("the mark", expires().filter(below("tonemill")), true),
            ("others", expires().filter(below("logs/")), false),
            ("others that look like ours", expires().filter(below("uploads-of-mine/")), false),
            ("uploads, as it once was written", old("uploads/"), true),
            ("others, as it once was written", old("logs/"), false),
            ("what has a tag", expires().filter(tagged), false),
            ("uploads with a tag", expires().filter(long_and_tagged), false),
            ("long uploads", expires().filter(long), true),
            ("marks of deletion", rule().expiration(marker), false),
            ("old versions", rule().noncurrent_version_expiration(versions), false),
            ("what is not finished", aborts(), false),
        ] {
            assert_eq!(of([rule]).removes_objects, removes, "{what}");
        }
    }

    #[test]
    fn what_is_not_finished_goes_if_all_of_it_does() {
        let (uploads, outputs) =
            (aborts().filter(below("uploads/")), aborts().filter(below("outputs/")));
        for (what, rules, removes) in [
            ("no rule", vec![], false),
            ("all", vec![aborts()], true),
            ("uploads alone", vec![uploads.clone()], false),
            ("both", vec![uploads, outputs], true),
            ("some of each", vec![aborts().filter(below("uploads/0"))], false),
            ("whole objects", vec![expires()], false),
        ] {
            assert_eq!(of(rules).removes_unfinished, removes, "{what}");
        }
        let off = expires().status(ExpirationStatus::Disabled).build().unwrap();
        assert_eq!(Lifecycle::of(&[off]), Lifecycle::default());
    }
}

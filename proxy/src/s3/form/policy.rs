//! The policy of a form: what its fields may be, until when.
//!
//! Every field must be the subject of a condition, so that a form cannot have more than its signer
//! allowed. Source: "POST policy" of AWS's API reference (Signature Version 4).

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fields::FormFields;
use super::file::SizeRange;
use crate::s3::error::{Code, Result, S3Error};

/// Fields that need no condition: the signature, what it covers, and in version 2 the name of its key.
const UNCONDITIONAL: [&str; 5] =
    ["policy", "signature", "x-amz-signature", "awsaccesskeyid", "file"];
/// Prefixes of the names of fields that need no condition: nothing reads the ones, and a checksum of
/// the file can only refuse it.
const UNCONDITIONAL_PREFIXES: [&str; 2] = ["x-ignore-", "x-amz-checksum-"];

/// The way in which a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    StartsWith,
}

/// A condition on a field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldCondition {
    comparison: Comparison,
    /// In lower case.
    name: String,
    value: String,
    /// The condition as the policy has it, for messages.
    text: String,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PostPolicy {
    /// Seconds since 1970.
    expiration: i64,
    fields: Vec<FieldCondition>,
    sizes: Vec<SizeRange>,
}

fn invalid(text: &str) -> S3Error {
    S3Error::new(Code::InvalidPolicyDocument).text(format!("Invalid Policy: {text}"))
}

fn violated(text: &str) -> S3Error {
    S3Error::new(Code::AccessDenied).text(format!("Invalid according to Policy: {text}"))
}

/// A number of bytes, which AWS also accepts as a text.
fn bytes(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        other => other.as_u64(),
    }
}

fn size_range(words: &[Value]) -> Result<SizeRange> {
    let wrong = || invalid("Invalid content-length-range: expected two numbers of bytes");
    let [_, min, max] = words else { return Err(wrong()) };
    let (min, max) = (bytes(min).ok_or_else(wrong)?, bytes(max).ok_or_else(wrong)?);
    if min > max {
        return Err(invalid(&format!(
            "Invalid content-length-range: the minimum {min} is more than the maximum {max}"
        )));
    }
    Ok(SizeRange { min, max })
}

impl FieldCondition {
    /// `{"name": "value"}`
    fn of_object(condition: &Value, pairs: &serde_json::Map<String, Value>) -> Result<Self> {
        let mut pairs = pairs.iter();
        let (Some((name, value)), None) = (pairs.next(), pairs.next()) else {
            return Err(invalid(
                "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
            ));
        };
        let value = value
            .as_str()
            .ok_or_else(|| invalid("Invalid Simple-Condition: value must be a string."))?;
        Ok(Self {
            comparison: Comparison::Equal,
            name: name.to_ascii_lowercase(),
            value: value.to_owned(),
            text: condition.to_string(),
        })
    }

    /// `["eq", "$name", "value"]`
    fn of_list(condition: &Value, operator: &str, words: &[Value]) -> Result<Self> {
        let comparison = match operator {
            "eq" => Comparison::Equal,
            "starts-with" => Comparison::StartsWith,
            other => {
                return Err(invalid(&format!("Invalid Condition: unknown operation '{other}'.")));
            }
        };
        let [_, Value::String(name), Value::String(value)] = words else {
            return Err(invalid(&format!(
                "Invalid Condition: '{operator}' takes a field and a value, which are strings."
            )));
        };
        let name = name.strip_prefix('$').filter(|name| !name.is_empty()).ok_or_else(|| {
            invalid(&format!(
                "Invalid Condition: expected '$' and the name of a field, not '{name}'."
            ))
        })?;
        Ok(Self {
            comparison,
            name: name.to_ascii_lowercase(),
            value: value.clone(),
            text: condition.to_string(),
        })
    }

    fn holds(&self, given: &str) -> bool {
        match self.comparison {
            Comparison::Equal => given == self.value,
            // Each of a list of types must begin so.
            Comparison::StartsWith if self.name == "content-type" => {
                given.split(',').all(|word| word.trim_start().starts_with(&self.value))
            }
            Comparison::StartsWith => given.starts_with(&self.value),
        }
    }
}

/// Prefix of fields that a condition on any value allows to be absent.
const OPTIONAL: &str = "x-amz-server-side-encryption";

impl PostPolicy {
    /// Parses a policy, which is JSON.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`.
    pub(super) fn parse(json: &[u8]) -> Result<Self> {
        let document: Value = serde_json::from_slice(json).map_err(|_| invalid("Invalid JSON."))?;
        let Some(document) = document.as_object() else { return Err(invalid("Invalid JSON.")) };
        let known = |name: &&String| !matches!(name.as_str(), "expiration" | "conditions");
        if let Some(name) = document.keys().find(known) {
            return Err(invalid(&format!("Unexpected: '{name}'.")));
        }
        let expiration =
            document.get("expiration").ok_or_else(|| invalid("Policy missing expiration."))?;
        let conditions =
            document.get("conditions").ok_or_else(|| invalid("Policy missing conditions."))?;
        let Some(conditions) = conditions.as_array() else {
            return Err(invalid("Invalid 'conditions' value: expected a list."));
        };
        let mut policy =
            Self { expiration: seconds(expiration)?, fields: Vec::new(), sizes: Vec::new() };
        for condition in conditions {
            policy.add(condition)?;
        }
        Ok(policy)
    }

    fn add(&mut self, condition: &Value) -> Result<()> {
        match condition {
            Value::Object(pairs) => {
                self.fields.push(FieldCondition::of_object(condition, pairs)?);
            }
            Value::Array(words) => {
                let operator = words.first().and_then(Value::as_str).unwrap_or_default();
                match operator.to_ascii_lowercase().as_str() {
                    "content-length-range" => self.sizes.push(size_range(words)?),
                    other => self.fields.push(FieldCondition::of_list(condition, other, words)?),
                }
            }
            _ => return Err(invalid("Invalid Condition: expected an object or a list.")),
        }
        Ok(())
    }

    /// Checks the fields of a form for this bucket at a time in seconds since 1970.
    ///
    /// # Errors
    /// `AccessDenied` with the condition that does not hold, or the field without a condition.
    pub(super) fn check(&self, fields: &FormFields, bucket: &str, now: u64) -> Result<()> {
        if u64::try_from(self.expiration).is_ok_and(|end| end <= now) || self.expiration < 0 {
            return Err(violated("Policy expired."));
        }
        // The bucket is that of the request, whatever the form has.
        if fields.get("bucket").is_some_and(|given| given != bucket) {
            return Err(violated("the field 'bucket' is not the bucket of the request."));
        }
        let given = |name: &str| if name == "bucket" { Some(bucket) } else { fields.get(name) };
        for condition in &self.fields {
            // The default of the bucket is "any value", too.
            let is_optional = condition.name.starts_with(OPTIONAL);
            let value = given(&condition.name).or(is_optional.then_some(""));
            if !value.is_some_and(|value| condition.holds(value)) {
                return Err(violated(&format!("Policy Condition failed: {}", condition.text)));
            }
        }
        let has_condition = |name: &str| self.fields.iter().any(|known| known.name == name);
        let names = fields.iter().map(|(name, _)| name).chain(["bucket"]);
        let extra = names
            .filter(|name| !UNCONDITIONAL.contains(name))
            .filter(|name| UNCONDITIONAL_PREFIXES.iter().all(|start| !name.starts_with(start)))
            .find(|name| !has_condition(name));
        match extra {
            Some(name) => Err(violated(&format!("Extra input fields: {name}"))),
            None => Ok(()),
        }
    }

    /// The sizes that the file may have: every range holds.
    pub(super) fn sizes(&self) -> SizeRange {
        let all = SizeRange { min: 0, max: u64::MAX };
        self.sizes.iter().fold(all, |known, range| SizeRange {
            min: known.min.max(range.min),
            max: known.max.min(range.max),
        })
    }
}

/// Seconds since 1970 of an expiration: ISO 8601 in UTC.
fn seconds(value: &Value) -> Result<i64> {
    let text = value.as_str().unwrap_or_default();
    let is_utc = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    let date = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|_| is_utc);
    let date = date.ok_or_else(|| {
        invalid(&format!("Invalid 'expiration' value: {value}, expected YYYY-MM-DDTHH:MM:SSZ."))
    })?;
    Ok(date.unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(conditions: &str) -> Result<PostPolicy> {
        let text = format!(
            r#"{{"expiration": "2026-11-30T12:00:00.000Z", "conditions": [{conditions}]}}"#
        );
        PostPolicy::parse(text.as_bytes())
    }

    fn form(fields: &[(&str, &str)]) -> FormFields {
        let mut form = FormFields::default();
        for (name, value) in fields {
            form.add(name, (*value).to_owned()).unwrap();
        }
        form
    }

    /// Before the expiration of `policy`.
    const NOW: u64 = 1_796_000_000;

    fn check(conditions: &str, fields: &[(&str, &str)]) -> Option<String> {
        let policy = policy(&format!(r#"{{"bucket": "b"}}, {conditions}"#)).unwrap();
        policy.check(&form(fields), "b", NOW).err().map(|error| {
            assert_eq!(error.code, Code::AccessDenied);
            error.message.trim_start_matches("Invalid according to Policy: ").to_owned()
        })
    }

    #[test]
    fn conditions_hold_or_name_what_does_not() {
        let failed = |text: &str| Some(format!("Policy Condition failed: {text}"));
        let extra = |name: &str| Some(format!("Extra input fields: {name}"));
        let eq = r#"["eq","$key","k"]"#;
        let any = r#"["starts-with","$key",""]"#;
        let object = r#"{"key":"k"}"#;
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<String>);
        let cases: &[Case<'_>] = &[
            (eq, &[("key", "k")], None),
            (eq, &[("KEY", "k")], None),
            (eq, &[("key", "kk")], failed(eq)),
            (eq, &[], failed(eq)),
            (object, &[("key", "k")], None),
            (object, &[("key", "K")], failed(object)),
            (any, &[("key", "")], None),
            (any, &[("key", "x/y")], None),
            (any, &[], failed(any)),
            (r#"["starts-with","$x-amz-server-side-encryption",""]"#, &[], None),
            (r#"["STARTS-with","$KEY","up/"]"#, &[("key", "up/a")], None),
            (
                r#"["starts-with","$key","up/"]"#,
                &[("key", "up")],
                failed(r#"["starts-with","$key","up/"]"#),
            ),
            (any, &[("key", "k"), ("acl", "private")], extra("acl")),
            (any, &[("key", "k"), ("x-amz-meta-a", "1")], extra("x-amz-meta-a")),
            (any, &[("key", "k"), ("x-amz-date", "1")], extra("x-amz-date")),
            (
                any,
                &[("key", "k"), ("success_action_status", "201")],
                extra("success_action_status"),
            ),
            (any, &[("key", "k"), ("X-Ignore-A", "1")], None),
            (any, &[("key", "k"), ("x-amz-checksum-crc32", "c")], None),
            (any, &[("key", "k"), ("policy", "p"), ("x-amz-signature", "s")], None),
            (any, &[("key", "k"), ("AWSAccessKeyId", "a"), ("Signature", "s")], None),
            (any, &[("key", "k"), ("bucket", "b")], None),
            (
                any,
                &[("key", "k"), ("bucket", "c")],
                Some("the field 'bucket' is not the bucket of the request.".to_owned()),
            ),
        ];
        for (conditions, fields, expected) in cases {
            assert_eq!(check(conditions, fields), *expected, "{conditions} {fields:?}");
        }
        // Each element of a list of types must begin so.
        let images = r#"{"key": "k"}, ["starts-with", "$Content-Type", "image/"]"#;
        for (kind, allowed) in [
            ("image/png", true),
            ("image/png, image/gif", true),
            ("image/png,text/html", false),
            ("text/html", false),
        ] {
            let refused = check(images, &[("key", "k"), ("Content-Type", kind)]);
            assert_eq!(refused.is_none(), allowed, "{kind}");
        }
        // The bucket needs a condition, too.
        let unnamed = policy(any).unwrap();
        let refused = unnamed.check(&form(&[("key", "k")]), "b", NOW).unwrap_err();
        assert_eq!(refused.message, "Invalid according to Policy: Extra input fields: bucket");
        let other = policy(r#"{"bucket": "c"}, ["starts-with", "$key", ""]"#).unwrap();
        assert!(other.check(&form(&[("key", "k")]), "b", NOW).is_err());
    }

    #[test]
    fn a_policy_ends() {
        let policy = policy(r#"{"bucket": "b"}"#).unwrap();
        let end = 1_796_040_000;
        assert!(policy.check(&FormFields::default(), "b", end - 1).is_ok());
        for now in [end, end + 1, u64::MAX] {
            let refused = policy.check(&FormFields::default(), "b", now).unwrap_err();
            assert_eq!(refused.message, "Invalid according to Policy: Policy expired.");
        }
    }

    #[test]
    fn all_ranges_of_sizes_hold() {
        for (conditions, min, max) in [
            ("", 0, u64::MAX),
            (r#"["content-length-range", 1, 10]"#, 1, 10),
            (r#"["Content-Length-Range", "1", "10"]"#, 1, 10),
            (r#"["content-length-range", 0, 10], ["content-length-range", 5, 20]"#, 5, 10),
        ] {
            assert_eq!(policy(conditions).unwrap().sizes(), SizeRange { min, max });
        }
    }

    #[test]
    fn documents_that_are_not_policies_are_refused() {
        let conditions = [
            "{}",
            r#"{"a": "1", "b": "2"}"#,
            r#"{"a": 1}"#,
            "[]",
            "1",
            r#"["eq", "$a"]"#,
            r#"["eq", "a", "b"]"#,
            r#"["eq", "$", "b"]"#,
            r#"["eq", "$a", 1]"#,
            r#"["eq", "$a", "b", "c"]"#,
            r#"["ends-with", "$a", "b"]"#,
            r#"["content-length-range", 0]"#,
            r#"["content-length-range", -1, 0]"#,
            r#"["content-length-range", 2, 1]"#,
            r#"["content-length-range", 0, 1.5]"#,
            r#"["content-length-range", 0, "+1"]"#,
            r#"["content-length-range", 0, 1, 2]"#,
        ];
        for text in conditions {
            assert_eq!(policy(text).unwrap_err().code, Code::InvalidPolicyDocument, "{text}");
        }
        for text in [
            "",
            "[]",
            "{}",
            r#"{"conditions": []}"#,
            r#"{"expiration": "2026-11-30T12:00:00Z"}"#,
            r#"{"EXPIRATION": "2026-11-30T12:00:00Z", "conditions": []}"#,
            r#"{"expiration": "2026-11-30T12:00:00Z", "CONDITIONS": []}"#,
            r#"{"expiration": "2026-11-30T12:00:00Z", "conditions": {}}"#,
            r#"{"expiration": "2026-11-30T12:00:00Z", "conditions": [], "more": 1}"#,
            r#"{"expiration": "2026-11-30 12:00:00+00:00", "conditions": []}"#,
            r#"{"expiration": "2026-11-30T12:00:00+01:00", "conditions": []}"#,
            r#"{"expiration": 1796040000, "conditions": []}"#,
        ] {
            let refused = PostPolicy::parse(text.as_bytes()).unwrap_err();
            assert_eq!(refused.code, Code::InvalidPolicyDocument, "{text}");
        }
    }
}

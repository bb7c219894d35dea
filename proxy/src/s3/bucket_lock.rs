//! The object lock configuration of a bucket: `?object-lock`.

use apus_bucket::object_lock::{
    DefaultRetention, ObjectLockConfig, PeriodError, RetentionMode, RetentionPeriod,
};
use apus_bucket::{ConfigKind, stored};
use apus_cluster::Metadata;
use apus_store::operation::{HeadContainer, Versioning};
use http::HeaderMap;

use super::bucket_config::{self, BucketDocument};
use super::error::{Code, Result, S3Error};
use super::request::S3Request;
use super::xml::{self, Element, Writer};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// The header that creates a bucket with a lock.
const ENABLED: &str = "x-amz-bucket-object-lock-enabled";

const DOCUMENT: xml::Schema =
    xml::Schema { root: "ObjectLockConfiguration", item: "Rule", items_max: 1, within_max: 8 };

fn malformed() -> S3Error {
    S3Error::new(Code::MalformedXML)
}

/// The children of an element, each at most once and with one of these names.
fn check_children(element: &Element, known: &[&str]) -> Result<()> {
    let mut names: Vec<&str> = element.children.iter().map(|child| child.name.as_str()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    match names.len() == count && names.iter().all(|name| known.contains(name)) {
        true => Ok(()),
        false => Err(malformed()),
    }
}

fn parse_rule(rule: &Element) -> Result<DefaultRetention> {
    check_children(rule, &["DefaultRetention"])?;
    let default = rule.child("DefaultRetention").ok_or_else(malformed)?;
    check_children(default, &["Mode", "Days", "Years"])?;
    let mode = default.text_of("Mode").and_then(RetentionMode::parse).ok_or_else(malformed)?;
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| malformed());
    let (number, in_years) = match (default.text_of("Days"), default.text_of("Years")) {
        (Some(days), None) => (number(days)?, false),
        (None, Some(years)) => (number(years)?, true),
        _ => return Err(malformed()),
    };
    let period = RetentionPeriod::checked(number, in_years).map_err(|error: PeriodError| {
        S3Error::new(Code::InvalidRetentionPeriod).text(error.to_string())
    })?;
    Ok(DefaultRetention { mode, period })
}

impl BucketDocument for ObjectLockConfig {
    const KIND: ConfigKind = ConfigKind::ObjectLock;
    const MISSING: Code = Code::ObjectLockConfigurationNotFoundError;

    fn parse(document: &[u8]) -> Result<Self> {
        let (mut enabled, mut config) = (false, Self::default());
        xml::read(document, &DOCUMENT, |child| {
            match child.name.as_str() {
                "ObjectLockEnabled" if child.text.trim() == "Enabled" && !enabled => enabled = true,
                "Rule" => config.default = Some(parse_rule(&child)?),
                _ => return Err(malformed()),
            }
            Ok(())
        })?;
        if enabled { Ok(config) } else { Err(malformed()) }
    }

    fn render(&self, out: &mut Writer) {
        out.root("ObjectLockConfiguration");
        out.text("ObjectLockEnabled", "Enabled");
        if let Some(default) = self.default {
            out.open("Rule");
            out.open("DefaultRetention");
            out.text("Mode", &default.mode.to_string());
            match default.period {
                RetentionPeriod::Days(days) => out.number("Days", days),
                RetentionPeriod::Years(years) => out.number("Years", years),
            }
            out.close("DefaultRetention");
            out.close("Rule");
        }
        out.close("ObjectLockConfiguration");
    }
}

/// The metadata of a new bucket, if it is created with a lock.
pub(super) fn of_new_bucket(headers: &HeaderMap) -> Result<Option<Metadata>> {
    match headers.get(ENABLED).map(|value| value.as_bytes().to_ascii_lowercase()).as_deref() {
        None | Some(b"false" | b"") => Ok(None),
        Some(b"true") => {
            Ok(Some(stored::store(ConfigKind::ObjectLock, &ObjectLockConfig::default())?))
        }
        Some(other) => Err(S3Error::new(Code::InvalidArgument)
            .text(format!("{ENABLED}: expected true or false"))
            .argument(ENABLED, &String::from_utf8_lossy(other))),
    }
}

/// Sets the configuration of a bucket that keeps versions.
pub(super) async fn put(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    let cx = request.cx.clone();
    bucket_config::authorize(deps, &cx, &container).await?;
    let op = HeadContainer { container };
    let head = deps.store.head_container(&cx, op).await?;
    if head.versioning() != Some(Versioning::Enabled) {
        return Err(S3Error::new(Code::InvalidBucketState).text(
            "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
        ));
    }
    bucket_config::put::<ObjectLockConfig>(deps, request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(inner: &str) -> std::result::Result<ObjectLockConfig, Code> {
        let document = format!("<ObjectLockConfiguration>{inner}</ObjectLockConfiguration>");
        <ObjectLockConfig as BucketDocument>::parse(document.as_bytes()).map_err(|error| error.code)
    }

    fn with_rule(retention: &str) -> std::result::Result<ObjectLockConfig, Code> {
        parsed(&format!(
            "<ObjectLockEnabled>Enabled</ObjectLockEnabled>\
             <Rule><DefaultRetention>{retention}</DefaultRetention></Rule>"
        ))
    }

    #[test]
    fn configurations_are_read_strictly_and_written_back() {
        let config = with_rule("<Mode>COMPLIANCE</Mode><Years>3</Years>").unwrap();
        let mut out = Writer::new();
        config.render(&mut out);
        assert!(out.finish().contains("<Mode>COMPLIANCE</Mode><Years>3</Years>"));
        let without = parsed("<ObjectLockEnabled>Enabled</ObjectLockEnabled>").unwrap();
        assert_eq!(without, ObjectLockConfig::default());
        for (retention, code) in [
            ("<Mode>COMPLIANCE</Mode>", Code::MalformedXML),
            ("<Mode>compliance</Mode><Days>1</Days>", Code::MalformedXML),
            ("<Mode>COMPLIANCE</Mode><Days>1</Days><Years>1</Years>", Code::MalformedXML),
            ("<Mode>COMPLIANCE</Mode><Days>x</Days>", Code::MalformedXML),
            ("<Mode>COMPLIANCE</Mode><Days>1</Days><Days>1</Days>", Code::MalformedXML),
            ("<Days>1</Days>", Code::MalformedXML),
            ("<Mode>GOVERNANCE</Mode><Days>0</Days>", Code::InvalidRetentionPeriod),
            ("<Mode>GOVERNANCE</Mode><Years>-1</Years>", Code::InvalidRetentionPeriod),
            ("<Mode>GOVERNANCE</Mode><Days>36501</Days>", Code::InvalidRetentionPeriod),
        ] {
            assert_eq!(with_rule(retention), Err(code), "{retention}");
        }
        for inner in [
            "",
            "<ObjectLockEnabled>Disabled</ObjectLockEnabled>",
            "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule/>",
            "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Other/>",
        ] {
            assert_eq!(parsed(inner), Err(Code::MalformedXML), "{inner}");
        }
    }

    #[test]
    fn only_true_creates_a_bucket_with_a_lock() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ENABLED, value.parse().unwrap());
            of_new_bucket(&headers).map(|metadata| metadata.is_some()).map_err(|error| error.code)
        };
        assert_eq!((of("true"), of("True"), of("false")), (Ok(true), Ok(true), Ok(false)));
        assert_eq!(of("yes"), Err(Code::InvalidArgument));
        assert_eq!(of_new_bucket(&HeaderMap::new()).unwrap(), None);
    }
}

//! The header `x-amz-expiration`: when a rule of the bucket deletes the object, and which.
//!
//! The rules are those that the gate has read with the container, so that the header costs no request.

use apus_bucket::lifecycle::{LifecycleConfiguration, LifecycleEntry, LifecycleState};
use apus_bucket::{ConfigKind, TagSet};
use apus_cluster::{ObjectPath, Timestamp, percent};
use apus_daemon::http::{format_date, set};
use apus_store::Context;
use apus_store::operation::HeadContainer;

use crate::deps::ProxyDeps;
use crate::reply::Reply;
use crate::s3::bucket_config;

/// What the rules depend on.
#[derive(Debug)]
pub(in crate::s3) struct ExpiringObject<'a> {
    pub(in crate::s3) object: &'a ObjectPath,
    /// Length in bytes; without it rules about sizes are unknown, and the header is left out.
    pub(in crate::s3) length: Option<u64>,
    /// When it was written.
    pub(in crate::s3) written: Timestamp,
    /// Its tags as they are stored.
    pub(in crate::s3) tags: Option<&'a str>,
}

/// The value of the header.
fn value(
    rules: &LifecycleConfiguration,
    found: &ExpiringObject<'_>,
    length: u64,
) -> Option<String> {
    let tags = found.tags.map(TagSet::from_stored).unwrap_or_default();
    let entry = LifecycleEntry {
        name: found.object.object.as_str(),
        size: length,
        tags: Some(tags.tags()),
        modified: found.written.seconds_ceil(),
        state: LifecycleState::Current,
    };
    let (at, rule) = rules.expiry(&entry)?;
    let mut value = format!("expiry-date=\"{}\", rule-id=\"", format_date(at));
    percent::encode_into(&mut value, rule.as_bytes(), b"");
    value.push('"');
    Some(value)
}

/// The value of the header for the current version of an object, if a rule of the bucket applies.
pub(in crate::s3) async fn of(
    deps: &ProxyDeps,
    cx: &Context,
    found: ExpiringObject<'_>,
) -> Option<String> {
    let length = found.length?;
    let op = HeadContainer { container: found.object.container.clone() };
    // The operation succeeded; an unreadable container or configuration only costs the header.
    let head = deps.store.container_info(cx, op).await.ok()?;
    head.headers.get(ConfigKind::Lifecycle.header())?;
    let rules = bucket_config::of::<LifecycleConfiguration>(&head).ok()??;
    value(&rules, &found, length)
}

/// Sets the header of a response.
pub(in crate::s3) fn set_header(value: Option<&str>, response: &mut Reply) {
    if let Some(value) = value {
        set(response.headers_mut(), "x-amz-expiration", value);
    }
}

#[cfg(test)]
mod tests {
    use apus_bucket::lifecycle::{LifecycleRule, RuleExpiration, RuleFilter};
    use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName};

    use super::*;

    #[test]
    fn the_value_has_awss_form() {
        let account = AccountName::parse("AUTH_a").unwrap();
        let bucket = ContainerPath::new(account, ContainerName::parse("b").unwrap());
        let object = bucket.object(ObjectName::parse("docs/o").unwrap());
        let written = Timestamp::from_seconds(1_705_314_600);
        let rule = |prefix: &str| LifecycleRule {
            id: "picture deletion \"rule\"".to_owned(),
            enabled: true,
            filter: RuleFilter { prefix: Some(prefix.to_owned()), ..RuleFilter::default() },
            expiration: Some(RuleExpiration::Days(3)),
            ..LifecycleRule::default()
        };
        let of = |prefix: &str| {
            let rules = LifecycleConfiguration { rules: vec![rule(prefix)], ..Default::default() };
            let found = ExpiringObject { object: &object, length: Some(5), written, tags: None };
            value(&rules, &found, 5)
        };
        assert_eq!(
            of("docs/").unwrap(),
            "expiry-date=\"Fri, 19 Jan 2024 00:00:00 GMT\", rule-id=\"picture%20deletion%20%22rule%22\""
        );
        assert_eq!(of("other/"), None);
    }
}

//! Typed values of headers: how each kind is read and written.

use apus_cluster::metadata::{Resource, has_prefix, title_case};
use apus_cluster::{Metadata, PartPower, PolicyIndex, Timestamp};
use apus_daemon::config::value::flag as parse_flag;
use apus_daemon::http::{header, set};
use http::HeaderMap;

use super::InvalidRequest;
use crate::headers;

/// A header that is on or off, in any of Swift's spellings.
pub(super) fn flag(head: &HeaderMap, name: &str) -> Option<bool> {
    header(head, name).and_then(parse_flag)
}

/// A header as owned text.
pub(super) fn text(head: &HeaderMap, name: &str) -> Option<String> {
    header(head, name).map(str::to_owned)
}

/// A header with a whole number; one that is not a number counts as absent.
pub(super) fn number<T: std::str::FromStr>(head: &HeaderMap, name: &str) -> Option<T> {
    header(head, name).and_then(|text| text.trim().parse().ok())
}

/// A header with a timestamp; one that is not a timestamp counts as absent.
pub(super) fn time(head: &HeaderMap, name: &str) -> Option<Timestamp> {
    header(head, name).and_then(Timestamp::parse)
}

/// The required `X-Timestamp`.
pub(super) fn required_timestamp(head: &HeaderMap) -> Result<Timestamp, InvalidRequest> {
    time(head, headers::TIMESTAMP).ok_or_else(|| {
        let found = header(head, headers::TIMESTAMP);
        InvalidRequest::header("X-Timestamp", found, "seconds.decimals")
    })
}

/// The policy of a request; the first one when the sender names none.
pub(super) fn policy(head: &HeaderMap) -> Result<PolicyIndex, InvalidRequest> {
    let Some(text) = header(head, headers::POLICY_INDEX) else { return Ok(PolicyIndex(0)) };
    let wrong = |_| {
        let name = "X-Backend-Storage-Policy-Index";
        InvalidRequest::header(name, Some(text), "the index of a storage policy")
    };
    text.parse().map(PolicyIndex).map_err(wrong)
}

/// The other part power that a write has to be visible under, if there is one.
pub(super) fn next_part_power(head: &HeaderMap) -> Result<Option<PartPower>, InvalidRequest> {
    let Some(text) = header(head, headers::NEXT_PART_POWER) else { return Ok(None) };
    let name = "X-Backend-Next-Part-Power";
    let power = text.parse().map(Some);
    power.map_err(|_| InvalidRequest::header(name, Some(text), "0 to 32"))
}

/// Items of a comma list, without those that are empty.
pub(super) fn list(head: &HeaderMap, name: &str) -> Vec<String> {
    let items = header(head, name).unwrap_or_default().split(',').map(str::trim);
    items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Sets a header when there is a value.
pub(super) fn set_some(head: &mut HeaderMap, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        set(head, name, value);
    }
}

/// Sets a header to a value's text when there is one.
pub(super) fn set_display<T: std::fmt::Display>(
    head: &mut HeaderMap,
    name: &str,
    value: Option<T>,
) {
    if let Some(value) = value {
        set(head, name, &value.to_string());
    }
}

/// Metadata of the headers that `is_kept` selects, under the names that `spell` gives them. Bytes that
/// are not UTF-8 are replaced.
pub(super) fn metadata(
    head: &HeaderMap,
    is_kept: impl Fn(&str) -> bool,
    spell: impl Fn(&str) -> String,
) -> Metadata {
    let kept = head.iter().filter(|(name, _)| is_kept(name.as_str()));
    kept.map(|(name, value)| {
        (spell(name.as_str()), String::from_utf8_lossy(value.as_bytes()).into_owned())
    })
    .collect()
}

/// User and system metadata of an account or a container, and the headers that are `kept` in
/// addition (in lower case), under the names they are stored under.
pub(super) fn database_metadata(head: &HeaderMap, resource: Resource, kept: &[&str]) -> Metadata {
    let is_kept = |name: &str| {
        has_prefix(name, resource.user_prefix())
            || has_prefix(name, resource.system_prefix())
            || kept.contains(&name)
    };
    metadata(head, is_kept, title_case)
}

/// Headers of an answer that say something of the resource, in title case.
pub(super) fn resource_headers(head: &HeaderMap) -> Metadata {
    let transport = ["content-length", "content-type", "date", "connection", "transfer-encoding"];
    metadata(head, |name| !transport.contains(&name), title_case)
}

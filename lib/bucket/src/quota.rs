//! Quotas of accounts and containers: limits in their metadata, and uploads that exceed them.
//!
//! Source: `account_quotas.py` and `container_quotas.py` in `swift/common/middleware`.

use apus_cluster::metadata::title_case;
use apus_cluster::{Metadata, Policies, PolicyIndex};

/// Start of the system metadata with the quotas of an account.
pub const ACCOUNT_PREFIX: &str = "X-Account-Sysmeta-Quota-";
/// User metadata with the quota of an account that older Swifts set.
pub const LEGACY_BYTES: &str = "X-Account-Meta-Quota-Bytes";
/// Metadata with the maximum number of bytes in a container.
pub const CONTAINER_BYTES: &str = "X-Container-Meta-Quota-Bytes";
/// Metadata with the maximum number of objects in a container.
pub const CONTAINER_COUNT: &str = "X-Container-Meta-Quota-Count";

/// What a quota limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaUnit {
    /// The sum of the lengths of objects, in bytes.
    Bytes,
    /// The number of objects.
    Count,
}

impl QuotaUnit {
    /// Both units.
    pub const ALL: [Self; 2] = [Self::Bytes, Self::Count];

    /// The word in names of headers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bytes => "Bytes",
            Self::Count => "Count",
        }
    }

    /// System metadata with such a quota of an account: of all its objects, or of those in a policy.
    pub fn account_key(self, policy: Option<PolicyIndex>) -> String {
        let word = self.word();
        match policy {
            None => format!("{ACCOUNT_PREFIX}{word}"),
            Some(policy) => format!("{ACCOUNT_PREFIX}{word}-Policy-{}", policy.0),
        }
    }
}

/// Limits; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Maximum sum of the lengths of objects, in bytes.
    pub bytes: Option<u64>,
    /// Maximum number of objects.
    pub objects: Option<u64>,
}

/// Objects that are stored, or that are to be added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The sum of their lengths, in bytes.
    pub bytes: u64,
    /// Their number.
    pub objects: u64,
}

/// The refusal of an upload that exceeds a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the quota is exceeded")]
pub struct QuotaExceeded;

/// Whether a text is a quota: a decimal number.
pub fn is_quota(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A limit. Swift ignores one that is not a number; one without practical effect is the largest.
fn limit(headers: &Metadata, name: &str) -> Option<u64> {
    let text = headers.get(name).filter(|text| is_quota(text))?;
    Some(text.parse().unwrap_or(u64::MAX))
}

fn number(headers: &Metadata, name: &str) -> u64 {
    headers.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Quota {
    /// The quota of a container, from its headers.
    pub fn of_container(headers: &Metadata) -> Self {
        Self { bytes: limit(headers, CONTAINER_BYTES), objects: limit(headers, CONTAINER_COUNT) }
    }

    /// The quota of an account, from its headers: of all its objects, or of those in a policy.
    pub fn of_account(headers: &Metadata, policy: Option<PolicyIndex>) -> Self {
        let own = |unit: QuotaUnit| limit(headers, &unit.account_key(policy));
        let key = QuotaUnit::Bytes.account_key(None);
        let legacy = match policy {
            None if !headers.contains_key(&key) => limit(headers, LEGACY_BYTES),
            _ => None,
        };
        Self { bytes: own(QuotaUnit::Bytes).or(legacy), objects: own(QuotaUnit::Count) }
    }

    /// Whether an account has a quota, of all its objects or of a policy.
    pub fn is_in_account(headers: &Metadata) -> bool {
        let is_key = |name: &String| name.starts_with(ACCOUNT_PREFIX) || name == LEGACY_BYTES;
        headers.iter().any(|(name, value)| is_key(name) && is_quota(value))
    }

    /// Whether it limits anything.
    pub fn is_set(self) -> bool {
        self.bytes.is_some() || self.objects.is_some()
    }

    /// Adds an upload to what is stored; the number of bytes that it may have, if that is limited.
    /// Replaced objects count, as in Swift.
    ///
    /// # Errors
    /// When the sum exceeds the quota.
    pub fn admit(self, used: Usage, added: Usage) -> Result<Option<u64>, QuotaExceeded> {
        let objects = used.objects.saturating_add(added.objects);
        if added.objects > 0 && self.objects.is_some_and(|limit| objects > limit) {
            return Err(QuotaExceeded);
        }
        let Some(limit) = self.bytes else { return Ok(None) };
        let left = limit.checked_sub(used.bytes).ok_or(QuotaExceeded)?;
        if added.bytes > left {
            return Err(QuotaExceeded);
        }
        Ok(Some(left))
    }
}

impl Usage {
    /// What a container has, from its headers.
    pub fn of_container(headers: &Metadata) -> Self {
        Self {
            bytes: number(headers, "X-Container-Bytes-Used"),
            objects: number(headers, "X-Container-Object-Count"),
        }
    }

    /// What an account has, from its headers: of all its objects, or of those in a policy.
    pub fn of_account(
        headers: &Metadata,
        policies: &Policies,
        policy: Option<PolicyIndex>,
    ) -> Self {
        let start = match policy.map(|index| policies.get(index)) {
            None => "X-Account-".to_owned(),
            Some(None) => return Self::default(),
            Some(Some(policy)) => title_case(&format!("X-Account-Storage-Policy-{}-", policy.name)),
        };
        Self {
            bytes: number(headers, &format!("{start}Bytes-Used")),
            objects: number(headers, &format!("{start}Object-Count")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(items: &[(&str, &str)]) -> Metadata {
        items.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_upload_is_admitted_up_to_the_quota() {
        let quota = |bytes, objects| Quota { bytes, objects };
        let of = |bytes, objects| Usage { bytes, objects };
        for (quota, used, added, expected) in [
            (quota(None, None), of(9, 9), of(9, 1), Ok(None)),
            (quota(Some(10), None), of(0, 0), of(10, 1), Ok(Some(10))),
            (quota(Some(10), None), of(0, 0), of(11, 1), Err(QuotaExceeded)),
            (quota(Some(10), None), of(10, 1), of(0, 1), Ok(Some(0))),
            (quota(Some(10), None), of(11, 1), of(0, 1), Err(QuotaExceeded)),
            (quota(Some(0), None), of(0, 0), of(1, 1), Err(QuotaExceeded)),
            (quota(None, Some(2)), of(99, 1), of(99, 1), Ok(None)),
            (quota(None, Some(2)), of(0, 2), of(0, 1), Err(QuotaExceeded)),
            // A part of an upload is not an object yet.
            (quota(None, Some(2)), of(0, 2), of(9, 0), Ok(None)),
            (quota(Some(5), Some(u64::MAX)), of(1, u64::MAX), of(u64::MAX, 0), Err(QuotaExceeded)),
        ] {
            assert_eq!(quota.admit(used, added), expected, "{quota:?} {used:?} {added:?}");
        }
    }

    #[test]
    fn limits_are_read_from_the_metadata_where_they_are_numbers() {
        for (text, bytes) in [
            ("10", Some(10)),
            ("0", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("99999999999999999999", Some(u64::MAX)),
        ] {
            let items = headers(&[(CONTAINER_BYTES, text)]);
            assert_eq!(Quota::of_container(&items), Quota { bytes, objects: None }, "{text}");
            assert_eq!(is_quota(text), bytes.is_some());
        }
    }

    #[test]
    fn the_quota_of_an_account_replaces_the_one_of_older_swifts() {
        let legacy = (LEGACY_BYTES, "7");
        let old = headers(&[legacy]);
        assert_eq!(Quota::of_account(&old, None).bytes, Some(7));
        assert_eq!(Quota::of_account(&old, Some(PolicyIndex(0))), Quota::default());
        let new = headers(&[
            legacy,
            ("X-Account-Sysmeta-Quota-Bytes", "9"),
            ("X-Account-Sysmeta-Quota-Count-Policy-1", "3"),
        ]);
        assert_eq!(Quota::of_account(&new, None), Quota { bytes: Some(9), objects: None });
        let of_policy = Quota::of_account(&new, Some(PolicyIndex(1)));
        assert_eq!(of_policy, Quota { bytes: None, objects: Some(3) });
        assert!(Quota::is_in_account(&new) && !Quota::is_in_account(&headers(&[])));
    }

    #[test]
    fn usage_is_read_from_the_counts() {
        let policies = Policies::new(Vec::new()).unwrap();
        let items = headers(&[
            ("X-Account-Bytes-Used", "5"),
            ("X-Account-Object-Count", "2"),
            ("X-Account-Storage-Policy-Policy-0-Bytes-Used", "4"),
            ("X-Account-Storage-Policy-Policy-0-Object-Count", "1"),
        ]);
        let of = |policy| Usage::of_account(&items, &policies, policy);
        assert_eq!(of(None), Usage { bytes: 5, objects: 2 });
        assert_eq!(of(Some(PolicyIndex(0))), Usage { bytes: 4, objects: 1 });
        assert_eq!(of(Some(PolicyIndex(9))), Usage::default());
    }
}

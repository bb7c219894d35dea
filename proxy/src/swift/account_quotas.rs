//! Quotas of accounts in headers, which resellers set and all who may read the account see.
//!
//! Source: `swift/common/middleware/account_quotas.py`.

use apus_bucket::quota::{LEGACY_BYTES, QuotaUnit, is_quota};
use apus_cluster::{Metadata, Policies};
use apus_daemon::http::set;
use apus_store::Error;
use apus_store::operation::AccountHead;
use http::HeaderMap;

use super::error::Result;
use super::request::SwiftRequest;

/// Each quota: the rest of its header after `X-Account-`, and the system metadata with it.
fn quotas(policies: &Policies) -> Vec<(String, String)> {
    let of_unit = |unit: QuotaUnit| {
        let start = format!("Quota-{}", unit.word());
        let of_policies: Vec<_> = policies
            .iter()
            .map(|policy| {
                let header = format!("{start}-Policy-{}", policy.name);
                (header, unit.account_key(Some(policy.index)))
            })
            .collect();
        std::iter::once((start, unit.account_key(None))).chain(of_policies)
    };
    QuotaUnit::ALL.into_iter().flat_map(of_unit).collect()
}

/// The value that a request sets for a quota; empty removes it.
fn given<'a>(request: &'a SwiftRequest, name: &str) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let legacy = LEGACY_BYTES.to_ascii_lowercase();
    let is_legacy = legacy.replace("-meta-", "-").ends_with(&format!("x-account-{name}"));
    let removed = |rest: &str| request.given(&format!("x-remove-account-{rest}")).is_some();
    if removed(&name) || (is_legacy && removed(&format!("meta-{name}"))) {
        return Some("");
    }
    let own = request.header(&format!("x-account-{name}"));
    match own.filter(|value| !value.is_empty()) {
        None if is_legacy => request.header(&legacy).or(own),
        _ => own,
    }
}

/// The system metadata for the quotas that a request sets. That only resellers may set any is decided
/// with the operation.
///
/// # Errors
/// 400 for a quota that is not a number.
pub(super) fn parse(policies: &Policies, request: &SwiftRequest) -> Result<Metadata> {
    let mut metadata = Metadata::new();
    for (name, key) in quotas(policies) {
        let Some(value) = given(request, &name) else { continue };
        let is_valid = value.is_empty() || is_quota(value);
        if !is_valid && request.cx.identity.is_reseller_admin() {
            let text = format!("X-Account-{name}: expected a decimal number");
            return Err(Error::invalid(text).into());
        }
        metadata.insert(key, value.to_owned());
    }
    Ok(metadata)
}

/// Sets the quotas of an account as headers.
pub(super) fn set_headers(policies: &Policies, head: &AccountHead, out: &mut HeaderMap) {
    for (name, key) in quotas(policies) {
        if let Some(value) = head.headers.get(&key).filter(|value| !value.is_empty()) {
            set(out, &format!("x-account-{}", name.to_ascii_lowercase()), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use apus_store::access::Identity;

    use super::*;

    fn parsed(headers: &[(&str, &str)], group: &str) -> Result<Metadata> {
        let mut request = SwiftRequest::example("POST", "/v1/a", headers);
        let groups = vec![group.to_owned()];
        request.cx.identity = Arc::new(Identity { groups, ..Identity::default() });
        parse(&Policies::new(Vec::new()).unwrap(), &request)
    }

    #[test]
    fn quotas_are_set_and_removed() {
        for (headers, expected) in [
            (&[("x-account-quota-bytes", "10")][..], &[("Bytes", "10")][..]),
            (&[("x-account-quota-count-policy-policy-0", "3")], &[("Count-Policy-0", "3")]),
            (&[("x-account-quota-count", "")], &[("Count", "")]),
            (&[("x-remove-account-quota-count", "x")], &[("Count", "")]),
            (&[("x-account-meta-quota-bytes", "7")], &[("Bytes", "7")]),
            (&[("x-remove-account-meta-quota-bytes", "x")], &[("Bytes", "")]),
            (
                &[("x-account-meta-quota-bytes", "7"), ("x-account-quota-bytes", "9")],
                &[("Bytes", "9")],
            ),
            (&[("x-account-meta-color", "7")], &[]),
        ] {
            let expected: Metadata = expected
                .iter()
                .map(|(rest, value)| {
                    (format!("X-Account-Sysmeta-Quota-{rest}"), (*value).to_owned())
                })
                .collect();
            assert_eq!(parsed(headers, ".reseller_admin").unwrap(), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_quota_is_a_number() {
        let bad = [("x-account-quota-bytes", "ten")];
        assert!(parsed(&bad, ".reseller_admin").is_err());
        // The operation refuses others.
        assert_eq!(parsed(&bad, ".admin").unwrap().len(), 1);
    }
}

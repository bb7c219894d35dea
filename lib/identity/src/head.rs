//! The part that the records of users and groups have in common, with their policies.

use std::collections::BTreeMap;

use apus_policy::{DocumentKind, PolicyDocument};
use serde::{Deserialize, Serialize};

use crate::access_key::unique_id;
use crate::error::IdentityError;
use crate::name::PolicyName;

/// Format of the records that this version writes.
pub(crate) const FORMAT: u32 = 1;
/// Most policies of a user or group.
pub(crate) const POLICIES_MAX: usize = 10;
/// Longest document of a policy, in bytes: the longest one that IAM accepts anywhere.
pub(crate) const POLICY_BYTES_MAX: usize = 10_240;

/// A record with a format.
pub(crate) trait Record: Serialize + for<'a> Deserialize<'a> {
    /// Number of its format.
    fn format(&self) -> u32;
}

/// The first fields of a user or group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityHead {
    pub(crate) format: u32,
    /// Unique id: one that is created again has another one.
    pub id: String,
    /// Its account.
    pub account: String,
    /// Its name, as it was created.
    pub name: String,
    /// IAM's path.
    pub path: String,
    /// When it was created, in seconds since 1970.
    pub created: u64,
    /// Documents of its policies by name.
    #[serde(default)]
    pub policies: BTreeMap<String, String>,
}

impl IdentityHead {
    /// A new one. `prefix` is that of IAM's ids of its kind.
    pub(crate) fn new(
        prefix: &str,
        (account, name): (String, String),
        path: &str,
        now: u64,
    ) -> Self {
        Self {
            format: FORMAT,
            id: unique_id(prefix),
            account,
            name,
            path: path.to_owned(),
            created: now,
            policies: BTreeMap::new(),
        }
    }

    /// Sets a policy.
    ///
    /// # Errors
    /// `PolicyTooLong`, `Limit`, `Policy`.
    pub fn put_policy(&mut self, name: &PolicyName, document: &str) -> Result<(), IdentityError> {
        if document.len() > POLICY_BYTES_MAX {
            let (name, length, max) = (name.to_string(), document.len(), POLICY_BYTES_MAX);
            return Err(IdentityError::PolicyTooLong { name, length, max });
        }
        if self.policies.len() >= POLICIES_MAX && !self.policies.contains_key(name.as_str()) {
            let (owner, kind, max) = (self.name.clone(), "policies", POLICIES_MAX);
            return Err(IdentityError::Limit { owner, kind, max });
        }
        PolicyDocument::parse(document, DocumentKind::Identity)
            .map_err(|source| IdentityError::Policy { name: name.to_string(), source })?;
        self.policies.insert(name.to_string(), document.to_owned());
        Ok(())
    }

    /// Removes a policy.
    ///
    /// # Errors
    /// `Missing`.
    pub fn remove_policy(&mut self, name: &PolicyName) -> Result<(), IdentityError> {
        let missing = || IdentityError::Missing { kind: "policy", name: name.to_string() };
        self.policies.remove(name.as_str()).map(drop).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"Version":"2012-10-17",
        "Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;

    #[test]
    fn policies_have_limits_and_are_replaced_by_name() {
        let names = ("AUTH_a".to_owned(), "Alice".to_owned());
        let mut head = IdentityHead::new("AIDA", names, "/", 100);
        let policy = |index: usize| PolicyName::parse(&format!("p{index}")).unwrap();
        for index in 0..POLICIES_MAX {
            head.put_policy(&policy(index), DOCUMENT).unwrap();
        }
        assert!(matches!(head.put_policy(&policy(99), DOCUMENT), Err(IdentityError::Limit { .. })));
        let other = DOCUMENT.replace("Allow", "Deny");
        head.put_policy(&policy(0), &other).unwrap();
        assert!(matches!(head.put_policy(&policy(0), "{}"), Err(IdentityError::Policy { .. })));
        let long = " ".repeat(POLICY_BYTES_MAX + 1);
        assert!(head.put_policy(&policy(0), &long).is_err());
        assert_eq!(head.policies["p0"], other);
        head.remove_policy(&policy(0)).unwrap();
        assert!(head.remove_policy(&policy(0)).is_err());
    }
}

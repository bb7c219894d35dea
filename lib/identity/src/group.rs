//! The stored form of a group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::access_key::unique_id;
use crate::error::IdentityError;
use crate::name::{AccountGroup, PolicyName};
use crate::user::{FORMAT, Record, put_policy, remove_policy};

/// A group of users of one account. Its members are written in the users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    pub(crate) format: u32,
    /// Unique id: a group that is created again has another one.
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

impl Record for GroupRecord {
    fn format(&self) -> u32 {
        self.format
    }
}

impl GroupRecord {
    /// A new group.
    pub(crate) fn new(group: &AccountGroup, path: &str, now: u64) -> Self {
        Self {
            format: FORMAT,
            id: unique_id("AGPA"),
            account: group.account.to_string(),
            name: group.group.to_string(),
            path: path.to_owned(),
            created: now,
            policies: BTreeMap::new(),
        }
    }

    /// Sets a policy.
    ///
    /// # Errors
    /// `PolicyTooLong`, `Limit`.
    pub fn put_policy(&mut self, name: &PolicyName, document: &str) -> Result<(), IdentityError> {
        put_policy(&mut self.policies, &self.name, name, document)
    }

    /// Removes a policy.
    ///
    /// # Errors
    /// `Missing`.
    pub fn remove_policy(&mut self, name: &PolicyName) -> Result<(), IdentityError> {
        remove_policy(&mut self.policies, name)
    }
}

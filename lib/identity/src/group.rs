//! The stored form of a group.

use serde::{Deserialize, Serialize};

use crate::head::{IdentityHead, Record};
use crate::name::AccountGroup;

/// A group of users of one account. Its members are written in the users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its name, id, policies and so on.
    #[serde(flatten)]
    pub head: IdentityHead,
}

impl Record for GroupRecord {
    fn format(&self) -> u32 {
        self.head.format
    }
}

impl GroupRecord {
    /// A new group.
    pub(crate) fn new(group: &AccountGroup, path: &str, now: u64) -> Self {
        let names = (group.account.to_string(), group.group.to_string());
        Self { head: IdentityHead::new("AGPA", names, path, now) }
    }
}

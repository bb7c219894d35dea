//! Operations on symbolic links themselves, not on their targets.

use apus_cluster::{AccountName, ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath};

use super::write_conditions::WriteConditions;

/// The target of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTarget {
    /// The account, if the link names one; otherwise it is the account of the link.
    pub account: Option<AccountName>,
    /// The container.
    pub container: ContainerName,
    /// The object.
    pub object: ObjectName,
}

impl LinkTarget {
    /// The target of a link in account `own`.
    pub fn of(&self, own: &AccountName) -> ObjectPath {
        let account = self.account.as_ref().unwrap_or(own).clone();
        ContainerPath::new(account, self.container.clone()).object(self.object.clone())
    }
}

/// Writes a symbolic link.
#[derive(Debug, Clone)]
pub struct PutSymlink {
    /// The link.
    pub object: ObjectPath,
    /// Its target.
    pub target: LinkTarget,
    /// Etag that the target must have, now and at every read, without quotes: a static link.
    pub target_etag: Option<String>,
    /// Content type of the link; a static link without one gets that of its target.
    pub content_type: Option<String>,
    /// Headers to store.
    pub metadata: Metadata,
    /// MD5 that the link's empty body must have, bare hex.
    pub etag: Option<String>,
    /// Conditions on the existing object.
    pub conditions: WriteConditions,
}

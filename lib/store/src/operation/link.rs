//! Operations on symbolic links; those on what they lead to are the objects' own.

use apus_cluster::{AccountName, ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath};

use super::write_conditions::WriteConditions;

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTarget {
    /// The account, if the link names one; else it is the link's own.
    pub account: Option<AccountName>,
    /// The container.
    pub container: ContainerName,
    /// The object.
    pub object: ObjectName,
}

impl LinkTarget {
    /// The object that is meant by a link in account `own`.
    pub fn of(&self, own: &AccountName) -> ObjectPath {
        let account = self.account.as_ref().unwrap_or(own).clone();
        ContainerPath::new(account, self.container.clone()).object(self.object.clone())
    }
}

/// Writes a symbolic link.
#[derive(Debug, Clone)]
pub struct PutSymlink {
    /// Which.
    pub object: ObjectPath,
    /// What it leads to.
    pub target: LinkTarget,
    /// Etag that the target must have, now and whenever it is read, bare: a static link.
    pub target_etag: Option<String>,
    /// Content type of the link; a static link's is that of its target when absent.
    pub content_type: Option<String>,
    /// Headers to store.
    pub metadata: Metadata,
    /// MD5 that the link's empty body must have, bare hex.
    pub etag: Option<String>,
    /// What must hold for what is there.
    pub conditions: WriteConditions,
}

//! Operations on accounts.

use apus_cluster::listing::{ContainerEntry, ListQuery};
use apus_cluster::{AccountName, ContainerPath, Metadata, ObjectName, ObjectPath};
use apus_policy::Permission;

use super::VersionId;

/// Checks whether the caller has a permission in a container.
#[derive(Debug, Clone)]
pub struct Authorize {
    /// The permission.
    pub permission: Permission,
    /// The container.
    pub container: ContainerPath,
    /// The object, for a permission on objects.
    pub object: Option<ObjectName>,
    /// The version of the object that the request names.
    pub version: Option<VersionId>,
    /// Where that version is stored, if not under the object's name.
    pub stored_at: Option<ObjectPath>,
}

impl Authorize {
    /// Asks for a permission on a container.
    pub fn container(permission: Permission, container: ContainerPath) -> Self {
        Self { permission, container, object: None, version: None, stored_at: None }
    }

    /// Asks for a permission on an object.
    pub fn object(permission: Permission, object: &ObjectPath) -> Self {
        let ObjectPath { container, object } = object.clone();
        Self { object: Some(object), ..Self::container(permission, container) }
    }

    /// The same for a version of the object.
    #[must_use]
    pub fn version(self, version: Option<VersionId>) -> Self {
        Self { version, ..self }
    }
}

/// Reads an account's metadata and counts.
#[derive(Debug, Clone)]
pub struct HeadAccount {
    /// The account.
    pub account: AccountName,
}

/// An account's metadata.
#[derive(Debug, Clone, Default)]
pub struct AccountHead {
    /// All headers of the server's answer, title-cased: counts, times, user metadata.
    pub headers: Metadata,
    /// Whether the caller owns the account.
    pub owner: bool,
    /// Whether the account does not exist yet and is shown as empty.
    pub is_virtual: bool,
}

/// Lists an account.
#[derive(Debug, Clone)]
pub struct ListContainers {
    /// The account.
    pub account: AccountName,
    /// The part to list.
    pub query: ListQuery,
}

/// A page of an account.
#[derive(Debug, Clone, Default)]
pub struct ContainerList {
    /// The account.
    pub head: AccountHead,
    /// The page.
    pub entries: Vec<ContainerEntry>,
}

/// Changes an account's metadata, creating the account if necessary.
#[derive(Debug, Clone)]
pub struct PostAccount {
    /// The account.
    pub account: AccountName,
    /// Changes; an empty value removes.
    pub metadata: Metadata,
}

/// Creates an account, or changes an existing one.
#[derive(Debug, Clone)]
pub struct PutAccount {
    /// The account.
    pub account: AccountName,
    /// Metadata to set.
    pub metadata: Metadata,
}

/// Deletes an account. The account reaper deletes its contents later.
#[derive(Debug, Clone)]
pub struct DeleteAccount {
    /// The account.
    pub account: AccountName,
}

//! Operations on accounts.

use apus_cluster::listing::{ContainerEntry, ListQuery};
use apus_cluster::{AccountName, Metadata};

/// Asks whether the caller may do something in a container.
#[derive(Debug, Clone)]
pub struct Authorize {
    /// What.
    pub action: crate::access::Action,
    /// Where.
    pub container: apus_cluster::ContainerPath,
}

/// Reads an account's metadata and counts.
#[derive(Debug, Clone)]
pub struct HeadAccount {
    /// Which.
    pub account: AccountName,
}

/// An account's metadata.
#[derive(Debug, Clone, Default)]
pub struct AccountHead {
    /// Everything the server says, title-cased: counts, times, user metadata.
    pub headers: Metadata,
    /// Whether the asker owns the account.
    pub owner: bool,
    /// Whether the account does not exist yet and is shown as empty.
    pub is_virtual: bool,
}

/// Lists an account.
#[derive(Debug, Clone)]
pub struct ListContainers {
    /// Which.
    pub account: AccountName,
    /// What part of it.
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

/// Changes an account's metadata, making the account if need be.
#[derive(Debug, Clone)]
pub struct PostAccount {
    /// Which.
    pub account: AccountName,
    /// Changes; an empty value removes.
    pub metadata: Metadata,
}

/// Makes an account, or changes one that is there.
#[derive(Debug, Clone)]
pub struct PutAccount {
    /// Which.
    pub account: AccountName,
    /// Metadata to set.
    pub metadata: Metadata,
}

/// Deletes an account. What is in it goes with time, by the account reaper.
#[derive(Debug, Clone)]
pub struct DeleteAccount {
    /// Which.
    pub account: AccountName,
}

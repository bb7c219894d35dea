//! Operations on names of buckets.

use apus_cluster::{AccountName, ContainerName};

use super::container::{ContainerHead, PutContainer};

/// Creates a bucket: a container whose name belongs to its account.
#[derive(Debug, Clone)]
pub struct CreateBucket {
    /// The container.
    pub container: PutContainer,
}

/// The result of a creation.
#[derive(Debug, Clone)]
pub enum CreatedBucket {
    /// The bucket is new.
    New,
    /// The account has a container of this name, which was not changed.
    Existing(Box<ContainerHead>),
}

/// Finds the account of a bucket.
#[derive(Debug, Clone)]
pub struct FindBucket {
    /// The bucket.
    pub name: ContainerName,
    /// The account of the caller, whose containers come first.
    pub own: Option<AccountName>,
}

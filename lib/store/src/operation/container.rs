//! Operations on containers.

use apus_cluster::listing::{ListQuery, ObjectEntry};
use apus_cluster::{ContainerPath, Metadata, PolicyIndex, Timestamp};
use bytes::Bytes;

use super::version::Versioning;
use crate::Result;

/// Reads a container's metadata and counts.
#[derive(Debug, Clone)]
pub struct HeadContainer {
    /// The container.
    pub container: ContainerPath,
}

/// A container's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerHead {
    /// User and system metadata, ACLs, counts, title-cased.
    pub headers: Metadata,
    /// When it was created.
    pub created: Timestamp,
    /// Its policy.
    pub policy: PolicyIndex,
    /// Whether the caller owns the account.
    pub owner: bool,
}

impl ContainerHead {
    /// Number of objects in it, by the server that answered.
    pub fn object_count(&self) -> u64 {
        let count = self.headers.get("X-Container-Object-Count");
        count.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Whether it keeps versions; `None` when it never did.
    pub fn versioning(&self) -> Option<Versioning> {
        Versioning::of(&self.headers)
    }
}

/// Lists a container.
#[derive(Debug, Clone)]
pub struct ListObjects {
    /// The container.
    pub container: ContainerPath,
    /// The part to list.
    pub query: ListQuery,
}

/// A page of a container.
#[derive(Debug, Clone, Default)]
pub struct ObjectList {
    /// The container.
    pub head: ContainerHead,
    /// The page.
    pub page: Page,
}

/// The entries of a container, as received or merged.
#[derive(Debug, Clone)]
pub enum Page {
    /// The JSON array of a container server.
    Json(Bytes),
    /// Entries merged from several servers.
    Entries(Vec<ObjectEntry>),
}

impl Default for Page {
    fn default() -> Self {
        Self::Entries(Vec::new())
    }
}

impl Page {
    /// The entries.
    ///
    /// # Errors
    /// `Unavailable` when the JSON of the container server is invalid.
    pub fn entries(self) -> Result<Vec<ObjectEntry>> {
        match self {
            Self::Json(json) => crate::quorum::object_entries(&json),
            Self::Entries(entries) => Ok(entries),
        }
    }
}

/// Creates a container, or changes an existing one.
#[derive(Debug, Clone)]
pub struct PutContainer {
    /// The container.
    pub container: ContainerPath,
    /// Metadata to set.
    pub metadata: Metadata,
    /// Policy that the client named.
    pub policy: Option<PolicyIndex>,
    /// Change of versioning.
    pub versioning: Option<Versioning>,
}

/// Changes a container's metadata.
#[derive(Debug, Clone)]
pub struct PostContainer {
    /// The container.
    pub container: ContainerPath,
    /// Changes; an empty value removes.
    pub metadata: Metadata,
    /// Change of versioning.
    pub versioning: Option<Versioning>,
}

/// Deletes an empty container.
#[derive(Debug, Clone)]
pub struct DeleteContainer {
    /// The container.
    pub container: ContainerPath,
}

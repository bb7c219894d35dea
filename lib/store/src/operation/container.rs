//! Operations on containers.

use apus_cluster::listing::{ListQuery, ObjectEntry};
use apus_cluster::{ContainerPath, Metadata, PolicyIndex, Timestamp};
use bytes::Bytes;

use crate::Result;

/// Reads a container's metadata and counts.
#[derive(Debug, Clone)]
pub struct HeadContainer {
    /// Which.
    pub container: ContainerPath,
}

/// A container's metadata.
#[derive(Debug, Clone, Default)]
pub struct ContainerHead {
    /// User and system metadata, ACLs, counts, title-cased.
    pub headers: Metadata,
    /// When it was made.
    pub created: Timestamp,
    /// Its policy.
    pub policy: PolicyIndex,
    /// Whether the asker owns the account.
    pub owner: bool,
}

impl ContainerHead {
    /// Objects in it, as the answering server counts.
    pub fn object_count(&self) -> u64 {
        let count = self.headers.get("X-Container-Object-Count");
        count.and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// Lists a container.
#[derive(Debug, Clone)]
pub struct ListObjects {
    /// Which.
    pub container: ContainerPath,
    /// What part of it.
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

/// The entries of a container in the form in which they came.
#[derive(Debug, Clone)]
pub enum Page {
    /// As a container server wrote them: a JSON array.
    Json(Bytes),
    /// As they were merged.
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
    /// `Unavailable` when a container server wrote something else.
    pub fn entries(self) -> Result<Vec<ObjectEntry>> {
        match self {
            Self::Json(json) => crate::quorum::object_entries(&json),
            Self::Entries(entries) => Ok(entries),
        }
    }
}

/// Makes a container, or changes one that is there.
#[derive(Debug, Clone)]
pub struct PutContainer {
    /// Which.
    pub container: ContainerPath,
    /// Metadata to set.
    pub metadata: Metadata,
    /// Policy the client asked for.
    pub policy: Option<PolicyIndex>,
}

/// Changes a container's metadata.
#[derive(Debug, Clone)]
pub struct PostContainer {
    /// Which.
    pub container: ContainerPath,
    /// Changes; an empty value removes.
    pub metadata: Metadata,
}

/// Deletes an empty container.
#[derive(Debug, Clone)]
pub struct DeleteContainer {
    /// Which.
    pub container: ContainerPath,
}

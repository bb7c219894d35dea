//! Operations on the cluster's own queues, whose rows have no objects.

use apus_cluster::{ContainerPath, Timestamp};

/// Writes and removes rows of a queue. Only the system may.
#[derive(Debug, Clone)]
pub struct UpdateQueue {
    /// The queue: a container of an internal account, which the first row creates.
    pub queue: ContainerPath,
    /// The rows.
    pub rows: Vec<QueueRow>,
}

/// A row of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// Its name.
    pub name: String,
    /// Its content type; `None` removes the row.
    pub content_type: Option<String>,
    /// The time of the row that this change replaces, so that a clock that is behind replaces it too.
    pub replaces: Timestamp,
}

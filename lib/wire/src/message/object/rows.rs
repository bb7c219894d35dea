//! The rows that an object server sends for a write, and where to.

use apus_cluster::{expirer, percent};
use apus_daemon::http::{header, set};
use http::HeaderMap;

use super::super::{RowTargets, fields};
use crate::{NodeRequest, headers};

const LISTING: [&str; 3] =
    [headers::CONTAINER_HOST, headers::CONTAINER_PARTITION, headers::CONTAINER_DEVICE];
const QUEUE: [&str; 3] =
    [headers::DELETE_AT_HOST, headers::DELETE_AT_PARTITION, headers::DELETE_AT_DEVICE];

/// Databases that a write is reported to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObjectRowTargets {
    /// Replicas of the container's database.
    pub listing: RowTargets,
    /// Account and container, joined by a slash, of the shard that the row belongs to.
    pub shard: Option<String>,
    /// State of the root container's database as the proxy knows it, kept with an undelivered row.
    pub root_state: Option<String>,
    /// The expirer's queue, for an object that expires.
    pub queue: Option<QueueTargets>,
    /// Whether the server removes the queue entry of an expiry that no longer holds. `None` is
    /// Swift's default, which is to remove it.
    pub cleans_queue: Option<bool>,
}

/// The container of the expirer's queue that an entry belongs to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueTargets {
    /// Name of the container: a time in seconds, of ten digits. Absent from old proxies.
    pub container: Option<String>,
    /// Replicas of its database.
    pub targets: RowTargets,
}

impl ObjectRowTargets {
    /// Whether queue entries that no longer hold are to be removed.
    pub fn cleans_queue(&self) -> bool {
        self.cleans_queue.unwrap_or(true)
    }

    pub(super) fn encode(&self, head: &mut HeaderMap) {
        self.listing.encode(head, LISTING);
        if let Some(shard) = &self.shard {
            set(head, headers::QUOTED_CONTAINER_PATH, &percent::encode_path(shard));
        }
        fields::set_some(head, headers::CONTAINER_ROOT_STATE, self.root_state.as_deref());
        if let Some(queue) = &self.queue {
            fields::set_some(head, headers::DELETE_AT_CONTAINER, queue.container.as_deref());
            queue.targets.encode(head, QUEUE);
        }
        if let Some(cleans) = self.cleans_queue {
            set(head, headers::CLEAN_QUEUE, if cleans { "t" } else { "f" });
        }
    }

    pub(super) fn decode(head: &HeaderMap) -> Self {
        let queue = header(head, headers::DELETE_AT_HOST).map(|_| QueueTargets {
            container: fields::number(head, headers::DELETE_AT_CONTAINER).map(expirer::ten_digits),
            targets: RowTargets::decode(head, QUEUE),
        });
        Self {
            listing: RowTargets::decode(head, LISTING),
            shard: shard(head),
            root_state: fields::text(head, headers::CONTAINER_ROOT_STATE),
            queue,
            cleans_queue: fields::flag(head, headers::CLEAN_QUEUE),
        }
    }
}

impl NodeRequest {
    /// The same write with the rows that one of its receivers is to send.
    #[must_use]
    pub fn with_rows(mut self, rows: &ObjectRowTargets) -> Self {
        rows.encode(&mut self.headers);
        self
    }
}

/// The shard that the proxy knows a row to belong to; a malformed one is logged, and the row goes
/// to the root container.
fn shard(head: &HeaderMap) -> Option<String> {
    let quoted = header(head, headers::QUOTED_CONTAINER_PATH).and_then(percent::decode_utf8);
    let path = quoted.or_else(|| fields::text(head, headers::CONTAINER_PATH))?;
    let valid = path.split_once('/').is_some_and(|(account, container)| {
        !account.is_empty() && !container.is_empty() && !container.contains('/')
    });
    if !valid {
        tracing::error!(path, "Malformed container path; the row goes to the root container");
    }
    valid.then_some(path)
}

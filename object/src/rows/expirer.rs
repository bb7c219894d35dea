//! Tasks of the expirer's queue: one for each object that expires.
//!
//! A new task is sent at once, to the databases that the request names. Removing the task of an
//! expiry that no longer applies is left to the updater: such a task only takes space, and the
//! expirer would find that it does not apply.
//! Source: `swift/obj/server.py`, `delete_at_update` and `_conditional_delete_at_update`.

use std::io;

use apus_cluster::{Metadata, PolicyIndex, Timestamp, expirer};
use apus_wire::message::container::{RowHeaders, RowVerb};

use super::pending::Update;
use super::{RowNotifier, RowSource};

/// MD5 of nothing.
const EMPTY_ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// The row of a task. `stored` is the metadata of the data file, whose size the queue adds up.
fn task_row(stored: &Metadata, time: Timestamp) -> RowHeaders {
    let field = |name: &str| stored.get(name).map_or("", String::as_str);
    let length = field("Content-Length").parse().unwrap_or(0_u64);
    let kind = format!("{};swift_expirer_bytes={length}", expirer::DELETE_TYPE);
    let mut row = RowHeaders::stored(time, "0", &kind, EMPTY_ETAG);
    row.set_content_type_timestamp(field("X-Timestamp"));
    row
}

/// The update of a task.
fn task_update(
    source: &RowSource<'_>,
    container: String,
    delete_at: u64,
    (verb, mut row): (RowVerb, RowHeaders),
) -> Update {
    // Swift's own accounts are always in policy 0.
    row.set_origin(PolicyIndex(0), source.trans_id);
    Update {
        verb,
        account: expirer::ACCOUNT.to_owned(),
        container,
        object: expirer::task_name(delete_at, &source.object.object),
        headers: row,
        container_path: None,
        db_state: None,
    }
}

impl RowNotifier {
    /// Adds the task of an expiry to the queue, or keeps it for the updater. Does nothing when the
    /// request names no queue: the proxy asks other servers then.
    ///
    /// # Errors
    /// When it could be neither sent nor kept; the write must then not be acknowledged.
    pub(crate) async fn add_task(
        &self,
        source: &RowSource<'_>,
        delete_at: u64,
        stored: &Metadata,
        time: Timestamp,
    ) -> io::Result<()> {
        let Some(queue) = source.targets.queue.as_ref().filter(|_| !source.is_replication) else {
            return Ok(());
        };
        let hash = &source.object.place.hash;
        // The proxy's name fits the databases that it names, whatever this server would choose.
        let container = queue.container.clone();
        let container = container.unwrap_or_else(|| expirer::task_container(hash, delete_at));
        let row = (RowVerb::Put, task_row(stored, time));
        let update = task_update(source, container, delete_at, row);
        if queue.targets.is_empty() {
            return self.keep(source.object, update, time).await;
        }
        self.deliver(source.object, &queue.targets, update, time).await
    }

    /// Has the updater remove the task of an expiry that no longer applies, if the sender wants it.
    ///
    /// # Errors
    /// When that could not be kept.
    pub(crate) async fn remove_task(
        &self,
        source: &RowSource<'_>,
        delete_at: u64,
        time: Timestamp,
    ) -> io::Result<()> {
        if source.is_replication || !source.targets.cleans_queue() {
            return Ok(());
        }
        let container = expirer::task_container(&source.object.place.hash, delete_at);
        let row = (RowVerb::Delete, RowHeaders::deleted(time));
        let update = task_update(source, container, delete_at, row);
        self.keep(source.object, update, time).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_contains_the_size_of_the_object_to_delete() {
        let stored = Metadata::from([
            ("Content-Length".to_owned(), "7".to_owned()),
            ("X-Timestamp".to_owned(), "1700000000.00000".to_owned()),
        ]);
        let RowHeaders(row) = task_row(&stored, Timestamp::from_seconds(1_700_000_005));
        assert_eq!(row["x-content-type"], "text/plain;swift_expirer_bytes=7");
        assert_eq!(row["x-content-type-timestamp"], "1700000000.00000");
        assert_eq!(row["x-timestamp"], "1700000005.00000");
        assert_eq!((row["x-size"].as_str(), row["x-etag"].as_str()), ("0", EMPTY_ETAG));
    }
}

//! Tells the queue of expirations that an object is to be deleted, and that it no longer is.
//!
//! A new task is sent at once, to the databases that the request names. The task of an expiry that
//! no longer holds is left to the updater: it is only in the way, and the expirer would find that
//! it holds no more.
//! Source: `swift/obj/server.py`, `delete_at_update` and `_conditional_delete_at_update`.

use std::io;

use apus_cluster::{Metadata, Timestamp, expirer};
use apus_daemon::config::value::flag;
use apus_daemon::http::header;
use apus_wire::headers;
use http::HeaderMap;

use super::RowNotifier;
use super::container::Recipients;
use super::pending::Update;
use crate::store::LocalObject;

/// MD5 of nothing.
const EMPTY_ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// Whether a copy is made by replication, which tells nobody.
pub(crate) fn is_replication(head: &HeaderMap) -> bool {
    header(head, headers::REPLICATION).and_then(flag).unwrap_or(false)
}

/// Whether the sender wants tasks that no longer hold removed from here.
pub(crate) fn cleans(head: &HeaderMap) -> bool {
    !is_replication(head) && header(head, headers::CLEAN_QUEUE).and_then(flag).unwrap_or(true)
}

/// `X-Delete-At` of a request; 0 is none.
pub(crate) fn wanted(head: &HeaderMap) -> Option<u64> {
    header(head, headers::DELETE_AT).and_then(|at| at.trim().parse().ok()).filter(|at| *at > 0)
}

/// The row of a task: `stored` is the metadata of the data file, whose size the queue adds up.
fn row(stored: &Metadata) -> Metadata {
    let field = |name: &str| stored.get(name).map_or("", String::as_str);
    let length = field("Content-Length").parse().unwrap_or(0_u64);
    let kind = format!("{};swift_expirer_bytes={length}", expirer::DELETE_TYPE);
    Metadata::from([
        (headers::SIZE.to_owned(), "0".to_owned()),
        (headers::CONTENT_TYPE.to_owned(), kind),
        (headers::CONTENT_TYPE_TIMESTAMP.to_owned(), field("X-Timestamp").to_owned()),
        (headers::ETAG.to_owned(), EMPTY_ETAG.to_owned()),
    ])
}

/// What all rows of the queue have.
fn update(
    target: &LocalObject,
    head: &HeaderMap,
    (method, container, delete_at): (&'static str, String, u64),
    mut row: Metadata,
    time: Timestamp,
) -> Update {
    // Swift's own accounts are always in policy 0.
    row.insert(headers::POLICY_INDEX.to_owned(), "0".to_owned());
    row.insert(headers::TIMESTAMP.to_owned(), time.to_string());
    if let Some(id) = header(head, headers::TRANS_ID) {
        row.insert(headers::TRANS_ID.to_owned(), id.to_owned());
    }
    Update {
        method,
        account: expirer::ACCOUNT.to_owned(),
        container,
        object: expirer::task_name(delete_at, &target.object),
        headers: row,
        container_path: None,
        db_state: None,
    }
}

impl RowNotifier {
    /// Adds the task of an expiry to the queue, or keeps it for the updater. Does nothing when the
    /// request names no databases: the proxy asks other servers then.
    ///
    /// # Errors
    /// When it could be neither sent nor kept; the write must then not be acknowledged.
    pub(crate) async fn add_task(
        &self,
        target: &LocalObject,
        head: &HeaderMap,
        delete_at: u64,
        stored: &Metadata,
        time: Timestamp,
    ) -> io::Result<()> {
        if is_replication(head) || header(head, headers::DELETE_AT_HOST).is_none() {
            return Ok(());
        }
        let named = header(head, headers::DELETE_AT_CONTAINER).and_then(|name| name.parse().ok());
        // The proxy's name fits the databases that it names, whatever this server would choose.
        let container = match named {
            Some(named) => expirer::ten_digits(named),
            None => expirer::task_container(&target.place.hash, delete_at),
        };
        let recipients = Recipients::named(
            head,
            [headers::DELETE_AT_HOST, headers::DELETE_AT_PARTITION, headers::DELETE_AT_DEVICE],
        );
        let update = update(target, head, ("PUT", container, delete_at), row(stored), time);
        if recipients.is_empty() {
            return self.keep(target, update, time).await;
        }
        self.deliver(target, recipients, update, time).await
    }

    /// Has the updater remove the task of an expiry that no longer applies.
    ///
    /// # Errors
    /// When that could not be kept.
    pub(crate) async fn remove_task(
        &self,
        target: &LocalObject,
        head: &HeaderMap,
        delete_at: u64,
        time: Timestamp,
    ) -> io::Result<()> {
        if !cleans(head) {
            return Ok(());
        }
        let container = expirer::task_container(&target.place.hash, delete_at);
        let update = update(target, head, ("DELETE", container, delete_at), Metadata::new(), time);
        self.keep(target, update, time).await
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::set;

    use super::*;

    #[test]
    fn a_task_tells_the_size_of_what_it_will_delete() {
        let stored = Metadata::from([
            ("Content-Length".to_owned(), "7".to_owned()),
            ("X-Timestamp".to_owned(), "1700000000.00000".to_owned()),
        ]);
        let row = row(&stored);
        assert_eq!(row["x-content-type"], "text/plain;swift_expirer_bytes=7");
        assert_eq!(row["x-content-type-timestamp"], "1700000000.00000");
        assert_eq!((row["x-size"].as_str(), row["x-etag"].as_str()), ("0", EMPTY_ETAG));
    }

    #[test]
    fn old_tasks_are_dropped_unless_the_sender_says_otherwise() {
        let head = |name: &'static str, value: &str| {
            let mut head = HeaderMap::new();
            set(&mut head, name, value);
            head
        };
        assert!(cleans(&HeaderMap::new()));
        assert!(cleans(&head(headers::CLEAN_QUEUE, "t")));
        assert!(!cleans(&head(headers::CLEAN_QUEUE, "f")));
        assert!(!cleans(&head(headers::CLEAN_QUEUE, "no")));
        assert!(!cleans(&head(headers::REPLICATION, "true")));
        assert_eq!(wanted(&head(headers::DELETE_AT, "0000001700")), Some(1700));
        assert_eq!(wanted(&head(headers::DELETE_AT, "0")), None);
    }
}

//! Rows of the cluster's own queues: tasks for the expirer to delete objects as they are now, and events.
//!
//! Source of the tasks: `make_delete_jobs` in `swift/cli/container_deleter.py`.

use apus_cluster::policy::write_quorum;
use apus_cluster::{AccountName, ContainerName, ContainerPath, PolicyIndex, Timestamp, expirer};
use apus_wire::message::container::UpdateRowsRequest;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::Quorum;
use super::best::best_status;
use super::database::DatabaseCall;
use super::nodes::QuorumRule;
use super::send::{Replayable, broadcast};
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{QueueDeletions, QueueRow, UpdateQueue};
use crate::{Error, Result};

/// MD5 of an empty body.
const EMPTY_ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// The rows of the expirer's queue, as container servers accept them.
fn tasks(op: &QueueDeletions, time: Timestamp) -> Value {
    let row = |object: &apus_cluster::ObjectName| {
        let path = op.container.object(object.clone());
        json!({
            "name": expirer::precise_task_name(time, &path),
            "deleted": 0,
            "created_at": time.to_string(),
            "etag": EMPTY_ETAG,
            "size": 0,
            "storage_policy_index": 0,
            "content_type": expirer::ASYNC_DELETE_TYPE,
        })
    };
    op.objects.iter().map(row).collect()
}

/// Changes of rows of a queue, as container servers accept them.
fn queue_rows(rows: &[QueueRow], time: Timestamp) -> Value {
    let row = |row: &QueueRow| {
        // Swift's values of a removed row.
        let (content_type, etag, deleted) = match &row.content_type {
            Some(content_type) => (content_type.as_str(), EMPTY_ETAG, 0),
            None => ("application/deleted", "noetag", 1),
        };
        json!({
            "name": row.name,
            "deleted": deleted,
            "created_at": time.max(row.replaces.next()).to_string(),
            "etag": etag,
            "size": 0,
            "storage_policy_index": 0,
            "content_type": content_type,
        })
    };
    rows.iter().map(row).collect()
}

impl Quorum {
    /// Writes a task for each object into the expirer's queue.
    ///
    /// # Errors
    /// `Unavailable`; some servers may have stored the tasks all the same.
    pub async fn queue_deletions(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &QueueDeletions,
    ) -> Result<()> {
        let time = self.clock.stamp();
        let hash = self.hash.hash_joined(&op.manifest.to_string());
        let name = expirer::task_container(&hash, time.seconds());
        let refuse = |error: apus_cluster::name::NameError| Error::unavailable(error);
        let account = AccountName::parse(expirer::ACCOUNT).map_err(refuse)?;
        let queue = ContainerPath::new(account, ContainerName::parse(&name).map_err(refuse)?);
        self.write_rows(cx, &queue, (time, tasks(op, time))).await
    }

    /// Writes and removes rows of a queue.
    ///
    /// # Errors
    /// `Unavailable`; some servers may have stored the rows all the same.
    pub async fn update_queue(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &UpdateQueue,
    ) -> Result<()> {
        let time = self.clock.stamp();
        self.write_rows(cx, &op.queue, (time, queue_rows(&op.rows, time))).await
    }

    /// Writes rows to the replicas of a queue, which is created if it does not exist.
    async fn write_rows(
        &self,
        cx: &Context,
        queue: &ContainerPath,
        (time, rows): (Timestamp, Value),
    ) -> Result<()> {
        let call = DatabaseCall::container(self, cx, queue);
        let request = UpdateRowsRequest {
            address: call.container_address(queue),
            timestamp: time,
            // Swift's own accounts are always in policy 0.
            policy: PolicyIndex(0),
            auto_create: false,
        };
        let request = request.encode();
        let rows = Replayable(vec![Bytes::from(rows.to_string())]);
        let needed = write_quorum(call.nodes.primaries.len());
        let rule = QuorumRule::Any(needed);
        let answers = broadcast(&self.client, &call.nodes, &rule, rows, |_| request.clone()).await;
        let statuses: Vec<StatusCode> = answers.iter().map(|answer| answer.status()).collect();
        match best_status(&statuses, needed) {
            Some(status) if status.is_success() => Ok(()),
            _ => {
                let queue = queue.container.as_str();
                let cause = format!("servers of the queue {queue} answered {statuses:?}");
                Err(Error::unavailable(cause))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_row_is_newer_than_the_row() {
        let now = Timestamp::from_seconds(100);
        let row = |content_type: Option<&str>, replaces| QueueRow {
            name: "n".to_owned(),
            content_type: content_type.map(str::to_owned),
            replaces: Timestamp::from_seconds(replaces),
        };
        let rows = queue_rows(&[row(Some("t"), 0), row(None, 50), row(None, 100)], now);
        let field = |at: usize, name: &str| rows[at][name].clone();
        assert_eq!(field(0, "content_type"), "t");
        assert_eq!((field(0, "deleted"), field(1, "deleted")), (json!(0), json!(1)));
        assert_eq!(field(0, "created_at"), "0000000100.00000");
        assert_eq!(field(1, "created_at"), "0000000100.00000");
        // The clock of the writer was ahead.
        assert_eq!(field(2, "created_at"), "0000000100.00001");
    }
}

//! Tasks for the expirer to delete objects as they are now.
//!
//! Source: `make_delete_jobs` in `swift/cli/container_deleter.py`.

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
use crate::operation::QueueDeletions;
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
        let call = DatabaseCall::container(self, cx, &queue);
        let request = UpdateRowsRequest {
            address: call.container_address(&queue),
            timestamp: time,
            // Swift's own accounts are always in policy 0.
            policy: PolicyIndex(0),
            auto_create: false,
        };
        let request = request.encode();
        let rows = Replayable(vec![Bytes::from(tasks(op, time).to_string())]);
        let needed = write_quorum(call.nodes.primaries.len());
        let rule = QuorumRule::Any(needed);
        let answers = broadcast(&self.client, &call.nodes, &rule, rows, |_| request.clone()).await;
        let statuses: Vec<StatusCode> = answers.iter().map(|answer| answer.status()).collect();
        match best_status(&statuses, needed) {
            Some(status) if status.is_success() => Ok(()),
            _ => {
                let cause = format!("servers of the expirer's queue answered {statuses:?}");
                Err(Error::unavailable(cause))
            }
        }
    }
}

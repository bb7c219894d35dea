//! The storage policy of a container whose replicas were made with different ones: the oldest.
//!
//! Source: `incorrect_policy_index` and `set_storage_policy_index` of Swift.

use apus_broker::replication::is_better_policy;
use apus_broker::{Connection, DatabaseKind, DbError, digest};
use apus_cluster::Timestamp;
use apus_wire::message::database::ReplicaInfo;

use super::Containers;
use crate::schema::SCHEMA;

/// Takes over the policy of another replica if that is the container's; whether it was.
///
/// # Errors
/// SQLite's.
pub(super) fn adopt(
    connection: &mut Connection,
    remote: &ReplicaInfo,
    now: Timestamp,
) -> Result<bool, DbError> {
    let local = Containers::info(connection)?;
    let Some(policy) = remote.storage_policy_index else { return Ok(false) };
    if !is_better_policy(&local, remote) {
        return Ok(false);
    }
    connection.run(
        "INSERT OR IGNORE INTO policy_stat (storage_policy_index) VALUES (?)",
        &[policy.into()],
    )?;
    // The age of a policy goes with it. Swift sets the time of the change: this replica would then
    // look younger than one that still has the other policy, and take that again from it.
    let since = match ReplicaInfo::time(&remote.status_changed_at) {
        Timestamp::ZERO => now,
        since => since,
    };
    // Rows that were in their place until now may be misplaced. Swift leaves the sync point as it
    // is and relies on the replica that has the policy to queue these rows, which may never happen.
    digest::change_info(connection, &SCHEMA, |connection| {
        connection.run(
            "UPDATE container_info SET storage_policy_index = ?1, status_changed_at = ?2,
                 reconciler_sync_point = -1",
            &[policy.into(), (&since.to_string()).into()],
        )
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests;

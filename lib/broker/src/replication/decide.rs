//! Decisions of replication, as pure functions.
//!
//! Whether a replica is in sync, how to send to it, and which of two policies is a container's.

use std::cmp::Ordering;

use apus_cluster::Timestamp;

use apus_wire::message::database::ReplicaInfo;

/// How a replica is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PushMode {
    /// It has all rows, by its own sync point or by the one stored here.
    UpToDate,
    /// It has all rows, since the hashes are equal.
    HashMatch,
    /// Rows after this one.
    Rows(i64),
    /// The whole database, merged with its own.
    Whole,
}

/// The last of our rows that a replica has, by its own sync point or the one stored here (`sent`).
///
/// Unlike in Swift, a point past our own last row is ignored: it counts rows of an earlier use of this
/// id, or a bit of it has flipped.
pub(super) fn point(local: &ReplicaInfo, remote: &ReplicaInfo, sent: i64) -> i64 {
    let valid = |point: i64| if point > local.max_row { -1 } else { point };
    valid(remote.point.unwrap_or(-1)).max(valid(sent))
}

/// How to send to a replica that exists. `sent` is the last row that it has by the point stored here.
///
/// Source: `_in_sync` and `_choose_replication_mode`.
pub(super) fn mode(
    local: &ReplicaInfo,
    remote: &ReplicaInfo,
    sent: i64,
    per_diff: usize,
) -> PushMode {
    let point = point(local, remote, sent);
    if point >= local.max_row {
        return PushMode::UpToDate;
    }
    if remote.hash == local.hash {
        return PushMode::HashMatch;
    }
    let per_diff = i64::try_from(per_diff).unwrap_or(i64::MAX);
    let missing = local.max_row.saturating_sub(remote.max_row);
    // Few rows go as rows, however large their share.
    if remote.max_row.saturating_mul(2) < local.max_row && missing > per_diff {
        return PushMode::Whole;
    }
    PushMode::Rows(point)
}

/// Whether a handoff database may be removed: `handoff_delete` replicas have it, or all when that
/// is 0.
pub(super) fn may_remove(answers: &[bool], handoff_delete: usize) -> bool {
    let good = answers.iter().filter(|good| **good).count();
    if handoff_delete > 0 { good >= handoff_delete } else { good > 0 && good == answers.len() }
}

fn is_deleted(info: &ReplicaInfo) -> bool {
    ReplicaInfo::time(&info.delete_timestamp) > ReplicaInfo::time(&info.put_timestamp)
        && info.count == 0
}

fn is_recreated(info: &ReplicaInfo) -> bool {
    let deleted = ReplicaInfo::time(&info.delete_timestamp);
    ReplicaInfo::time(&info.put_timestamp) > deleted && deleted > Timestamp::ZERO
}

/// Whether the policy of `remote` is the container's, and not that of `local`.
pub fn is_better_policy(local: &ReplicaInfo, remote: &ReplicaInfo) -> bool {
    remote.storage_policy_index.is_some()
        && remote.storage_policy_index != local.storage_policy_index
        && policy_order(local, remote) == Ordering::Greater
}

/// Which of two replicas has the container's policy; it sorts first. That is the oldest, but for a
/// container that was deleted and made again it is the one made last.
///
/// Source: `swift/container/reconciler.py`, `cmp_policy_info`.
pub fn policy_order(local: &ReplicaInfo, remote: &ReplicaInfo) -> Ordering {
    let changed = |info: &ReplicaInfo| ReplicaInfo::time(&info.status_changed_at);
    match (is_deleted(local), is_deleted(remote)) {
        (true, true) => changed(remote).cmp(&changed(local)),
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => match (is_recreated(local), is_recreated(remote)) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => changed(local).cmp(&changed(remote)),
            (true, true) => {
                let put = |info: &ReplicaInfo| ReplicaInfo::time(&info.put_timestamp);
                let deleted = |info: &ReplicaInfo| ReplicaInfo::time(&info.delete_timestamp);
                let last_delete = deleted(local).max(deleted(remote));
                if put(local) < last_delete {
                    Ordering::Greater
                } else if put(remote) < last_delete {
                    Ordering::Less
                } else {
                    changed(local).cmp(&changed(remote))
                }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(max_row: i64, hash: &str, point: i64) -> ReplicaInfo {
        ReplicaInfo { max_row, hash: hash.to_owned(), point: Some(point), ..ReplicaInfo::default() }
    }

    #[test]
    fn a_replica_is_up_to_date_by_its_point_by_ours_or_by_its_hash() {
        let local = replica(10, "a", -1);
        assert_eq!(mode(&local, &replica(9, "b", 10), -1, 1000), PushMode::UpToDate);
        assert_eq!(mode(&local, &replica(9, "b", 3), 10, 1000), PushMode::UpToDate);
        assert_eq!(mode(&local, &replica(9, "a", 3), 5, 1000), PushMode::HashMatch);
        assert_eq!(mode(&local, &replica(9, "b", 3), 5, 1000), PushMode::Rows(5));
        assert_eq!(
            mode(&replica(-1, "a", -1), &replica(-1, "b", -1), -1, 1000),
            PushMode::UpToDate
        );
    }

    #[test]
    fn the_whole_is_sent_when_most_and_many_rows_are_missing() {
        let local = replica(2001, "a", -1);
        assert_eq!(mode(&local, &replica(1000, "b", -1), -1, 1000), PushMode::Whole);
        assert_eq!(mode(&local, &replica(1001, "b", -1), -1, 1000), PushMode::Rows(-1));
        let local = replica(1000, "a", -1);
        assert_eq!(mode(&local, &replica(-1, "b", -1), -1, 1000), PushMode::Whole);
        assert_eq!(mode(&local, &replica(0, "b", -1), -1, 1000), PushMode::Rows(-1));
    }

    #[test]
    fn a_point_past_our_last_row_is_ignored() {
        let local = replica(10, "a", -1);
        assert_eq!(mode(&local, &replica(50, "b", 50), -1, 1000), PushMode::Rows(-1));
        assert_eq!(mode(&local, &replica(50, "b", 50), 10, 1000), PushMode::UpToDate);
        assert_eq!(mode(&local, &replica(10, "b", 3), 4 + (1 << 40), 1000), PushMode::Rows(3));
    }

    #[test]
    fn a_handoff_is_removed_after_all_or_after_as_many_as_configured() {
        assert!(may_remove(&[true, true, true], 0));
        assert!(!may_remove(&[true, false, true], 0));
        assert!(!may_remove(&[], 0));
        assert!(may_remove(&[true, false, true], 2));
        assert!(!may_remove(&[true, false, false], 2));
    }

    fn policy(index: i64, put: u64, delete: u64, changed: u64, count: i64) -> ReplicaInfo {
        let text = |seconds| Timestamp::from_seconds(seconds).to_string();
        ReplicaInfo {
            storage_policy_index: Some(index),
            put_timestamp: text(put),
            delete_timestamp: text(delete),
            status_changed_at: text(changed),
            count,
            ..ReplicaInfo::default()
        }
    }

    #[test]
    fn the_oldest_policy_wins_unless_one_was_made_again() {
        // Local, remote, whether the remote's is better.
        let cases = [
            (policy(0, 2, 0, 2, 0), policy(1, 1, 0, 1, 0), true),
            (policy(0, 1, 0, 1, 0), policy(1, 2, 0, 2, 0), false),
            // The same policy, or none.
            (policy(1, 2, 0, 2, 0), policy(1, 1, 0, 1, 0), false),
            // One is deleted.
            (policy(0, 1, 5, 5, 0), policy(1, 2, 0, 2, 0), true),
            (policy(0, 2, 0, 2, 0), policy(1, 1, 5, 5, 0), false),
            // Both are: the newest status.
            (policy(0, 1, 5, 5, 0), policy(1, 1, 6, 6, 0), true),
            (policy(0, 1, 6, 6, 0), policy(1, 1, 5, 5, 0), false),
            // With rows left it is not deleted.
            (policy(0, 1, 5, 1, 3), policy(1, 2, 0, 2, 0), false),
            // One was made again.
            (policy(0, 1, 0, 1, 0), policy(1, 9, 5, 9, 0), true),
            (policy(0, 9, 5, 9, 0), policy(1, 1, 0, 1, 0), false),
            // Both were: not the one that was deleted since; else the oldest.
            (policy(0, 6, 5, 6, 0), policy(1, 9, 8, 9, 0), true),
            (policy(0, 9, 8, 9, 0), policy(1, 6, 5, 6, 0), false),
            (policy(0, 9, 5, 9, 0), policy(1, 8, 5, 8, 0), true),
        ];
        for (local, remote, better) in cases {
            assert_eq!(is_better_policy(&local, &remote), better, "{local:?} {remote:?}");
        }
    }
}

//! Shard ranges of containers that Swift sharded.
//!
//! Apus shards nothing. It stores and merges Swift's ranges, so that no replica of them is lost.
//!
//! Source: `swift/container/backend.py`, `merge_shards`, `sift_shard_ranges`, and
//! `check_merge_own_shard_range` of `replicator.py`.

use apus_broker::{Connection, DbError, Param, Row};
use apus_wire::message::database::ShardRange;

/// The greatest `ROWID` of the table.
pub(crate) const MAX_ROW: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'shard_range'";

/// SHRINKING, SHARDING, SHARDED, SHRUNK: the range's own rows go to other ranges.
const CLEAVING: [i64; 4] = [50, 60, 70, 80];

fn from_row(row: &Row<'_>) -> ShardRange {
    let epoch = row.text(10);
    ShardRange {
        name: row.text(0),
        timestamp: row.text(1),
        lower: row.text(2),
        upper: row.text(3),
        object_count: row.int(4),
        bytes_used: row.int(5),
        meta_timestamp: row.text(6),
        deleted: row.int(7),
        state: row.int(8),
        state_timestamp: row.text(9),
        epoch: Some(epoch).filter(|epoch| !epoch.is_empty()),
        reported: row.int(11),
        tombstones: row.int(12),
    }
}

/// Whether the table exists: old databases lack it.
fn has_table(connection: &mut Connection) -> Result<bool, DbError> {
    let mut found = false;
    connection.query("SELECT 1 FROM sqlite_master WHERE name = 'shard_range'", &[], |_| {
        found = true;
        false
    })?;
    Ok(found)
}

/// All ranges, including deleted ones and the container's own.
pub(crate) fn all(connection: &mut Connection) -> Result<Vec<ShardRange>, DbError> {
    let mut ranges = Vec::new();
    if has_table(connection)? {
        connection.query(
            "SELECT name, timestamp, lower, upper, object_count, bytes_used, meta_timestamp,
                 deleted, state, state_timestamp, epoch, reported, tombstones FROM shard_range",
            &[],
            |row| {
                ranges.push(from_row(row));
                true
            },
        )?;
    }
    Ok(ranges)
}

/// Whether the container's rows go to shards.
pub(crate) fn is_sharding(own: &str, ranges: &[ShardRange]) -> bool {
    let of_own = ranges.iter().find(|range| range.name == own && range.deleted == 0);
    of_own.is_some_and(|range| CLEAVING.contains(&range.state))
        && ranges.iter().any(|range| range.name != own && range.deleted == 0)
}

/// Merges ranges that a replica sent.
pub(crate) fn merge_all(
    connection: &mut Connection,
    ranges: Vec<ShardRange>,
) -> Result<(), DbError> {
    if ranges.is_empty() {
        return Ok(());
    }
    if !has_table(connection)? {
        connection.script(crate::schema::SHARD_RANGE)?;
    }
    let info = crate::backend::info(connection)?;
    let own = format!("{}/{}", info.account, info.container);
    for range in ranges {
        let mut existing = None;
        connection.query(
            "SELECT name, timestamp, lower, upper, object_count, bytes_used, meta_timestamp,
                 deleted, state, state_timestamp, epoch, reported, tombstones FROM shard_range
             WHERE deleted IN (0, 1) AND name = ?",
            &[(&range.name).into()],
            |row| {
                existing = Some(from_row(row));
                true
            },
        )?;
        // An own range with an epoch is not replaced by one without.
        let has_epoch = existing.as_ref().is_some_and(|existing| existing.epoch.is_some());
        if range.name == own && has_epoch && range.epoch.is_none() {
            continue;
        }
        if let Some(merged) = merge(existing.as_ref(), range) {
            connection.run(
                "DELETE FROM shard_range WHERE deleted IN (0, 1) AND name = ?",
                &[(&merged.name).into()],
            )?;
            insert(connection, &merged)?;
        }
    }
    Ok(())
}

fn insert(connection: &mut Connection, range: &ShardRange) -> Result<(), DbError> {
    connection.run(
        "INSERT INTO shard_range (name, timestamp, lower, upper, object_count, bytes_used,
             meta_timestamp, deleted, state, state_timestamp, epoch, reported, tombstones)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        &[
            (&range.name).into(),
            (&range.timestamp).into(),
            (&range.lower).into(),
            (&range.upper).into(),
            range.object_count.into(),
            range.bytes_used.into(),
            (&range.meta_timestamp).into(),
            range.deleted.into(),
            range.state.into(),
            (&range.state_timestamp).into(),
            range.epoch.as_ref().map_or(Param::Null, Param::from),
            range.reported.into(),
            range.tombstones.into(),
        ],
    )
}

/// The newest of both, or `None` when `existing` already is that. A range made later replaces an
/// older one. If both were made at the same time, bounds stay, and statistics and state have times of
/// their own.
fn merge(existing: Option<&ShardRange>, new: ShardRange) -> Option<ShardRange> {
    let Some(old) = existing else { return Some(new) };
    if old.timestamp < new.timestamp {
        // Its content has not been reported yet.
        return Some(ShardRange { reported: 0, ..new });
    }
    if old.timestamp > new.timestamp {
        return None;
    }
    let mut merged = old.clone();
    let mut changed = false;
    if new.meta_timestamp > old.meta_timestamp {
        merged.object_count = new.object_count;
        merged.bytes_used = new.bytes_used;
        merged.tombstones = new.tombstones;
        merged.meta_timestamp.clone_from(&new.meta_timestamp);
        changed = true;
    }
    let further = new.state_timestamp == old.state_timestamp && new.state > old.state;
    if further || new.state_timestamp > old.state_timestamp {
        merged.state = new.state;
        merged.state_timestamp.clone_from(&new.state_timestamp);
        merged.epoch.clone_from(&new.epoch);
        changed = true;
    }
    let same_facts = |other: &ShardRange| {
        other.object_count == merged.object_count
            && other.bytes_used == merged.bytes_used
            && other.tombstones == merged.tombstones
            && other.state == merged.state
            && other.epoch == merged.epoch
    };
    let reported =
        (old.reported != 0 && same_facts(old)) || (new.reported != 0 && same_facts(&new));
    changed |= reported && old.reported == 0;
    merged.reported = i64::from(reported);
    changed.then_some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(timestamp: u64, meta: u64, state_time: u64, state: i64, count: i64) -> ShardRange {
        let text = |seconds: u64| format!("{seconds:010}.00000");
        ShardRange {
            name: ".shards_a/c-1".to_owned(),
            timestamp: text(timestamp),
            lower: String::new(),
            upper: "m".to_owned(),
            object_count: count,
            bytes_used: count * 10,
            meta_timestamp: text(meta),
            deleted: 0,
            state,
            state_timestamp: text(state_time),
            epoch: None,
            reported: 0,
            tombstones: -1,
        }
    }

    fn both(a: &ShardRange, b: &ShardRange) -> ShardRange {
        merge(Some(a), b.clone()).unwrap_or_else(|| a.clone())
    }

    #[test]
    fn merging_gives_the_same_range_in_any_order() {
        let ranges = [range(1, 1, 1, 10, 0), range(1, 5, 1, 10, 7), range(1, 1, 3, 40, 0)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 1, 2]] {
            let merged = both(&both(&ranges[order[0]], &ranges[order[1]]), &ranges[order[2]]);
            assert_eq!((merged.object_count, merged.state), (7, 40), "{order:?}");
        }
        assert_eq!(both(&ranges[1], &range(2, 2, 2, 10, 1)).object_count, 1);
        assert_eq!(merge(Some(&range(2, 2, 2, 10, 1)), ranges[1].clone()), None);
    }

    #[test]
    fn rows_wait_while_there_are_ranges_for_them() {
        let own = ShardRange { name: "a/c".to_owned(), ..range(1, 1, 1, 60, 0) };
        let other = range(1, 1, 1, 20, 0);
        assert!(is_sharding("a/c", &[own.clone(), other.clone()]));
        assert!(!is_sharding("a/c", std::slice::from_ref(&own)));
        assert!(!is_sharding("a/c", &[ShardRange { state: 40, ..own }, other]));
    }
}

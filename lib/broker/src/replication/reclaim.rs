//! Drops old deletions that all replicas have.
//!
//! Source: `swift/common/db.py`, `reclaim` and `TombstoneReclaimer`. Unlike Swift, this waits until
//! all replicas are up to date: a deletion that a replica lacks is kept, however old, or that
//! replica would bring the object back.

use std::sync::Arc;
use std::time::Duration;

use apus_cluster::Timestamp;
use apus_cluster::timestamp::STEPS_PER_SECOND;
use apus_wire::message::database::ReplicaInfo;

use super::replica::Replica;
use crate::database::Database;
use crate::error::DbError;
use crate::metadata;
use crate::raw::Connection;

/// Deleted rows per transaction, since other writes wait for it.
const PAGE: i64 = 1000;

/// `now` less an age in seconds.
pub(super) fn before(now: Timestamp, seconds: f64) -> Timestamp {
    let steps = (seconds * STEPS_PER_SECOND as f64) as u64;
    Timestamp::from_steps(now.steps().saturating_sub(steps))
}

/// Drops deleted rows and removed metadata older than `age`, and sync points that were not touched
/// for twice that time.
pub(super) async fn reclaim<K: Replica>(
    database: &Arc<Database>,
    info: &ReplicaInfo,
    now: Timestamp,
    age: f64,
) -> Result<(), DbError> {
    let (then, long_ago) = (before(now, age), before(now, age * 2.0));
    if database.read(move |connection| has_old::<K>(connection, then, long_ago)).await? {
        let mut from = Some(String::new());
        while let Some(at) = from {
            from = database.write(move |connection| page::<K>(connection, &at, then)).await?;
        }
        let old = long_ago.seconds().to_string();
        database
            .write(move |connection| {
                connection
                    .run("DELETE FROM outgoing_sync WHERE updated_at < ?", &[(&old).into()])?;
                connection.run("DELETE FROM incoming_sync WHERE updated_at < ?", &[(&old).into()])
            })
            .await?;
    }
    let removals = metadata::decode(&info.metadata)?;
    if removals.values().any(|value| metadata::is_old_removal(value, then)) {
        database.write(move |connection| metadata::reclaim(connection, K::schema(), then)).await?;
    }
    Ok(())
}

/// When something in a database will be old enough to be dropped, if nothing changes: since 1970, at
/// most a second early. `None` when nothing in it becomes old.
pub(super) fn next<K: Replica>(
    connection: &mut Connection,
    info: &ReplicaInfo,
    age: f64,
) -> Result<Option<Duration>, DbError> {
    let mut due: Option<f64> = None;
    let mut add = |time: &str, age: f64| {
        // An invalid time is never old.
        let seconds = time.split('.').next().and_then(|seconds| seconds.parse::<f64>().ok());
        if let Some(seconds) = seconds {
            due = Some(due.map_or(seconds + age, |due| due.min(seconds + age)));
        }
    };
    connection.query(K::schema().oldest_tombstone, &[], |row| {
        add(&row.text(0), age);
        false
    })?;
    for sql in
        ["SELECT MIN(updated_at) FROM outgoing_sync", "SELECT MIN(updated_at) FROM incoming_sync"]
    {
        connection.query(sql, &[], |row| {
            add(&row.text(0), age * 2.0);
            false
        })?;
    }
    let metadata = metadata::decode(&info.metadata)?;
    for (_, time) in metadata.values().filter(|(value, _)| value.is_empty()) {
        add(time, age);
    }
    if ReplicaInfo::time(&info.delete_timestamp) > ReplicaInfo::time(&info.put_timestamp) {
        add(&info.delete_timestamp, age);
    }
    Ok(due.map(|due| Duration::try_from_secs_f64(due).unwrap_or(Duration::MAX)))
}

fn has_old<K: Replica>(
    connection: &mut Connection,
    then: Timestamp,
    long_ago: Timestamp,
) -> Result<bool, DbError> {
    let mut found = false;
    let old = long_ago.seconds().to_string();
    connection.query(K::schema().old_tombstone, &[(&then.to_string()).into()], |_| {
        found = true;
        false
    })?;
    for sql in [
        "SELECT 1 FROM outgoing_sync WHERE updated_at < ? LIMIT 1",
        "SELECT 1 FROM incoming_sync WHERE updated_at < ? LIMIT 1",
    ] {
        connection.query(sql, &[(&old).into()], |_| {
            found = true;
            false
        })?;
    }
    Ok(found)
}

/// Drops one page of deleted rows by name from `from` on. Returns where the next one begins.
fn page<K: Replica>(
    connection: &mut Connection,
    from: &str,
    then: Timestamp,
) -> Result<Option<String>, DbError> {
    let mut next = None;
    let then = then.to_string();
    connection.query(K::schema().tombstone_at, &[from.into(), PAGE.into()], |row| {
        next = Some(row.text(0));
        false
    })?;
    // Names may repeat (one row for each policy): then a page holds more than it should.
    let next = next.filter(|next| next != from);
    match &next {
        Some(next) => connection
            .run(K::schema().reclaim_until, &[from.into(), (&then).into(), next.into()])?,
        None => connection.run(K::schema().reclaim_rest, &[from.into(), (&then).into()])?,
    }
    Ok(next)
}

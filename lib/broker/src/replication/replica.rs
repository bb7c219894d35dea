//! The parts of replication that differ between account and container databases.

use apus_cluster::Timestamp;
use apus_wire::NodeRequest;
use apus_wire::message::database::{ContainerCall, ReplicaInfo, ShardRange};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::DbError;
use crate::kind::DatabaseKind;
use crate::raw::{Connection, Row};

/// The work of a [`ContainerCall`]. It returns the shard ranges of the response, if it has any.
pub type Operation =
    Box<dyn FnOnce(&mut Connection) -> Result<Option<Vec<ShardRange>>, DbError> + Send + 'static>;

/// A kind of database that is replicated. The methods with a default are what account databases
/// do, whose replicas agree by rows, timestamps and metadata alone.
pub trait Replica: DatabaseKind {
    /// A row with its `ROWID`, in Swift's keys.
    type Row: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Reads a row: its columns in the order of the schema, and its `ROWID`.
    fn read_row(row: &Row<'_>, id: i64) -> Self::Row;

    /// The `ROWID` of a row.
    fn row_id(row: &Self::Row) -> Option<i64>;

    /// Merges a row of another replica.
    ///
    /// # Errors
    /// SQLite's; [`DbError::Corrupt`] for the stored row, [`DbError::Invalid`] for the new one.
    fn merge_row(connection: &mut Connection, row: Self::Row) -> Result<(), DbError>;

    /// Whether a row is a deletion from before `then` of something that does not exist here. Such a
    /// row is not merged: replicas would drop it as old and get it again from each other forever.
    ///
    /// # Errors
    /// SQLite's.
    fn is_old_deletion(
        connection: &mut Connection,
        row: &Self::Row,
        then: Timestamp,
    ) -> Result<bool, DbError>;

    /// The `PUT` that creates this database on a server that accepts no whole ones.
    ///
    /// # Errors
    /// [`DbError::Corrupt`].
    fn put_request(info: &ReplicaInfo, partition: u32) -> Result<NodeRequest, DbError>;

    /// Takes over what only the replaced database has, in addition to rows, sync points, metadata
    /// and timestamps.
    ///
    /// # Errors
    /// SQLite's.
    fn inherit(connection: &mut Connection, old: &mut Connection) -> Result<(), DbError>;

    /// Whether nothing but its age keeps a deleted database: it is empty, and no other server has
    /// to be notified of it.
    ///
    /// # Errors
    /// SQLite's.
    fn is_spent(_connection: &mut Connection) -> Result<bool, DbError> {
        Ok(true)
    }

    /// Prepares a copy for its use under a new id.
    ///
    /// # Errors
    /// SQLite's.
    fn renewed(_connection: &mut Connection) -> Result<(), DbError> {
        Ok(())
    }

    /// Whether [`Replica::reconcile`] would change anything.
    fn disagrees(_local: &ReplicaInfo, _remote: &ReplicaInfo) -> bool {
        false
    }

    /// Takes over from another replica what is not decided by timestamps alone. Returns whether
    /// anything changed. Decides by the state in the transaction of `connection`; `remote` may be
    /// outdated, and states may come in any order.
    ///
    /// # Errors
    /// SQLite's.
    fn reconcile(
        _connection: &mut Connection,
        _remote: &ReplicaInfo,
        _now: Timestamp,
    ) -> Result<bool, DbError> {
        Ok(false)
    }

    /// The work of a call that only container servers answer; `None` for another kind.
    fn operation(_call: ContainerCall) -> Option<Operation> {
        None
    }

    /// What is sent to a replica before rows, and whether rows have to wait.
    ///
    /// # Errors
    /// SQLite's.
    fn before_rows(_connection: &mut Connection) -> Result<BeforeRows, DbError> {
        Ok(BeforeRows::default())
    }
}

/// What is sent to a replica before rows.
#[derive(Debug, Clone, Default)]
pub struct BeforeRows {
    /// The shard ranges; empty when there are none.
    pub shard_ranges: Vec<ShardRange>,
    /// Rows go to shards and not to replicas.
    pub rows_wait: bool,
}

/// Rows after a `ROWID`, in order.
///
/// # Errors
/// SQLite's; [`DbError::Corrupt`] for a row that does not match its digest, so that damage does not
/// spread to other replicas.
pub fn rows_since<K: Replica>(
    connection: &mut Connection,
    after: i64,
    limit: usize,
) -> Result<Vec<K::Row>, DbError> {
    let mut rows = Vec::new();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    K::schema().rows_since.run(connection, &[after.into(), limit.into()], |row, id| {
        rows.push(K::read_row(row, id));
        true
    })?;
    Ok(rows)
}

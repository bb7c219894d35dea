//! In what account and container databases differ.

use apus_cluster::Timestamp;
use apus_cluster::pickle::Value as Pickled;
use http::HeaderMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::info::Info;
use crate::audit::Tables;
use crate::error::DbError;
use crate::raw::Connection;

/// Work of a call that only one kind of database knows; what it gives is the answer's JSON.
pub type Operation =
    Box<dyn FnOnce(&mut Connection) -> Result<Option<Value>, DbError> + Send + 'static>;

/// A kind of database.
pub trait Kind: std::fmt::Debug + Send + Sync + 'static {
    /// The daemon that replicates it.
    const DAEMON: &'static str;
    /// The directory below a device.
    const DIRECTORY: &'static str;
    /// Statements with this kind's tables.
    const STATEMENTS: Statements;
    /// What an audit has to know of it.
    const TABLES: &'static Tables;

    /// A row with its `ROWID`, spelled as Swift sends it.
    type Row: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The `ROWID` of a row that was read from a database.
    fn row_id(row: &Self::Row) -> Option<i64>;

    /// What a replica says of itself.
    ///
    /// # Errors
    /// SQLite's; [`DbError::Corrupt`].
    fn info(connection: &mut Connection) -> Result<Info, DbError>;

    /// Rows after a `ROWID`, in order.
    ///
    /// # Errors
    /// SQLite's.
    fn rows_since(
        connection: &mut Connection,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Self::Row>, DbError>;

    /// Merges a row of another replica.
    ///
    /// # Errors
    /// SQLite's; [`DbError::Corrupt`] for a row that is none.
    fn merge_row(connection: &mut Connection, row: Self::Row) -> Result<(), DbError>;

    /// Whether a row is a deletion from before `then` of something that is not there. Such a row
    /// tells nothing, and is not merged: replicas would drop it as old and get it anew from each
    /// other for ever.
    ///
    /// # Errors
    /// SQLite's.
    fn is_old_deletion(
        connection: &mut Connection,
        row: &Self::Row,
        then: Timestamp,
    ) -> Result<bool, DbError>;

    /// Merges the records of a `.pending` file.
    ///
    /// # Errors
    /// SQLite's.
    fn merge_pending(connection: &mut Connection, records: Vec<Pickled>) -> Result<(), DbError>;

    /// Whether the database counts as deleted.
    ///
    /// # Errors
    /// SQLite's.
    fn is_deleted(connection: &mut Connection) -> Result<bool, DbError>;

    /// Whether nothing but its age keeps a deleted database: it is empty, and whoever has to know
    /// of it was told.
    ///
    /// # Errors
    /// SQLite's.
    fn is_spent(connection: &mut Connection) -> Result<bool, DbError>;

    /// A copy begins a life of its own under a new id.
    ///
    /// # Errors
    /// SQLite's.
    fn renewed(connection: &mut Connection) -> Result<(), DbError>;

    /// Takes over what only the replaced database knows, besides rows, sync points, metadata and
    /// timestamps.
    ///
    /// # Errors
    /// SQLite's.
    fn inherit(connection: &mut Connection, old: &mut Connection) -> Result<(), DbError>;

    /// Takes over from a replica's word what is not decided by timestamps alone. Tells whether
    /// there was anything.
    ///
    /// # Errors
    /// SQLite's.
    fn reconcile(
        connection: &mut Connection,
        remote: &Info,
        now: Timestamp,
    ) -> Result<bool, DbError>;

    /// What [`Kind::reconcile`] would change.
    fn disagrees(local: &Info, remote: &Info) -> bool;

    /// A call of this kind's own; `None` when there is none of that name.
    ///
    /// # Errors
    /// [`DbError::Invalid`].
    fn operation(name: &str, arguments: &[Value]) -> Result<Option<Operation>, DbError>;

    /// Calls that a replica is sent before rows, and whether rows have to wait.
    ///
    /// # Errors
    /// SQLite's.
    fn before_rows(connection: &mut Connection) -> Result<BeforeRows, DbError>;

    /// Headers of the `PUT` that makes this database on a server that takes no whole ones.
    fn put_headers(info: &Info) -> HeaderMap;
}

/// What goes to a replica before rows.
#[derive(Debug, Clone, Default)]
pub struct BeforeRows {
    /// The only argument of `merge_shard_ranges`, when there is something to tell.
    pub shard_ranges: Option<Value>,
    /// Rows go to shards and not to replicas.
    pub rows_wait: bool,
}

/// Statements that differ in the names of tables only; see [`crate::statements!`].
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "each is named after what it does")]
pub struct Statements {
    pub id: &'static str,
    pub set_id: &'static str,
    pub metadata: &'static str,
    pub set_metadata: &'static str,
    pub put: &'static str,
    pub delete: &'static str,
    pub merge_timestamps: &'static str,
    pub status_changed: &'static str,
    pub last_row: &'static str,
    pub max_row: &'static str,
    pub old_tombstone: &'static str,
    pub oldest_tombstone: &'static str,
    pub tombstone_at: &'static str,
    pub reclaim_until: &'static str,
    pub reclaim_rest: &'static str,
}

/// [`Statements`](crate::replication::Statements) of a kind: the table with one row about the
/// database, the table of rows, and the column by which deleted rows grow old.
#[macro_export]
macro_rules! statements {
    ($stat:literal, $table:literal, $age:literal) => {
        $crate::replication::Statements {
            id: concat!("SELECT id FROM ", $stat),
            set_id: concat!("UPDATE ", $stat, " SET id = ?"),
            metadata: concat!("SELECT metadata FROM ", $stat),
            set_metadata: concat!("UPDATE ", $stat, " SET metadata = ?"),
            put: concat!("UPDATE ", $stat, " SET put_timestamp = ?1 WHERE put_timestamp < ?1"),
            delete: concat!(
                "UPDATE ",
                $stat,
                " SET delete_timestamp = ?1, status = 'DELETED', status_changed_at = ?1
                     WHERE delete_timestamp < ?1"
            ),
            merge_timestamps: concat!(
                "UPDATE ",
                $stat,
                " SET created_at = MIN(?, created_at), put_timestamp = MAX(?, put_timestamp),
                     delete_timestamp = MAX(?, delete_timestamp)"
            ),
            status_changed: concat!(
                "UPDATE ",
                $stat,
                " SET status_changed_at = ?1 WHERE status_changed_at < ?1"
            ),
            last_row: concat!("SELECT ROWID FROM ", $table, " ORDER BY ROWID DESC LIMIT 1"),
            max_row: concat!("SELECT seq FROM sqlite_sequence WHERE name = '", $table, "'"),
            old_tombstone: concat!(
                "SELECT 1 FROM ",
                $table,
                " WHERE deleted = 1 AND ",
                $age,
                " < ? LIMIT 1"
            ),
            oldest_tombstone: concat!("SELECT MIN(", $age, ") FROM ", $table, " WHERE deleted = 1"),
            tombstone_at: concat!(
                "SELECT name FROM ",
                $table,
                " WHERE deleted = 1 AND name >= ? ORDER BY name LIMIT 1 OFFSET ?"
            ),
            reclaim_until: concat!(
                "DELETE FROM ",
                $table,
                " WHERE deleted = 1 AND name >= ? AND ",
                $age,
                " < ? AND name < ?"
            ),
            reclaim_rest: concat!(
                "DELETE FROM ",
                $table,
                " WHERE deleted = 1 AND name >= ? AND ",
                $age,
                " < ?"
            ),
        }
    };
}

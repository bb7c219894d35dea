//! The differences between account and container databases.

use apus_cluster::Timestamp;
use apus_cluster::name::NameError;
use apus_cluster::pickle::Value as Pickled;

use crate::error::DbError;
use crate::raw::Connection;
use crate::replication::ReplicaInfo;
use crate::schema::Schema;

/// A kind of database.
pub trait DatabaseKind: std::fmt::Debug + Send + Sync + 'static {
    /// The names that a database is found by.
    type Path: std::fmt::Debug + Clone + Send + Sync;

    /// Its tables and statements.
    fn schema() -> &'static Schema;

    /// Parses the names of a database.
    ///
    /// # Errors
    /// See [`NameError`].
    fn path(names: &[String]) -> Result<Self::Path, NameError>;

    /// What a replica reports of itself; checked against its digest.
    ///
    /// # Errors
    /// SQLite's; [`DbError::Corrupt`].
    fn info(connection: &mut Connection) -> Result<ReplicaInfo, DbError>;

    /// Whether the database counts as deleted.
    ///
    /// # Errors
    /// SQLite's.
    fn is_deleted(connection: &mut Connection) -> Result<bool, DbError>;

    /// Merges the records of a `.pending` file.
    ///
    /// # Errors
    /// SQLite's.
    fn merge_pending(connection: &mut Connection, records: Vec<Pickled>) -> Result<(), DbError>;

    /// The part of a row in the totals of its database; `None` for columns that are not a row.
    fn tally(columns: &[String]) -> Option<Tally>;

    /// Fills a new database as `info`, the row about a damaged one that matches its digest, says.
    ///
    /// # Errors
    /// SQLite's; [`DbError::Corrupt`].
    fn rebuild(connection: &mut Connection, info: &[String]) -> Result<(), DbError>;

    /// Merges the columns of a row that matches its digest.
    ///
    /// # Errors
    /// SQLite's; [`DbError::Corrupt`].
    fn restore(connection: &mut Connection, columns: &[String]) -> Result<(), DbError>;
}

/// The part of one row in the totals of its database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Its policy.
    pub policy: i64,
    /// Containers or objects, objects of a container, bytes.
    pub counts: [i64; 3],
    /// The second argument of `chexor`, after the name.
    pub version: String,
}

/// What a database is made with.
#[derive(Debug, Clone)]
pub struct NewDatabase<P> {
    /// Its names.
    pub path: P,
    /// Its id.
    pub id: String,
    /// When it is made.
    pub created: Timestamp,
    /// The time of the request that makes it.
    pub put: Timestamp,
}

impl<P> NewDatabase<P> {
    /// A database in the place of a damaged one: under another id, so that replicas send it
    /// everything. `id` is the old one, which ends in the name of the device.
    ///
    /// # Errors
    /// [`DbError::Corrupt`].
    pub fn replacing(
        path: Result<P, NameError>,
        id: &str,
        created: &str,
        put: &str,
    ) -> Result<Self, DbError> {
        let time = |text: &str| {
            Timestamp::parse(text).ok_or_else(|| DbError::Corrupt(format!("time {text:?}")))
        };
        Ok(Self {
            path: path.map_err(|error| DbError::Corrupt(error.to_string()))?,
            id: crate::stat::new_id(id.get(37..).unwrap_or_default()),
            created: time(created)?,
            put: time(put)?,
        })
    }
}

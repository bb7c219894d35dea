//! The differences between account and container databases.

use apus_cluster::name::NameError;
use apus_cluster::pickle::Value as Pickled;
use apus_cluster::{AccountName, ContainerPath, Timestamp};
use apus_wire::message::account::AccountAddress;
use apus_wire::message::container::ContainerAddress;
use apus_wire::message::database::ReplicaInfo;
use apus_wire::message::{InvalidRequest, Received};
use http::request::Parts;

use crate::error::DbError;
use crate::raw::Connection;
use crate::schema::Schema;

/// A kind of database.
pub trait DatabaseKind: std::fmt::Debug + Send + Sync + 'static {
    /// The database that a request is about.
    type Address: DatabaseAddress;

    /// Its tables and statements.
    fn schema() -> &'static Schema;

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

/// The database that a request is about.
pub trait DatabaseAddress: std::fmt::Debug + Sized + Send + Sync + 'static {
    /// Its names.
    type Path: std::fmt::Debug + Clone + Send + Sync;

    /// Reads it from a request, with the name of a row, if the path has one.
    ///
    /// # Errors
    /// When the path does not name a database.
    fn decode(head: &Parts) -> Result<(Received<Self>, Option<String>), InvalidRequest>;

    /// Its names.
    fn path(&self) -> &Self::Path;

    /// Its names as they are hashed.
    fn names(&self) -> Vec<&str>;

    /// Its partition.
    fn partition(&self) -> u32;
}

impl DatabaseAddress for AccountAddress {
    type Path = AccountName;

    fn decode(head: &Parts) -> Result<(Received<Self>, Option<String>), InvalidRequest> {
        Self::decode(head)
    }

    fn path(&self) -> &AccountName {
        &self.account
    }

    fn names(&self) -> Vec<&str> {
        vec![self.account.as_str()]
    }

    fn partition(&self) -> u32 {
        self.partition
    }
}

impl DatabaseAddress for ContainerAddress {
    type Path = ContainerPath;

    fn decode(head: &Parts) -> Result<(Received<Self>, Option<String>), InvalidRequest> {
        Self::decode(head)
    }

    fn path(&self) -> &ContainerPath {
        &self.container
    }

    fn names(&self) -> Vec<&str> {
        vec![self.container.account.as_str(), self.container.container.as_str()]
    }

    fn partition(&self) -> u32 {
        self.partition
    }
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

//! Columns of a kind of database, and the statements that are generated from them.
//!
//! Each kind lists its columns once ([`Tables`]). The auditor, the digests, listings, replication
//! and salvage read rows by statements made of that list, so none of them can miss a column.

use crate::digest;
use crate::error::DbError;
use crate::raw::{Connection, Param, Row};

/// A column that a digest covers.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub(crate) name: &'static str,
    pub(crate) is_number: bool,
    pub(crate) is_initial: bool,
}

impl Column {
    /// A column of text.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self { name, is_number: false, is_initial: false }
    }

    /// A column of integers.
    #[must_use]
    pub const fn number(name: &'static str) -> Self {
        Self { name, is_number: true, is_initial: false }
    }

    /// Marks a column that a new database has from the beginning.
    #[must_use]
    pub const fn initial(self) -> Self {
        Self { is_initial: true, ..self }
    }

    /// A value of this column as SQLite stores it.
    fn param(self, text: &str) -> Result<Param<'_>, DbError> {
        if !self.is_number {
            return Ok(text.into());
        }
        let number = text.parse::<i64>();
        number.map(Param::Int).map_err(|_| DbError::Corrupt(format!("{}: {text:?}", self.name)))
    }
}

/// The tables of one kind of database.
#[derive(Debug, Clone, Copy)]
pub struct Tables {
    /// The server: `account` or `container`.
    pub server: &'static str,
    /// The table with one row about the database.
    pub info_table: &'static str,
    /// Its columns that do not follow from the rows and do not repair themselves, names first.
    pub info: &'static [Column],
    /// How many of them are names.
    pub names: usize,
    /// The table of rows.
    pub row_table: &'static str,
    /// The columns of a row in the order of its digest; the first is the name.
    pub row: &'static [Column],
    /// The column with the time from which a deleted row ages.
    pub age: &'static str,
    /// Selects policy and three counts of each policy.
    pub policies: &'static str,
    /// Selects the hash and three counts of the whole; a count that is not stored is -1.
    pub totals: &'static str,
}

/// The tables of one kind of database, and all statements made of their columns.
///
/// Statements for rows select the columns of a row, then `ROWID`, and the id and the digest in the
/// table of digests.
#[derive(Debug)]
pub struct Schema {
    pub(crate) tables: Tables,
    /// The directory below a device.
    pub directory: &'static str,
    /// Name of the auditor.
    pub auditor: &'static str,
    /// Name of the replicator.
    pub replicator: &'static str,
    /// Creates the table of digests and its triggers.
    pub(crate) digests: &'static str,
    /// Selects all rows by `ROWID`, read from the table.
    pub(crate) rows: &'static str,
    /// The same in a database without digests.
    pub(crate) rows_alone: &'static str,
    /// Selects at most a thousand rows after a `ROWID` that have no digest.
    pub(crate) without_digest: &'static str,
    /// Selects one row by `ROWID`.
    pub(crate) row: &'static str,
    /// Selects rows after a `ROWID`, with a limit.
    pub(crate) rows_since: RowQuery,
    insert: &'static str,
    /// Selects the row about the database.
    pub(crate) info: &'static str,
    restore_info: &'static str,
    pub(crate) metadata_at: usize,
    pub(crate) id: &'static str,
    pub(crate) set_id: &'static str,
    pub(crate) metadata: &'static str,
    pub(crate) set_metadata: &'static str,
    pub(crate) put: &'static str,
    pub(crate) delete: &'static str,
    pub(crate) merge_timestamps: &'static str,
    pub(crate) status_changed: &'static str,
    pub(crate) last_row: &'static str,
    pub(crate) max_row: &'static str,
    pub(crate) old_tombstone: &'static str,
    pub(crate) oldest_tombstone: &'static str,
    pub(crate) tombstone_at: &'static str,
    pub(crate) reclaim_until: &'static str,
    pub(crate) reclaim_rest: &'static str,
}

/// Statements are cached by connections for as long as the process lives.
fn kept(sql: String) -> &'static str {
    sql.leak()
}

fn list(columns: &[Column], each: impl Fn(&Column) -> String) -> String {
    columns.iter().map(each).collect::<Vec<_>>().join(", ")
}

fn names(columns: &[Column]) -> String {
    list(columns, |column| column.name.to_owned())
}

/// The table of digests and its triggers, which use nothing that Swift's connections lack.
fn digests(tables: &Tables) -> String {
    let Tables { row_table, info_table, .. } = tables;
    let covered = names(tables.info);
    format!(
        "
CREATE TABLE IF NOT EXISTS apus_row_digest (row_id INTEGER PRIMARY KEY, digest INTEGER);
CREATE TRIGGER IF NOT EXISTS apus_row_digest_delete AFTER DELETE ON {row_table}
BEGIN
    DELETE FROM apus_row_digest WHERE row_id = old.ROWID;
END;
CREATE TRIGGER IF NOT EXISTS apus_info_digest_delete
AFTER UPDATE OF {covered} ON {info_table}
BEGIN
    DELETE FROM apus_row_digest WHERE row_id = 0;
END;
"
    )
}

impl Schema {
    /// Generates the statements of a kind.
    ///
    /// Blocks of a few hundred bytes are leaked: to be called once for each kind, in a static.
    #[must_use]
    pub fn new(tables: Tables) -> Self {
        let Tables { server, info_table, row_table, age, .. } = tables;
        let columns = list(tables.row, |column| format!("r.{}", column.name));
        let table = format!("FROM {row_table} AS r NOT INDEXED");
        let with_digests = format!(
            "SELECT {columns}, r.ROWID, d.row_id, d.digest {table}
             LEFT JOIN apus_row_digest AS d ON d.row_id = r.ROWID"
        );
        let values = list(tables.row, |_| "?".to_owned());
        let later: Vec<Column> =
            tables.info.iter().filter(|column| !column.is_initial).copied().collect();
        let restored = list(&later, |column| format!("{} = ?", column.name));
        let metadata_at = tables.info.iter().position(|column| column.name == "metadata");
        let deleted = format!("{row_table} WHERE deleted = 1");
        Self {
            directory: kept(format!("{server}s")),
            auditor: kept(format!("{server}-auditor")),
            replicator: kept(format!("{server}-replicator")),
            digests: kept(digests(&tables)),
            rows: kept(format!("{with_digests} ORDER BY r.ROWID")),
            rows_alone: kept(format!(
                "SELECT {columns}, r.ROWID, NULL, NULL {table} ORDER BY r.ROWID"
            )),
            without_digest: kept(format!(
                "{with_digests} WHERE r.ROWID > ? AND d.row_id IS NULL ORDER BY r.ROWID LIMIT 1000"
            )),
            row: kept(format!("{with_digests} WHERE r.ROWID = ?")),
            rows_since: RowQuery::new(&tables, "WHERE r.ROWID > ? ORDER BY r.ROWID LIMIT ?"),
            insert: kept(format!(
                "INSERT INTO {row_table} ({}) VALUES ({values})",
                names(tables.row)
            )),
            info: kept(format!("SELECT {} FROM {info_table}", names(tables.info))),
            restore_info: kept(format!("UPDATE {info_table} SET {restored}")),
            metadata_at: metadata_at.unwrap_or(usize::MAX),
            id: kept(format!("SELECT id FROM {info_table}")),
            set_id: kept(format!("UPDATE {info_table} SET id = ?")),
            metadata: kept(format!("SELECT metadata FROM {info_table}")),
            set_metadata: kept(format!("UPDATE {info_table} SET metadata = ?")),
            put: kept(format!(
                "UPDATE {info_table} SET put_timestamp = ?1 WHERE put_timestamp < ?1"
            )),
            delete: kept(format!(
                "UPDATE {info_table} SET delete_timestamp = ?1, status = 'DELETED',
                     status_changed_at = ?1 WHERE delete_timestamp < ?1"
            )),
            merge_timestamps: kept(format!(
                "UPDATE {info_table} SET created_at = MIN(?, created_at),
                     put_timestamp = MAX(?, put_timestamp),
                     delete_timestamp = MAX(?, delete_timestamp)"
            )),
            status_changed: kept(format!(
                "UPDATE {info_table} SET status_changed_at = ?1 WHERE status_changed_at < ?1"
            )),
            last_row: kept(format!("SELECT ROWID FROM {row_table} ORDER BY ROWID DESC LIMIT 1")),
            max_row: kept(format!("SELECT seq FROM sqlite_sequence WHERE name = '{row_table}'")),
            old_tombstone: kept(format!("SELECT 1 FROM {deleted} AND {age} < ? LIMIT 1")),
            oldest_tombstone: kept(format!("SELECT MIN({age}) FROM {deleted}")),
            tombstone_at: kept(format!(
                "SELECT name FROM {deleted} AND name >= ? ORDER BY name LIMIT 1 OFFSET ?"
            )),
            reclaim_until: kept(format!(
                "DELETE FROM {deleted} AND name >= ? AND {age} < ? AND name < ?"
            )),
            reclaim_rest: kept(format!("DELETE FROM {deleted} AND name >= ? AND {age} < ?")),
            tables,
        }
    }

    /// A statement that selects rows; in `rest` the table of rows is `r`.
    #[must_use]
    pub fn select(&self, rest: &str) -> RowQuery {
        RowQuery::new(&self.tables, rest)
    }

    /// The number of columns of a row.
    pub(crate) fn columns(&self) -> i32 {
        count(self.tables.row)
    }

    /// Inserts a row, with its digest.
    ///
    /// # Errors
    /// SQLite's.
    pub fn insert_row(&self, connection: &mut Connection, row: &[&str]) -> Result<(), DbError> {
        // The columns of numbers store these as such, by their affinity.
        let params: Vec<Param<'_>> = row.iter().copied().map(Param::from).collect();
        connection.run(self.insert, &params)?;
        digest::inserted(connection, row)
    }

    /// Sets the columns of the row about a new database that it does not have from the beginning;
    /// `info` are all that a digest covers.
    ///
    /// # Errors
    /// SQLite's; [`DbError::Corrupt`].
    pub fn restore_info(
        &self,
        connection: &mut Connection,
        info: &[String],
    ) -> Result<(), DbError> {
        let columns = self.tables.info.iter().zip(info).filter(|(column, _)| !column.is_initial);
        let params: Vec<Param<'_>> =
            columns.map(|(column, text)| column.param(text)).collect::<Result<_, _>>()?;
        digest::change_info(connection, self, |connection| {
            connection.run(self.restore_info, &params)
        })
    }
}

fn count(columns: &[Column]) -> i32 {
    i32::try_from(columns.len()).unwrap_or(i32::MAX)
}

/// A statement that selects rows, without and with their digests.
#[derive(Debug)]
pub struct RowQuery {
    alone: &'static str,
    with_digests: &'static str,
    columns: i32,
}

impl RowQuery {
    fn new(tables: &Tables, rest: &str) -> Self {
        let columns = list(tables.row, |column| format!("r.{}", column.name));
        let table = tables.row_table;
        Self {
            alone: kept(format!("SELECT {columns}, r.ROWID, NULL, NULL FROM {table} AS r {rest}")),
            with_digests: kept(format!(
                "SELECT {columns}, r.ROWID, d.row_id, d.digest FROM {table} AS r
                 LEFT JOIN apus_row_digest AS d ON d.row_id = r.ROWID {rest}"
            )),
            columns: count(tables.row),
        }
    }

    /// Runs it; `each` gets the columns of a row and its `ROWID`, and returns whether to go on.
    ///
    /// # Errors
    /// SQLite's; [`DbError::Corrupt`] for a row that does not match its digest: it must not be
    /// returned to a client or a replica, nor be overwritten.
    pub fn run(
        &self,
        connection: &mut Connection,
        params: &[Param<'_>],
        mut each: impl FnMut(&Row<'_>, i64) -> bool,
    ) -> Result<(), DbError> {
        let sql = if digest::is_kept(connection)? { self.with_digests } else { self.alone };
        let mut damaged = None;
        connection.query(sql, params, |row| {
            let id = row.int(self.columns);
            if !digest::row_matches(row, self.columns) {
                damaged = Some(id);
                return false;
            }
            each(row, id)
        })?;
        match damaged {
            Some(id) => Err(digest::mismatch(id)),
            None => Ok(()),
        }
    }
}

/// Tables that both kinds of database have. Source: `swift/common/db.py`, `initialize`.
pub const SYNC_TABLES: &str = "
CREATE TABLE outgoing_sync (
    remote_id TEXT UNIQUE,
    sync_point INTEGER,
    updated_at TEXT DEFAULT 0
);
CREATE TABLE incoming_sync (
    remote_id TEXT UNIQUE,
    sync_point INTEGER,
    updated_at TEXT DEFAULT 0
);
CREATE TRIGGER outgoing_sync_insert AFTER INSERT ON outgoing_sync
BEGIN
    UPDATE outgoing_sync SET updated_at = STRFTIME('%s', 'NOW') WHERE ROWID = new.ROWID;
END;
CREATE TRIGGER outgoing_sync_update AFTER UPDATE ON outgoing_sync
BEGIN
    UPDATE outgoing_sync SET updated_at = STRFTIME('%s', 'NOW') WHERE ROWID = new.ROWID;
END;
CREATE TRIGGER incoming_sync_insert AFTER INSERT ON incoming_sync
BEGIN
    UPDATE incoming_sync SET updated_at = STRFTIME('%s', 'NOW') WHERE ROWID = new.ROWID;
END;
CREATE TRIGGER incoming_sync_update AFTER UPDATE ON incoming_sync
BEGIN
    UPDATE incoming_sync SET updated_at = STRFTIME('%s', 'NOW') WHERE ROWID = new.ROWID;
END;
";

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: Tables = Tables {
        server: "box",
        info_table: "info",
        info: &[Column::text("name").initial(), Column::text("metadata"), Column::number("point")],
        names: 1,
        row_table: "item",
        row: &[Column::text("name"), Column::number("size")],
        age: "created_at",
        policies: "",
        totals: "",
    };

    #[test]
    fn every_statement_has_every_column() {
        let schema = Schema::new(TABLES);
        let query = schema.select("WHERE r.name = ?");
        for sql in [
            schema.rows,
            schema.rows_alone,
            schema.without_digest,
            schema.row,
            schema.rows_since.alone,
            schema.rows_since.with_digests,
            query.alone,
            query.with_digests,
        ] {
            assert!(sql.starts_with("SELECT r.name, r.size, r.ROWID, "), "{sql}");
        }
        assert_eq!(schema.insert, "INSERT INTO item (name, size) VALUES (?, ?)");
        assert_eq!(schema.info, "SELECT name, metadata, point FROM info");
        assert_eq!(schema.restore_info, "UPDATE info SET metadata = ?, point = ?");
        assert!(schema.digests.contains("AFTER UPDATE OF name, metadata, point ON info"));
        assert_eq!((schema.metadata_at, schema.columns(), schema.directory), (1, 2, "boxs"));
    }

    #[test]
    fn numbers_are_stored_as_numbers() {
        assert!(matches!(Column::number("n").param("-1"), Ok(Param::Int(-1))));
        assert!(matches!(Column::text("t").param("-1"), Ok(Param::Text(b"-1"))));
        assert!(Column::number("n").param("x").is_err());
    }
}

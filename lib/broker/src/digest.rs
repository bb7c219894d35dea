//! Digests of rows, since SQLite itself does not notice a flipped bit in a row.
//!
//! Digests are in a table of their own, under the row's id; Swift ignores it. Our writers add them
//! in the transaction of the row. Swift's rows have none until the auditor has seen the database. A
//! trigger of built-in functions deletes the digest with its row, and that of the row about the
//! database when one of its columns is set, so that Swift may write what it wants.
//!
//! Servers return a row that does not match to no client and no replica: the database is
//! quarantined.
//!
//! Id 0 is the row about the database, without the columns that follow from the other rows or that
//! repair themselves. Ids below are schemas, by `PRAGMA schema_version`.

use crate::error::DbError;
use crate::raw::{Connection, Row};
use crate::schema::Schema;

/// The table of digests.
pub const TABLE: &str = "apus_row_digest";
/// The id of the row about the database.
const INFO: i64 = 0;

/// The digest of a row: eight bytes of the MD5 over its id and its columns as text.
#[must_use]
pub fn of(id: i64, columns: &[&str]) -> i64 {
    let mut context = md5::Context::new();
    context.consume(id.to_le_bytes());
    for column in columns {
        context.consume((column.len() as u64).to_le_bytes());
        context.consume(column.as_bytes());
    }
    let [a, b, c, d, e, f, g, h, ..] = context.finalize().0;
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Whether this database has digests.
///
/// # Errors
/// SQLite's.
pub fn is_kept(connection: &mut Connection) -> Result<bool, DbError> {
    connection.has_table(TABLE)
}

/// Whether the schema names the table although it [does not exist](is_kept): its line is damaged.
pub(crate) fn is_hidden(connection: &mut Connection) -> Result<bool, DbError> {
    let mut found = false;
    let sql = "SELECT 1 FROM sqlite_master WHERE ? IN (name, tbl_name)";
    connection.query(sql, &[TABLE.into()], |_| {
        found = true;
        false
    })?;
    Ok(found)
}

fn put(connection: &mut Connection, id: i64, digest: i64) -> Result<(), DbError> {
    connection.run(
        "INSERT OR REPLACE INTO apus_row_digest (row_id, digest) VALUES (?, ?)",
        &[id.into(), digest.into()],
    )
}

/// Adds the digest of a row whose columns are these, in the order of [`Tables::row`](crate::schema::Tables).
///
/// # Errors
/// SQLite's.
pub fn add(connection: &mut Connection, id: i64, columns: &[&str]) -> Result<(), DbError> {
    put(connection, id, of(id, columns))
}

/// Adds the digest of the row that has just been inserted, if this database has digests.
///
/// # Errors
/// SQLite's.
pub fn inserted(connection: &mut Connection, columns: &[&str]) -> Result<(), DbError> {
    let id = connection.last_row_id();
    if is_kept(connection)? { add(connection, id, columns) } else { Ok(()) }
}

/// Begins to keep digests of a database that has just been filled, and has no rows yet.
///
/// # Errors
/// SQLite's.
pub fn keep(connection: &mut Connection, schema: &Schema) -> Result<(), DbError> {
    connection.script(schema.digests)?;
    seal(connection, schema)?;
    seal_schema(connection)
}

/// Changes columns of the row about the database and renews its digest. A row that does not match
/// before is not changed: its new digest would make it look good.
///
/// # Errors
/// SQLite's; [`DbError::Corrupt`]; what the change gives.
pub fn change_info<T>(
    connection: &mut Connection,
    schema: &Schema,
    change: impl FnOnce(&mut Connection) -> Result<T, DbError>,
) -> Result<T, DbError> {
    check_info(connection, schema)?;
    let changed = change(connection)?;
    seal(connection, schema)?;
    Ok(changed)
}

/// Renews the digest of the row about the database, which was found good or has just been written.
///
/// # Errors
/// SQLite's.
pub(crate) fn seal(connection: &mut Connection, schema: &Schema) -> Result<(), DbError> {
    if !is_kept(connection)? {
        return Ok(());
    }
    let columns = info(connection, schema)?;
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    add(connection, INFO, &columns)
}

/// The columns of the row about the database that its digest covers.
pub(crate) fn info(connection: &mut Connection, schema: &Schema) -> Result<Vec<String>, DbError> {
    let count = i32::try_from(schema.tables.info.len()).unwrap_or(i32::MAX);
    let mut rows = 0;
    let mut columns = Vec::new();
    connection.query(schema.info, &[], |row| {
        rows += 1;
        columns = (0..count).map(|column| row.text(column)).collect();
        true
    })?;
    if rows == 1 {
        return Ok(columns);
    }
    Err(DbError::Corrupt(format!("{rows} rows about the database")))
}

/// The digest of an id; `None` when it has none.
fn stored(connection: &mut Connection, id: i64) -> Result<Option<i64>, DbError> {
    let mut found = None;
    connection.query(
        "SELECT digest FROM apus_row_digest WHERE row_id = ?",
        &[id.into()],
        |row| {
            found = Some(row.int(0));
            false
        },
    )?;
    Ok(found)
}

/// Whether the row about the database is what was written; `None` without a digest.
pub(crate) fn info_matches(
    connection: &mut Connection,
    columns: &[String],
) -> Result<Option<bool>, DbError> {
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    Ok(stored(connection, INFO)?.map(|digest| digest == of(INFO, &columns)))
}

/// Whether a row matches its digest; one without a digest does. Before column `at` are the columns
/// that the digest covers, in their order; from there on `ROWID`, the id in the table of digests,
/// and the digest.
#[must_use]
pub fn row_matches(row: &Row<'_>, at: i32) -> bool {
    // NULL is empty.
    if row.text(at + 1).is_empty() {
        return true;
    }
    let columns: Vec<String> = (0..at).map(|column| row.text(column)).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    row.int(at + 2) == of(row.int(at), &columns)
}

/// The error of a row that does not match its digest.
#[must_use]
pub fn mismatch(row_id: i64) -> DbError {
    DbError::Corrupt(format!("row {row_id} does not match its digest"))
}

/// Checks that the row about the database, with its metadata, matches its digest, if it has one.
///
/// # Errors
/// SQLite's; [`DbError::Corrupt`].
pub fn check_info(connection: &mut Connection, schema: &Schema) -> Result<(), DbError> {
    if is_kept(connection)? {
        let columns = info(connection, schema)?;
        if info_matches(connection, &columns)? == Some(false) {
            return Err(DbError::Corrupt(
                "the row about the database does not match its digest".to_owned(),
            ));
        }
    }
    Ok(())
}

/// Id and digest of the schema as it is.
fn schema(connection: &mut Connection) -> Result<(i64, i64), DbError> {
    let mut version = 0;
    connection.query("PRAGMA schema_version", &[], |row| {
        version = row.int(0);
        false
    })?;
    let id = -1 - version;
    let mut parts = Vec::new();
    connection.query(
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2",
        &[],
        |row| {
            parts.extend((0..4).map(|column| row.text(column)));
            true
        },
    )?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok((id, of(id, &parts)))
}

/// Whether the schema is what was written; `None` without a digest.
pub(crate) fn schema_matches(connection: &mut Connection) -> Result<Option<bool>, DbError> {
    let (id, digest) = schema(connection)?;
    Ok(stored(connection, id)?.map(|stored| stored == digest))
}

/// Checks that the schema matches its digest, if it has one.
///
/// # Errors
/// SQLite's; [`DbError::Corrupt`].
pub(crate) fn check_schema(connection: &mut Connection) -> Result<(), DbError> {
    if is_kept(connection)? && schema_matches(connection)? == Some(false) {
        return Err(DbError::Corrupt("the schema does not match its digest".to_owned()));
    }
    Ok(())
}

/// Adds the digest of the schema as it is, if this database has digests.
///
/// # Errors
/// SQLite's.
pub(crate) fn seal_schema(connection: &mut Connection) -> Result<(), DbError> {
    if !is_kept(connection)? {
        return Ok(());
    }
    let (id, digest) = schema(connection)?;
    put(connection, id, digest)
}

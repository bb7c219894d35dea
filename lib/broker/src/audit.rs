//! Checks whether a database is what was written to it.
//!
//! The checks: SQLite's own, which also compares every index with its table; the digests; and
//! everything that follows from the rows, which are counts, bytes and the hash. They read on a
//! connection of their own and change nothing.

use std::collections::BTreeMap;
use std::path::Path;

use apus_cluster::HashConf;

use crate::digest;
use crate::error::DbError;
use crate::kind::DatabaseKind;
use crate::open;
use crate::raw::{Connection, Row};
use crate::schema::Schema;
use crate::wal;

/// Result of an audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong; digests may be missing.
    Good {
        /// Whether every row, the row about the database and the schema have digests.
        is_covered: bool,
    },
    /// What is wrong.
    Damaged(String),
}

/// Opens a database to read it; it stays in its journal mode. Blocks.
pub(crate) fn open_to_read(path: &Path) -> Result<Connection, DbError> {
    let mut connection = Connection::open(path)?;
    connection.script("PRAGMA query_only = ON")?;
    Ok(connection)
}

/// Audits a file; `locked` says whether the caller holds the lock of its directory. Blocks.
///
/// # Errors
/// Errors that say nothing about the file.
pub(crate) fn audit<K: DatabaseKind>(
    path: &Path,
    hash: &HashConf,
    locked: bool,
) -> Result<Verdict, DbError> {
    let opened = {
        // Files are opened under the lock of their directory.
        let _lock = if locked { None } else { open::lock(path)? };
        if !path.exists() {
            return Err(DbError::Missing);
        }
        // Before SQLite reads it, which takes a damaged frame for the end.
        if let Some(reason) = wal::check(path)?.damage() {
            return Ok(Verdict::Damaged(reason));
        }
        open_to_read(path)
    };
    let checked = opened.and_then(|mut connection| {
        let verdict = check::<K>(&mut connection, path, hash);
        // A damaged database may also fail to close.
        let _ = connection.close();
        verdict
    });
    checked.or_else(|error| match error.is_damage() {
        true => Ok(Verdict::Damaged(error.to_string())),
        false => Err(error),
    })
}

fn check<K: DatabaseKind>(
    connection: &mut Connection,
    path: &Path,
    hash: &HashConf,
) -> Result<Verdict, DbError> {
    let schema = K::schema();
    connection.run("BEGIN", &[])?;
    let mut found = String::new();
    connection.query("PRAGMA integrity_check(1)", &[], |row| {
        found = row.text(0);
        false
    })?;
    if found != "ok" {
        return Ok(Verdict::Damaged(found));
    }
    let info = digest::info(connection, schema)?;
    if let Some(reason) = misplaced(&info, path, schema, hash) {
        return Ok(Verdict::Damaged(reason));
    }
    let metadata = info.get(schema.metadata_at).map_or("", String::as_str);
    crate::metadata::decode(metadata)?;
    let has_digests = digest::is_kept(connection)?;
    if !has_digests && digest::is_hidden(connection)? {
        return Ok(Verdict::Damaged("the schema hides the table of digests".to_owned()));
    }
    let mut is_covered = has_digests;
    if has_digests {
        for (what, matches) in [
            ("the row about the database", digest::info_matches(connection, &info)?),
            ("the schema", digest::schema_matches(connection)?),
        ] {
            if matches == Some(false) {
                return Ok(Verdict::Damaged(format!("{what} does not match its digest")));
            }
            is_covered &= matches.is_some();
        }
    }
    let mut sums = RowSums::default();
    let sql = if has_digests { schema.rows } else { schema.rows_alone };
    connection.query(sql, &[], |row| {
        sums.add::<K>(&AuditedRow::read(row, schema));
        sums.wrong.is_none()
    })?;
    if let Some(reason) = sums.wrong {
        return Ok(Verdict::Damaged(reason));
    }
    if let Some(reason) = sums.contradiction(connection, schema)? {
        return Ok(Verdict::Damaged(reason));
    }
    is_covered &= sums.rows == sums.covered;
    Ok(Verdict::Good { is_covered })
}

/// What is wrong when the names of a database belong to another path.
pub(crate) fn misplaced(
    info: &[String],
    path: &Path,
    schema: &Schema,
    hash: &HashConf,
) -> Option<String> {
    let names: Vec<&str> = info.iter().take(schema.tables.names).map(String::as_str).collect();
    let own = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    // The database of a sharded container has an epoch in its name.
    let own = own.split('_').next().unwrap_or_default();
    (hash.hash(&names).to_string() != own)
        .then(|| format!("the names {names:?} belong to another path"))
}

/// A row with the state of its digest.
pub(crate) struct AuditedRow {
    pub(crate) id: i64,
    /// Whether it matches its digest; `None` without one.
    pub(crate) matches: Option<bool>,
    pub(crate) columns: Vec<String>,
}

impl AuditedRow {
    /// Reads a row of one of the statements of [`Schema`].
    pub(crate) fn read(row: &Row<'_>, schema: &Schema) -> Self {
        let count = schema.columns();
        let id = row.int(count);
        let columns: Vec<String> = (0..count).map(|column| row.text(column)).collect();
        let texts: Vec<&str> = columns.iter().map(String::as_str).collect();
        // NULL is empty.
        let has_digest = !row.text(count + 1).is_empty();
        let matches = has_digest.then(|| row.int(count + 2) == digest::of(id, &texts));
        Self { id, matches, columns }
    }
}

/// The totals of all rows.
#[derive(Default)]
struct RowSums {
    rows: u64,
    covered: u64,
    policies: BTreeMap<i64, [i64; 3]>,
    hash: u128,
    wrong: Option<String>,
}

impl RowSums {
    fn add<K: DatabaseKind>(&mut self, row: &AuditedRow) {
        self.rows += 1;
        self.covered += u64::from(row.matches.is_some());
        if row.matches == Some(false) {
            self.wrong = Some(format!("row {} does not match its digest", row.id));
            return;
        }
        let Some(tally) = K::tally(&row.columns) else {
            self.wrong = Some(format!("row {} is invalid", row.id));
            return;
        };
        let counts = self.policies.entry(tally.policy).or_default();
        for (sum, count) in counts.iter_mut().zip(tally.counts) {
            *sum = sum.wrapping_add(count);
        }
        let mut context = md5::Context::new();
        context.consume(row.columns.first().map_or("", String::as_str));
        context.consume(b"-");
        context.consume(&tally.version);
        self.hash ^= u128::from_be_bytes(context.finalize().0);
    }

    /// What the database stores about its rows and does not follow from them.
    fn contradiction(
        &self,
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<Option<String>, DbError> {
        if digest::is_kept(connection)? {
            let mut digests = 0;
            let sql = "SELECT count(*) FROM apus_row_digest WHERE row_id > 0";
            connection.query(sql, &[], |row| {
                digests = row.int(0);
                false
            })?;
            if u64::try_from(digests).ok() != Some(self.covered) {
                return Ok(Some(format!("{digests} digests, {} rows with one", self.covered)));
            }
        }
        let mut stored: BTreeMap<i64, [i64; 3]> = BTreeMap::new();
        connection.query(schema.tables.policies, &[], |row| {
            stored.insert(row.int(0), [row.int(1), row.int(2), row.int(3)]);
            true
        })?;
        for policy in stored.keys().chain(self.policies.keys()) {
            let [stored, actual] = [&stored, &self.policies].map(|of| of.get(policy).copied());
            let (stored, actual) = (stored.unwrap_or_default(), actual.unwrap_or_default());
            if stored != actual {
                return Ok(Some(format!("policy {policy}: stored {stored:?}, rows {actual:?}")));
            }
        }
        let mut all = [0i64; 3];
        for counts in self.policies.values() {
            all.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.wrapping_add(*count));
        }
        let (mut hash, mut totals) = (String::new(), [0i64; 3]);
        connection.query(schema.tables.totals, &[], |row| {
            hash = row.text(0);
            totals = [row.int(1), row.int(2), row.int(3)];
            false
        })?;
        if hash != format!("{:032x}", self.hash) {
            return Ok(Some("the hash is not that of the rows".to_owned()));
        }
        let differs =
            totals.iter().zip(all).any(|(stored, actual)| *stored != -1 && *stored != actual);
        Ok(differs.then(|| format!("totals {totals:?}, rows {all:?}")))
    }
}

/// Gives digests to at most a thousand rows that have none, of those after an id. Returns the id to
/// continue from, or `None` when all rows have one. For a database that was just found good.
///
/// # Errors
/// SQLite's.
pub fn cover(
    connection: &mut Connection,
    schema: &Schema,
    after: i64,
) -> Result<Option<i64>, DbError> {
    if !digest::is_kept(connection)? {
        connection.script(schema.digests)?;
    }
    let mut rows = Vec::new();
    connection.query(schema.without_digest, &[after.into()], |row| {
        rows.push(AuditedRow::read(row, schema));
        true
    })?;
    for row in &rows {
        let columns: Vec<&str> = row.columns.iter().map(String::as_str).collect();
        digest::add(connection, row.id, &columns)?;
    }
    if let Some(last) = rows.last() {
        return Ok(Some(last.id));
    }
    digest::seal(connection, schema)?;
    digest::seal_schema(connection)?;
    Ok(None)
}

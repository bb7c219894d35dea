//! Whether a database is what was written to it: SQLite's own check, which also holds every index
//! against its table; the digests; and everything that follows from the rows: counts, bytes and
//! the hash.
//!
//! It reads, on a connection of its own, and changes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use apus_cluster::HashConf;

use crate::digest;
use crate::error::DbError;
use crate::log;
use crate::open;
use crate::raw::{Connection, Row};

/// What of a row the totals of its database are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Its policy.
    pub policy: i64,
    /// Containers or objects, objects of a container, bytes.
    pub counts: [i64; 3],
    /// What `chexor` is given after the name.
    pub version: String,
}

/// The tables and statements of one kind of database.
///
/// Statements for rows give `ROWID`, the id in the table of digests, the digest, and then the
/// columns of a row in the order in which [`digest::of`] takes them; the first is the name.
#[derive(Debug)]
pub struct Tables {
    /// Directory below a device.
    pub kind: &'static str,
    /// The table of digests and its triggers.
    pub schema: &'static str,
    /// All rows by `ROWID`, read from the table.
    pub rows: &'static str,
    /// The same in a database without digests.
    pub rows_alone: &'static str,
    /// At most a thousand rows after a `ROWID` that have no digest.
    pub without_digest: &'static str,
    /// One row.
    pub row: &'static str,
    /// Columns of a row.
    pub columns: i32,
    /// Their names, and whether they are numbers, as replicas send them.
    pub fields: &'static [(&'static str, bool)],
    /// The row about the database, names first.
    pub info: &'static str,
    /// Its columns.
    pub info_columns: i32,
    /// How many of them are names.
    pub names: usize,
    /// Which of them holds metadata.
    pub metadata: usize,
    /// Policy and three counts of each policy.
    pub policies: &'static str,
    /// The hash and three counts of the whole, which are -1 where there are none.
    pub totals: &'static str,
    /// What a row adds; `None` for what is no row.
    pub tally: fn(&[String]) -> Option<Tally>,
    /// Fills a new database from the row about a damaged one, which was found good.
    pub rebuild: fn(&mut Connection, &[String]) -> Result<(), DbError>,
    /// Merges a row that was found good.
    pub restore: fn(&mut Connection, &[String]) -> Result<(), DbError>,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing wrong; digests may be missing.
    Good {
        /// Whether every row, the row about the database and the schema have digests.
        is_covered: bool,
    },
    /// What is wrong.
    Damaged(String),
}

/// Opens a database to look at it; it stays in whatever journal mode it is. Blocks.
pub(crate) fn open_to_read(path: &Path) -> Result<Connection, DbError> {
    let mut connection = Connection::open(path)?;
    connection.script("PRAGMA query_only = ON")?;
    Ok(connection)
}

/// Looks at a file. Blocks.
///
/// # Errors
/// What says nothing about the file.
pub(crate) fn look(
    path: &Path,
    tables: &Tables,
    hash: &HashConf,
    locked: bool,
) -> Result<Verdict, DbError> {
    let opened = {
        // Files are opened under the lock of their directory.
        let _lock = if locked { None } else { open::lock(path)? };
        if !path.exists() {
            return Err(DbError::Missing);
        }
        // Before SQLite looks, which takes a damaged frame for the end.
        if let Some(reason) = log::look(path)?.damage() {
            return Ok(Verdict::Damaged(reason));
        }
        open_to_read(path)
    };
    let checked = opened.and_then(|mut connection| {
        let verdict = check(&mut connection, path, tables, hash);
        // What is damaged may also fail to close.
        let _ = connection.close();
        verdict
    });
    checked.or_else(|error| match error.is_damage() {
        true => Ok(Verdict::Damaged(error.to_string())),
        false => Err(error),
    })
}

fn check(
    connection: &mut Connection,
    path: &Path,
    tables: &Tables,
    hash: &HashConf,
) -> Result<Verdict, DbError> {
    connection.run("BEGIN", &[])?;
    let mut found = String::new();
    connection.query("PRAGMA integrity_check(1)", &[], |row| {
        found = row.text(0);
        false
    })?;
    if found != "ok" {
        return Ok(Verdict::Damaged(found));
    }
    let info = digest::info(connection, tables)?;
    if let Some(reason) = misplaced(&info, path, tables, hash) {
        return Ok(Verdict::Damaged(reason));
    }
    let metadata = info.get(tables.metadata).map_or("", String::as_str);
    crate::metadata::decode(metadata)?;
    let kept = digest::is_kept(connection)?;
    if !kept && digest::is_hidden(connection)? {
        return Ok(Verdict::Damaged("the schema hides the table of digests".to_owned()));
    }
    let mut is_covered = kept;
    if kept {
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
    let mut sums = Sums::default();
    let sql = if kept { tables.rows } else { tables.rows_alone };
    connection.query(sql, &[], |row| {
        sums.add(&Found::read(row, tables), tables);
        sums.wrong.is_none()
    })?;
    if let Some(reason) = sums.wrong {
        return Ok(Verdict::Damaged(reason));
    }
    if let Some(reason) = sums.contradict(connection, tables)? {
        return Ok(Verdict::Damaged(reason));
    }
    is_covered &= sums.rows == sums.covered;
    Ok(Verdict::Good { is_covered })
}

/// Names that belong elsewhere.
pub(crate) fn misplaced(
    info: &[String],
    path: &Path,
    tables: &Tables,
    hash: &HashConf,
) -> Option<String> {
    let names: Vec<&str> = info.iter().take(tables.names).map(String::as_str).collect();
    let own = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    // The database of a sharded container has an epoch in its name.
    let own = own.split('_').next().unwrap_or_default();
    (hash.hash(&names).to_string() != own).then(|| format!("the names {names:?} belong elsewhere"))
}

/// A row as it was found.
pub(crate) struct Found {
    pub(crate) id: i64,
    /// Whether it matches its digest; `None` without one.
    pub(crate) matches: Option<bool>,
    pub(crate) columns: Vec<String>,
}

impl Found {
    pub(crate) fn read(row: &Row<'_>, tables: &Tables) -> Self {
        let id = row.int(0);
        let columns: Vec<String> = (3..3 + tables.columns).map(|column| row.text(column)).collect();
        let texts: Vec<&str> = columns.iter().map(String::as_str).collect();
        // NULL is empty.
        let has_digest = !row.text(1).is_empty();
        let matches = has_digest.then(|| row.int(2) == digest::of(id, &texts));
        Self { id, matches, columns }
    }
}

/// What all rows add up to.
#[derive(Default)]
struct Sums {
    rows: u64,
    covered: u64,
    policies: BTreeMap<i64, [i64; 3]>,
    hash: u128,
    wrong: Option<String>,
}

impl Sums {
    fn add(&mut self, found: &Found, tables: &Tables) {
        self.rows += 1;
        self.covered += u64::from(found.matches.is_some());
        if found.matches == Some(false) {
            self.wrong = Some(format!("row {} does not match its digest", found.id));
            return;
        }
        let Some(tally) = (tables.tally)(&found.columns) else {
            self.wrong = Some(format!("row {} is none", found.id));
            return;
        };
        let counts = self.policies.entry(tally.policy).or_default();
        for (sum, count) in counts.iter_mut().zip(tally.counts) {
            *sum = sum.wrapping_add(count);
        }
        let mut context = md5::Context::new();
        context.consume(found.columns.first().map_or("", String::as_str));
        context.consume(b"-");
        context.consume(&tally.version);
        self.hash ^= u128::from_be_bytes(context.finalize().0);
    }

    /// What the database says of its rows and they do not.
    fn contradict(
        &self,
        connection: &mut Connection,
        tables: &Tables,
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
        let mut told: BTreeMap<i64, [i64; 3]> = BTreeMap::new();
        connection.query(tables.policies, &[], |row| {
            told.insert(row.int(0), [row.int(1), row.int(2), row.int(3)]);
            true
        })?;
        let mut all = [0i64; 3];
        for policy in told.keys().chain(self.policies.keys()) {
            let [says, is] = [&told, &self.policies].map(|of| of.get(policy).copied());
            let (says, is) = (says.unwrap_or_default(), is.unwrap_or_default());
            if says != is {
                return Ok(Some(format!("policy {policy} says {says:?}, its rows {is:?}")));
            }
        }
        for counts in self.policies.values() {
            all.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.wrapping_add(*count));
        }
        let (mut hash, mut totals) = (String::new(), [0i64; 3]);
        connection.query(tables.totals, &[], |row| {
            hash = row.text(0);
            totals = [row.int(1), row.int(2), row.int(3)];
            false
        })?;
        if hash != format!("{:032x}", self.hash) {
            return Ok(Some("the hash is not that of the rows".to_owned()));
        }
        let differs = totals.iter().zip(all).any(|(says, is)| *says != -1 && *says != is);
        Ok(differs.then(|| format!("totals {totals:?}, rows {all:?}")))
    }
}

/// Gives digests to at most a thousand rows that have none, of those after an id; the id to go on
/// from, or `None` when all is done. To be called for a database that was just found good.
///
/// # Errors
/// SQLite's.
pub fn cover(
    connection: &mut Connection,
    tables: &Tables,
    after: i64,
) -> Result<Option<i64>, DbError> {
    if !digest::is_kept(connection)? {
        connection.script(tables.schema)?;
    }
    let mut rows = Vec::new();
    connection.query(tables.without_digest, &[after.into()], |row| {
        rows.push(Found::read(row, tables));
        true
    })?;
    for row in &rows {
        let columns: Vec<&str> = row.columns.iter().map(String::as_str).collect();
        digest::add(connection, row.id, &columns)?;
    }
    if let Some(last) = rows.last() {
        return Ok(Some(last.id));
    }
    digest::seal(connection, tables)?;
    digest::seal_schema(connection)?;
    Ok(None)
}

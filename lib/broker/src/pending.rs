//! `.pending` files: rows that Swift acknowledged before it inserted them.
//!
//! Apus never writes them (a row is acknowledged after its commit), but a drive that Swift wrote may
//! have some. Entries are `:` and base64 of a pickled tuple. Source: `swift/common/db.py`.

use std::io;
use std::path::Path;

use apus_cluster::pickle::{self, Value};
use base64::Engine;

use crate::error::DbError;
use crate::raw::Connection;

/// Longest entry that is read. Those of Swift have the names and the metadata of one row.
const ENTRY_BYTES_MAX: usize = 256 * 1024;
/// Records that are held at a time.
const RECORDS_AT_ONCE: usize = 1000;

/// Merges the records of a database, then empties the file. The caller holds the lock of the
/// directory, which Swift takes to append.
pub(crate) fn merge(
    database: &Path,
    connection: &mut Connection,
    take: fn(&mut Connection, Vec<Value>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".pending");
    let path = Path::new(&path);
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > 0 => {}
        _ => return Ok(()),
    }
    connection.run("BEGIN IMMEDIATE", &[])?;
    let file = io::BufReader::new(std::fs::File::open(path)?);
    let mut records = Vec::new();
    each_record(file, |record| {
        records.push(record);
        match records.len() < RECORDS_AT_ONCE {
            true => Ok(()),
            false => take(connection, std::mem::take(&mut records)),
        }
    })?;
    if !records.is_empty() {
        take(connection, records)?;
    }
    connection.run("COMMIT", &[])?;
    match apus_disk::truncate(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Calls `take` with each record of a file. What cannot be read (a torn last write) is left out with
/// a warning.
fn each_record(
    file: impl io::BufRead,
    mut take: impl FnMut(Value) -> Result<(), DbError>,
) -> Result<(), DbError> {
    apus_disk::each_piece(file, b':', ENTRY_BYTES_MAX, |entry, is_whole| {
        if entry.is_empty() {
            return Ok(());
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(entry).ok();
        let decoded = decoded.filter(|_| is_whole);
        match decoded.and_then(|pickled| pickle::loads(&pickled).ok()) {
            Some(record) => take(record),
            None => {
                tracing::warn!(
                    bytes = entry.len(),
                    "Left out an unreadable record of a pending file"
                );
                Ok(())
            }
        }
    })
}

/// The records of a file.
pub fn decode(bytes: &[u8]) -> Vec<Value> {
    let mut records = Vec::new();
    // This cannot fail: there is no disk, and unreadable records are left out.
    let _ = each_record(bytes, |record| {
        records.push(record);
        Ok(())
    });
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_records_are_read_and_a_torn_one_is_left_out() {
        let pickled = pickle::dumps(&Value::Tuple(vec![Value::Str("o".into()), Value::Int(0)]));
        let entry = base64::engine::general_purpose::STANDARD.encode(pickled);
        let file = format!(":{entry}:{entry}:{}", &entry[..entry.len() / 2 - 1]);
        assert_eq!(decode(file.as_bytes()).len(), 2);
    }
}

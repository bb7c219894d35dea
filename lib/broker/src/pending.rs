//! `.pending` files: rows that Swift acknowledged but had not put into the database yet.
//!
//! We never write them (a row is acknowledged after its commit), but a drive that Swift wrote may
//! have some. Entries are `:` and base64 of a pickled tuple. Source: `swift/common/db.py`.

use std::io;
use std::path::Path;

use apus_cluster::pickle::{self, Value};
use base64::Engine;

use crate::error::DbError;
use crate::raw::Connection;

/// Merges the records beside a database, then empties the file. The caller holds the lock of the
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
    let records = decode(&std::fs::read(path)?);
    if !records.is_empty() {
        connection.run("BEGIN IMMEDIATE", &[])?;
        take(connection, records)?;
        connection.run("COMMIT", &[])?;
    }
    match apus_disk::truncate(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The records of a file. What cannot be read (a torn last write) is left out with a warning.
pub fn decode(bytes: &[u8]) -> Vec<Value> {
    bytes
        .split(|byte| *byte == b':')
        .filter(|entry| !entry.is_empty())
        .filter_map(|entry| {
            let decoded = base64::engine::general_purpose::STANDARD.decode(entry).ok();
            let record = decoded.and_then(|pickled| pickle::loads(&pickled).ok());
            if record.is_none() {
                tracing::warn!(bytes = entry.len(), "unreadable record in a pending file");
            }
            record
        })
        .collect()
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

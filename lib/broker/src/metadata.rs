//! The `metadata` column: a JSON object of header name to `[value, timestamp]`.
//!
//! Values are plain text. The newest timestamp of a key wins. An empty value is a removal, which is
//! kept until it is reclaimed.

use std::collections::BTreeMap;

use apus_cluster::Timestamp;
use apus_cluster::constraints::Constraints;
use apus_cluster::metadata::{Resource, has_prefix};

use crate::error::DbError;
use crate::raw::Connection;
use crate::schema::Schema;

/// Limit of all user metadata of a resource that a change would exceed; the text is for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataLimit {
    /// The number of items.
    #[error("Too many metadata items; max {0}")]
    Count(usize),
    /// The characters of all names and values.
    #[error("Total metadata too large; max {0}")]
    Size(usize),
}

/// Header name to value and time.
pub type Dated = BTreeMap<String, (String, String)>;

/// Reads the column's text; anything but Swift's JSON is corrupt.
///
/// # Errors
/// [`DbError::Corrupt`].
pub fn decode(text: &str) -> Result<Dated, DbError> {
    if text.is_empty() {
        return Ok(Dated::new());
    }
    serde_json::from_str(text).map_err(|error| DbError::Corrupt(format!("metadata: {error}")))
}

/// Merges a client's changes into the stored metadata by time and writes them back.
///
/// # Errors
/// SQLite's; [`DbError::TooMuchMetadata`] when all requests together set more than one may.
pub fn merge(
    connection: &mut Connection,
    schema: &Schema,
    changes: &BTreeMap<String, String>,
    timestamp: Timestamp,
    constraints: &Constraints,
) -> Result<(), DbError> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut dated = read(connection, schema)?;
    let mut changed = false;
    let now = timestamp.to_string();
    for (name, value) in changes {
        // Names are stored in one spelling, so that a change finds what it changes.
        let stored = dated.keys().find(|stored| stored.eq_ignore_ascii_case(name)).cloned();
        let name = stored.unwrap_or_else(|| name.clone());
        let newer = dated.get(&name).is_none_or(|(_, time)| *time < now);
        if newer {
            dated.insert(name, (value.clone(), now.clone()));
            changed = true;
        }
    }
    if !changed {
        return Ok(());
    }
    check_limits(&dated, constraints)?;
    write(connection, schema, &dated)
}

/// Whether a resource may have all of this user metadata; removals do not count.
///
/// Source: `validate_metadata` in `swift/common/db.py`, which counts characters, not bytes.
fn check_limits(dated: &Dated, constraints: &Constraints) -> Result<(), MetadataLimit> {
    let prefixes = [Resource::Account, Resource::Container].map(Resource::user_prefix);
    let (mut count, mut size) = (0, 0);
    for (name, (value, _)) in dated.iter().filter(|(_, (value, _))| !value.is_empty()) {
        let prefix = prefixes.iter().find(|prefix| has_prefix(name, prefix));
        let Some(key) = prefix.and_then(|prefix| name.get(prefix.len()..)) else { continue };
        count += 1;
        size += key.chars().count() + value.chars().count();
    }
    let (count_max, size_max) = (constraints.max_meta_count, constraints.max_meta_overall_size);
    if count > count_max {
        return Err(MetadataLimit::Count(count_max));
    }
    if size > size_max {
        return Err(MetadataLimit::Size(size_max));
    }
    Ok(())
}

/// Merges another replica's metadata into the stored by time; nothing is written when nothing is
/// newer.
///
/// # Errors
/// SQLite's.
pub fn merge_dated(
    connection: &mut Connection,
    schema: &Schema,
    other: Dated,
) -> Result<(), DbError> {
    let mut dated = read(connection, schema)?;
    let mut changed = false;
    for (name, (value, time)) in other {
        if dated.get(&name).is_none_or(|(_, stored)| time > *stored) {
            dated.insert(name, (value, time));
            changed = true;
        }
    }
    if changed { write(connection, schema, &dated) } else { Ok(()) }
}

/// Drops removals older than `then`, which all replicas have.
///
/// # Errors
/// SQLite's.
pub fn reclaim(
    connection: &mut Connection,
    schema: &Schema,
    then: Timestamp,
) -> Result<(), DbError> {
    let mut dated = read(connection, schema)?;
    let before = dated.len();
    dated.retain(|_, removal| !is_old_removal(removal, then));
    if dated.len() == before { Ok(()) } else { write(connection, schema, &dated) }
}

/// Whether a value is a removal from before `then`.
pub fn is_old_removal((value, time): &(String, String), then: Timestamp) -> bool {
    value.is_empty() && Timestamp::parse(time).is_some_and(|time| time < then)
}

pub(crate) fn read(connection: &mut Connection, schema: &Schema) -> Result<Dated, DbError> {
    let mut stored = String::new();
    connection.query(schema.metadata, &[], |row| {
        stored = row.text(0);
        false
    })?;
    decode(&stored)
}

fn write(connection: &mut Connection, schema: &Schema, dated: &Dated) -> Result<(), DbError> {
    let text = serde_json::to_string(dated).map_err(|error| DbError::Corrupt(error.to_string()))?;
    connection.run(schema.set_metadata, &[(&text).into()])
}

/// Metadata without removals.
pub fn in_force(dated: Dated) -> BTreeMap<String, String> {
    dated
        .into_iter()
        .filter(|(_, (value, _))| !value.is_empty())
        .map(|(name, (value, _))| (name, value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(items: impl Iterator<Item = (String, String)>) -> Dated {
        items.map(|(name, value)| (name, (value, "0000000001.00000".to_owned()))).collect()
    }

    #[test]
    fn all_user_metadata_of_a_resource_together_has_limits() {
        let constraints = Constraints::default();
        let check = |dated: &Dated| check_limits(dated, &constraints);
        let items = |count: usize, value: &'static str| {
            dated((0..count).map(move |n| (format!("X-Account-Meta-{n:03}"), value.to_owned())))
        };
        assert_eq!(check(&items(constraints.max_meta_count, "v")), Ok(()));
        let too_many = check(&items(constraints.max_meta_count + 1, "v"));
        assert_eq!(too_many, Err(MetadataLimit::Count(constraints.max_meta_count)));
        assert_eq!(check(&items(constraints.max_meta_count + 1, "")), Ok(()), "they are removals");
        let long =
            |name: &str, length: usize| dated([(name.to_owned(), "ü".repeat(length))].into_iter());
        let user = "X-Container-Meta-K";
        assert_eq!(check(&long(user, constraints.max_meta_overall_size - 1)), Ok(()));
        let too_large = check(&long(user, constraints.max_meta_overall_size));
        assert_eq!(too_large, Err(MetadataLimit::Size(constraints.max_meta_overall_size)));
        let system = "X-Container-Sysmeta-K";
        assert_eq!(check(&long(system, constraints.max_meta_overall_size)), Ok(()));
    }
}

//! What an engine reports to the auditor.

use std::path::PathBuf;

use apus_cluster::{PathHash, Timestamp};

use super::object::Object;

/// Result of examining a place, without its body.
#[derive(Debug)]
pub(crate) enum Examined {
    /// Nothing that counts, or what was there has just been replaced.
    Nothing,
    /// A tombstone: the name of the object and the time of its deletion.
    Deleted(String, Timestamp),
    /// The name of an object, whose body may still be damaged, and the object.
    Object(String, Box<Object>),
    /// The stored data is not what was written.
    Damaged(String),
}

/// An entry of a suffix that the auditor visits.
#[derive(Debug)]
pub(crate) enum AuditEntry {
    /// An object of this hash.
    Object(PathHash),
    /// A directory whose name is not a hash of this suffix.
    Misnamed(PathBuf),
}

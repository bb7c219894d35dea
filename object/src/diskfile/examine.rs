//! Examines the metadata of all files of a hash directory, for the auditor.

use std::fs::File;
use std::io;
use std::sync::Arc;

use apus_cluster::{HashConf, Metadata, Timestamp};
use apus_disk::Counters;

use super::layout::Layout;
use super::metadata::{self, MetadataError};
use super::{cleanup, reader};
use crate::engine::audit::Examined;
use crate::engine::object::{Expected, ObjectState, OpenError};
use crate::engine::place::Place;

/// Verifies everything but the body.
pub(super) fn examine(
    place: &Place,
    hash: &HashConf,
    counters: &Arc<Counters>,
) -> io::Result<Examined> {
    // An intact object needs no second look: this reads all of its files.
    if let Ok(found) = reader::find(place, Expected::Hash(hash, &place.hash), true, counters)
        && let ObjectState::Present(object) = ObjectState::from(found)
        && object.has_its_length()
        && let Some(name) = object.metadata.get("name")
    {
        return Ok(Examined::Object(name.clone(), object));
    }
    examine_files(place, hash, counters)
}

/// Verifies each file of a place separately, for the reason why it is not an intact object.
fn examine_files(place: &Place, hash: &HashConf, counters: &Arc<Counters>) -> io::Result<Examined> {
    let directory = place.directory();
    let layout = Layout::of(&cleanup::names(&directory, counters)?);
    let mut files = Vec::new();
    files
        .extend([&layout.data, &layout.tombstone].into_iter().flatten().map(|f| (&f.name, f.time)));
    files.extend(
        [&layout.meta, &layout.content_type].into_iter().flatten().map(|f| (&f.name, f.time)),
    );
    let mut known = String::new();
    for (file, time) in files {
        match read(place, file, counters).map(|stored| check(&stored, time, place, hash)) {
            Ok(Ok(name)) => known = name,
            Ok(Err(OpenError::Corrupt(reason))) | Err(MetadataError::Corrupt(reason)) => {
                return Ok(Examined::Damaged(format!("{file}: {reason}")));
            }
            Ok(Err(error)) => return Err(io::Error::other(error)),
            Err(MetadataError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Examined::Nothing);
            }
            Err(MetadataError::Io(error)) => return Err(error),
            Err(MetadataError::NeedsDisk) => return Err(io::ErrorKind::WouldBlock.into()),
        }
    }
    if known.is_empty() {
        return Ok(Examined::Nothing);
    }
    Ok(match reader::find(place, Expected::Name(&known), true, counters).map(ObjectState::from) {
        Ok(ObjectState::Absent) => Examined::Nothing,
        Ok(ObjectState::Deleted(time)) => Examined::Deleted(known, time),
        Ok(ObjectState::Present(object)) if object.has_its_length() => {
            Examined::Object(known, object)
        }
        Ok(ObjectState::Present(_)) => {
            Examined::Damaged("length is not what the metadata says".to_owned())
        }
        Err(OpenError::Corrupt(reason)) => Examined::Damaged(reason),
        Err(OpenError::OtherName(found)) => {
            Examined::Damaged(format!("files of {known:?} and of {found:?}"))
        }
        Err(OpenError::Io(error)) => return Err(error),
        Err(OpenError::WouldWait) => return Err(io::ErrorKind::WouldBlock.into()),
    })
}

fn read(place: &Place, file: &str, counters: &Counters) -> Result<Metadata, MetadataError> {
    counters.calls(1);
    let open = File::open(place.directory().join(file)).map_err(MetadataError::Io)?;
    metadata::read(&open, Some(&place.overflow(file)), counters)
}

/// Returns the name in the metadata of a file, which must have the hash of the place.
fn check(
    stored: &Metadata,
    time: Timestamp,
    place: &Place,
    hash: &HashConf,
) -> Result<String, OpenError> {
    let corrupt = |reason: String| OpenError::Corrupt(reason);
    let name = stored.get("name").ok_or_else(|| corrupt("the metadata lacks a name".to_owned()))?;
    if hash.hash_joined(name) != place.hash {
        return Err(corrupt(format!("the name {name:?} has another hash")));
    }
    reader::check_time(stored, time).map(|()| name.clone())
}

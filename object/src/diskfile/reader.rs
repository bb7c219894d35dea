//! Opens an object: state, metadata, body; from memory when the kernel has it all.

use std::fs::File;
use std::io;
use std::path::Path;

use apus_cluster::metadata::belongs_to_data;
use apus_cluster::{Metadata, Timestamp};
use apus_disk::{Counters, WarmDirectory, open_cached};

use super::cleanup;
use super::layout::Layout;
use super::metadata::{self, MetadataError};
use super::writer::{CRC_ATTRIBUTE, Place};

/// An object that exists, or what is known of one that does not.
#[derive(Debug)]
pub(crate) enum State {
    /// Never heard of.
    Absent,
    /// Deleted at this time.
    Deleted(Timestamp),
    /// There.
    Present(Box<Object>),
}

/// An open object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) file: File,
    pub(crate) length: u64,
    /// Data and metadata merged as clients see them.
    pub(crate) metadata: Metadata,
    pub(crate) data_time: Timestamp,
    /// Newest of data and metadata.
    pub(crate) time: Timestamp,
    pub(crate) content_type_time: Timestamp,
    /// Checksum of the body, when we wrote it.
    pub(crate) crc: Option<u64>,
}

impl Object {
    /// When the object expires, in seconds since 1970.
    pub(crate) fn delete_at(&self) -> Option<u64> {
        self.metadata.get("X-Delete-At").and_then(|text| text.parse().ok())
    }
}

/// Why an object could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Not in memory: open it on a device thread.
    WouldWait,
    /// Damaged; the caller quarantines it.
    Corrupt(String),
    /// The stored name is another object's with the same hash.
    Collision,
    /// The disk did not answer.
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock { Self::WouldWait } else { Self::Io(error) }
    }
}

enum Access<'a> {
    Warm(WarmDirectory),
    Cold(&'a Path),
}

impl Access<'_> {
    fn open(&self, name: &str, counters: &Counters) -> io::Result<File> {
        match self {
            Self::Warm(directory) => directory.open(name, counters),
            Self::Cold(path) => {
                counters.calls(1);
                File::open(path.join(name))
            }
        }
    }
}

/// Opens the object `name` (`/account/container/object`). With `may_wait` it must run on a device
/// thread; without it anything that is not in memory gives [`OpenError::WouldWait`].
pub(crate) fn open(
    place: &Place,
    name: &str,
    may_wait: bool,
    counters: &Counters,
) -> Result<State, OpenError> {
    let directory = place.directory();
    let (access, names) = if may_wait {
        (Access::Cold(&directory), cleanup::names(&directory, counters)?)
    } else {
        match open_cached(&directory, counters) {
            Ok(warm) => {
                let names = warm.names(counters)?;
                (Access::Warm(warm), names)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Absent),
            Err(error) => return Err(error.into()),
        }
    };
    let layout = Layout::of(&names);
    let Some(data) = &layout.data else {
        return Ok(match layout.tombstone {
            Some(tombstone) => State::Deleted(tombstone.time),
            None => State::Absent,
        });
    };
    let read = |file: &File, name: &str| -> Result<Metadata, OpenError> {
        let overflow = may_wait.then(|| place.overflow(name));
        metadata::read(file, overflow.as_deref(), counters).map_err(|error| match error {
            MetadataError::Corrupt(reason) => OpenError::Corrupt(reason),
            MetadataError::Io(error) => error.into(),
            MetadataError::NeedsDisk => OpenError::WouldWait,
        })
    };
    let file = match access.open(&data.name, counters) {
        Ok(file) => file,
        // Replaced between the listing and the opening: look again, on a device thread.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !may_wait => {
            return Err(OpenError::WouldWait);
        }
        Err(error) => return Err(error.into()),
    };
    let stored = read(&file, &data.name)?;
    check_name(&stored, name, place)?;
    counters.calls(1);
    let length = file.metadata()?.len();
    match stored.get("Content-Length").map(|text| text.parse::<u64>()) {
        Some(Ok(expected)) if expected == length => {}
        Some(Ok(expected)) => {
            return Err(OpenError::Corrupt(format!("{length} bytes, metadata says {expected}")));
        }
        _ => return Err(OpenError::Corrupt("no Content-Length in the metadata".to_owned())),
    }
    if !stored.contains_key("ETag") {
        return Err(OpenError::Corrupt("no ETag in the metadata".to_owned()));
    }
    let mut merged = stored;
    let mut time = data.time;
    let mut content_type_time = data.time;
    if let Some(meta) = &layout.meta {
        let newer = read(&access.open(&meta.name, counters)?, &meta.name)?;
        merged = merge(merged, newer, data.time, &mut content_type_time);
        time = meta.time;
    }
    if let Some(file) = &layout.content_type {
        let other = read(&access.open(&file.name, counters)?, &file.name)?;
        if let Some(content_type) = other.get("Content-Type") {
            merged.insert("Content-Type".to_owned(), content_type.clone());
            content_type_time = file.content_type_time.unwrap_or(content_type_time);
        }
    }
    let crc = read_crc(&file, counters);
    Ok(State::Present(Box::new(Object {
        file,
        length,
        metadata: merged,
        data_time: data.time,
        time,
        content_type_time,
        crc,
    })))
}

fn read_crc(file: &File, counters: &Counters) -> Option<u64> {
    let mut text = [0u8; 16];
    let length = apus_disk::read_attribute(file, CRC_ATTRIBUTE, &mut text, counters)?;
    u64::from_str_radix(std::str::from_utf8(text.get(..length)?).ok()?, 16).ok()
}

/// A stored name that does not hash to this directory means damage; one that does, but is another
/// name, means an MD5 collision.
fn check_name(stored: &Metadata, name: &str, place: &Place) -> Result<(), OpenError> {
    match stored.get("name") {
        Some(found) if found == name => Ok(()),
        Some(found) => {
            let _ = place;
            tracing::error!(found, name, "stored name differs");
            Err(OpenError::Collision)
        }
        None => Err(OpenError::Corrupt("no name in the metadata".to_owned())),
    }
}

/// Metadata of a POST over that of the data: system metadata and what describes the body stay.
fn merge(
    data: Metadata,
    meta: Metadata,
    data_time: Timestamp,
    content_type_time: &mut Timestamp,
) -> Metadata {
    let set_by_post = meta
        .get("Content-Type-Timestamp")
        .and_then(|text| Timestamp::parse(text))
        .filter(|time| *time > data_time);
    let content_type = match set_by_post {
        Some(time) => {
            *content_type_time = time;
            meta.get("Content-Type").cloned()
        }
        None => None,
    };
    let content_type = content_type.or_else(|| data.get("Content-Type").cloned());
    let mut merged = meta;
    merged.remove("Content-Type-Timestamp");
    merged.extend(data.into_iter().filter(|(name, _)| belongs_to_data(name) || name == "name"));
    if let Some(content_type) = content_type {
        merged.insert("Content-Type".to_owned(), content_type);
    }
    merged
}

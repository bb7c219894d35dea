//! Opens an object: state, metadata, body; from memory when the kernel has everything cached.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use apus_cluster::{HashConf, Metadata, Timestamp};
use apus_disk::{Counters, NowaitRead, WarmDirectory, open_cached};

use super::cleanup;
use super::layout::{Layout, data_name};
use super::metadata::{self, MetadataError};
use super::writer::CRC_ATTRIBUTE;
use crate::engine::blocks::{BLOCKS_ATTRIBUTE, Blocks, DecodedBlocks, ENCODED_MAX};
use crate::engine::object::{
    CONTENT_TYPE_TIME, DirectoryState, Expected, Identity, NewestTimes, OpenError, StoredBody,
    StoredObject, Times,
};
use crate::engine::place::Place;

/// An open data file.
#[derive(Debug)]
struct DataFile {
    file: File,
    counters: Arc<Counters>,
}

impl StoredBody for DataFile {
    fn length(&self) -> io::Result<u64> {
        self.counters.calls(1);
        Ok(self.file.metadata()?.len())
    }

    fn id(&self) -> Option<(u64, u64)> {
        let found = self.file.metadata().ok()?;
        Some((found.dev(), found.ino()))
    }

    fn read_nowait(&self, buffer: &mut [u8], offset: u64) -> io::Result<NowaitRead> {
        apus_disk::read_nowait(&self.file, buffer, offset, &self.counters)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        apus_disk::read_at(&self.file, buffer, offset, &self.counters)
    }

    fn crc(&self) -> Option<u64> {
        let mut text = [0u8; 16];
        let length =
            apus_disk::read_attribute(&self.file, CRC_ATTRIBUTE, &mut text, &self.counters)?;
        u64::from_str_radix(std::str::from_utf8(text.get(..length)?).ok()?, 16).ok()
    }

    fn has_crc(&self) -> bool {
        let mut text = [0u8; 16];
        apus_disk::read_attribute(&self.file, CRC_ATTRIBUTE, &mut text, &self.counters).is_some()
    }

    fn blocks(&self, length: u64) -> Option<DecodedBlocks> {
        let mut value = [0u8; ENCODED_MAX];
        let encoded =
            apus_disk::read_attribute(&self.file, BLOCKS_ATTRIBUTE, &mut value, &self.counters)?;
        Some(Blocks::decode(value.get(..encoded)?, length))
    }

    fn add_checksums(&self, crc: Option<u64>, mut blocks: Option<Blocks>) -> io::Result<bool> {
        let counters = &self.counters;
        let set = |key, value: &[u8]| apus_disk::write_attribute(&self.file, key, value, counters);
        let mut all = true;
        if let Some(crc) = crc {
            all &= set(CRC_ATTRIBUTE, format!("{crc:016x}").as_bytes()).is_ok();
        }
        while let Some(known) = &mut blocks
            && set(BLOCKS_ATTRIBUTE, &known.encode()).is_err()
        {
            if !known.double() {
                all = false;
                break;
            }
        }
        counters.sync();
        self.file.sync_all()?;
        Ok(all)
    }
}

/// Whether the data file still has its name.
pub(super) fn holds(place: &Place, identity: &Identity) -> bool {
    let path = place.directory().join(data_name(identity.data_time));
    std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == identity.id)
}

/// The times of an object's files; `None` when nothing is stored.
pub(super) fn times(place: &Place) -> io::Result<Option<Times>> {
    Ok(Layout::of(&apus_disk::names(&place.directory())?).times())
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

/// Lists a hash directory.
fn list<'a>(
    directory: &'a Path,
    may_wait: bool,
    counters: &Counters,
) -> io::Result<Option<(Access<'a>, Vec<String>)>> {
    if may_wait {
        return Ok(Some((Access::Cold(directory), cleanup::names(directory, counters)?)));
    }
    match open_cached(directory, counters) {
        Ok(warm) => {
            let names = warm.names(counters)?;
            Ok(Some((Access::Warm(warm), names)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The newest times of an object, from its file names alone; waits as [`find`] does.
pub(super) fn newest(
    place: &Place,
    may_wait: bool,
    counters: &Counters,
) -> Result<NewestTimes, OpenError> {
    let directory = place.directory();
    let Some((_, names)) = list(&directory, may_wait, counters)? else {
        return Ok(NewestTimes::default());
    };
    let layout = Layout::of(&names);
    let write = [layout.data, layout.tombstone].into_iter().flatten().map(|file| file.time).max();
    Ok(NewestTimes { write, any: write.max(layout.meta.map(|meta| meta.time)) })
}

/// How often opening is repeated while files are being replaced.
const TRIES: usize = 5;

/// Opens an object's files. With `may_wait` it must run on a device thread; without it anything
/// that is not in memory returns [`OpenError::WouldWait`].
pub(super) fn find(
    place: &Place,
    expected: Expected<'_>,
    may_wait: bool,
    counters: &Arc<Counters>,
) -> Result<DirectoryState, OpenError> {
    for _ in 1..TRIES {
        match find_listed(place, expected, may_wait, counters) {
            // Replaced between listing and opening: repeat on a device thread.
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                if !may_wait {
                    return Err(OpenError::WouldWait);
                }
            }
            other => return other,
        }
    }
    find_listed(place, expected, may_wait, counters)
}

fn find_listed(
    place: &Place,
    expected: Expected<'_>,
    may_wait: bool,
    counters: &Arc<Counters>,
) -> Result<DirectoryState, OpenError> {
    let directory = place.directory();
    let Some((access, names)) = list(&directory, may_wait, counters)? else {
        return Ok(DirectoryState::Absent);
    };
    let layout = Layout::of(&names);
    let Some(data) = &layout.data else {
        return Ok(match layout.tombstone {
            Some(tombstone) => DirectoryState::Deleted(tombstone.time, tombstone.name),
            None => DirectoryState::Absent,
        });
    };
    let read = |name: &str, time: Timestamp| -> Result<(File, Metadata), OpenError> {
        let file = access.open(name, counters)?;
        let overflow = may_wait.then(|| place.overflow(name));
        let stored = metadata::read(&file, overflow.as_deref(), counters)?;
        check_name(&stored, expected)?;
        check_time(&stored, time)?;
        Ok((file, stored))
    };
    let (file, stored) = read(&data.name, data.time)?;
    let length = stored.get("Content-Length").and_then(|text| text.parse().ok());
    let length =
        length.ok_or_else(|| OpenError::Corrupt("the metadata lacks Content-Length".to_owned()))?;
    if !stored.contains_key("ETag") {
        return Err(OpenError::Corrupt("the metadata lacks ETag".to_owned()));
    }
    let mut time = data.time;
    let mut newer = None;
    if let Some(meta) = &layout.meta {
        newer = Some(read(&meta.name, meta.time)?.1);
        time = meta.time;
    }
    if let (Some(file), Some(newer)) = (&layout.content_type, &mut newer) {
        let (_, other) = read(&file.name, file.time)?;
        if let (Some(content_type), Some(set)) = (other.get("Content-Type"), file.content_type_time)
        {
            newer.insert("Content-Type".to_owned(), content_type.clone());
            newer.insert(CONTENT_TYPE_TIME.to_owned(), set.to_string());
        }
    }
    Ok(DirectoryState::Present(Box::new(StoredObject {
        body: Box::new(DataFile { file, counters: counters.clone() }),
        length,
        data: stored,
        data_time: data.time,
        meta: newer,
        time,
    })))
}

/// The name that a tombstone was written for.
pub(super) fn tombstone_name(
    place: &Place,
    file: &str,
    hash: &HashConf,
    counters: &Counters,
) -> Result<String, OpenError> {
    let open = File::open(place.directory().join(file))?;
    let stored = metadata::read(&open, Some(&place.overflow(file)), counters)?;
    check_name(&stored, Expected::Hash(hash, &place.hash))?;
    Ok(stored.get("name").cloned().unwrap_or_default())
}

impl From<MetadataError> for OpenError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Corrupt(reason) => Self::Corrupt(reason),
            MetadataError::Io(error) => error.into(),
            MetadataError::NeedsDisk => Self::WouldWait,
        }
    }
}

fn check_name(stored: &Metadata, expected: Expected<'_>) -> Result<(), OpenError> {
    let Some(found) = stored.get("name") else {
        return Err(OpenError::Corrupt("the metadata lacks a name".to_owned()));
    };
    match expected {
        Expected::Name(name) if found == name => Ok(()),
        Expected::Hash(conf, hash) if conf.hash_joined(found) == *hash => Ok(()),
        _ => Err(OpenError::OtherName(found.clone())),
    }
}

/// Checks that the time in the metadata is that of the file name.
pub(super) fn check_time(stored: &Metadata, time: Timestamp) -> Result<(), OpenError> {
    match stored.get("X-Timestamp") {
        Some(found) if Timestamp::parse(found) != Some(time) => {
            Err(OpenError::Corrupt(format!("X-Timestamp {found} in a file of {time}")))
        }
        _ => Ok(()),
    }
}

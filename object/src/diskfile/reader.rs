//! Opens an object: state, metadata, body; from memory when the kernel has it all.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use apus_cluster::metadata::belongs_to_data;
use apus_cluster::{HashConf, Metadata, PathHash, Timestamp};
use apus_disk::{Counters, WarmDirectory, open_cached};

use super::blocks::{BLOCKS_ATTRIBUTE, Blocks, ENCODED_MAX, SMALLEST_BLOCK, Stored};
use super::cleanup;
use super::layout::{Layout, data_name};
use super::metadata::{self, MetadataError};
use super::writer::{CRC_ATTRIBUTE, Place};

/// In a metadata file: when its content type was set.
pub(crate) const CONTENT_TYPE_TIME: &str = "Content-Type-Timestamp";

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
    /// As the metadata says; reading or [`Object::has_its_length`] shows whether it is true.
    pub(crate) length: u64,
    /// Data and metadata merged as clients see them.
    pub(crate) metadata: Metadata,
    pub(crate) data_time: Timestamp,
    /// Newest of data and metadata.
    pub(crate) time: Timestamp,
    pub(crate) content_type_time: Timestamp,
}

impl Object {
    /// When the object expires, in seconds since 1970.
    pub(crate) fn delete_at(&self) -> Option<u64> {
        self.metadata.get("X-Delete-At").and_then(|text| text.parse().ok())
    }

    /// Whether it has expired at `time`.
    pub(crate) fn is_expired(&self, time: Timestamp) -> bool {
        self.delete_at().is_some_and(|at| Timestamp::from_seconds(at) <= time)
    }

    /// Whether the file is as long as its metadata says. Needs no disk: the inode is in memory.
    pub(crate) fn has_its_length(&self, counters: &Counters) -> bool {
        counters.calls(1);
        self.file.metadata().is_ok_and(|found| found.len() == self.length)
    }

    /// Which file this is; its inode is in memory.
    pub(crate) fn identity(&self) -> Option<Identity> {
        Identity::of(&self.file, self.data_time)
    }

    /// What the body can be checked against, the finest first.
    pub(crate) fn guard(&self, counters: &Counters) -> Guard {
        match self.blocks(counters) {
            Some(Stored::Blocks(blocks)) => Guard::Blocks(blocks),
            Some(Stored::Damaged) => Guard::Damaged,
            None | Some(Stored::Unknown) => match self.crc(counters) {
                Some(crc) => Guard::Crc(crc),
                None => Guard::Md5(self.etag().to_owned()),
            },
        }
    }

    /// MD5 of the body in hex, as the metadata says.
    pub(crate) fn etag(&self) -> &str {
        self.metadata.get("ETag").map_or("", String::as_str)
    }

    /// Checksums of the blocks of the body, when it has several and they are known.
    pub(crate) fn blocks(&self, counters: &Counters) -> Option<Stored> {
        if self.length <= SMALLEST_BLOCK {
            return None;
        }
        let mut value = [0u8; ENCODED_MAX];
        let length = apus_disk::read_attribute(&self.file, BLOCKS_ATTRIBUTE, &mut value, counters)?;
        Some(Blocks::decode(value.get(..length)?, self.length))
    }

    /// Adds checksums of a body that was found good, durably; says whether all had room. Waits for
    /// the disk.
    pub(crate) fn add_checksums(
        &self,
        crc: Option<u64>,
        mut blocks: Option<Blocks>,
        counters: &Counters,
    ) -> io::Result<bool> {
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

    /// Checksum of the body, when we wrote it.
    pub(crate) fn crc(&self, counters: &Counters) -> Option<u64> {
        stored_crc(&self.file, counters)
    }

    /// Whether there is something in the place of that checksum, be it one or not.
    pub(crate) fn has_crc(&self, counters: &Counters) -> bool {
        let mut text = [0u8; 16];
        apus_disk::read_attribute(&self.file, CRC_ATTRIBUTE, &mut text, counters).is_some()
    }
}

fn stored_crc(file: &File, counters: &Counters) -> Option<u64> {
    let mut text = [0u8; 16];
    let length = apus_disk::read_attribute(file, CRC_ATTRIBUTE, &mut text, counters)?;
    u64::from_str_radix(std::str::from_utf8(text.get(..length)?).ok()?, 16).ok()
}

/// What a body can be checked against.
#[derive(Debug)]
pub(crate) enum Guard {
    /// Checksums of its blocks.
    Blocks(Blocks),
    /// Those are damaged.
    Damaged,
    /// CRC-64/NVME of the whole.
    Crc(u64),
    /// MD5 of the whole, in hex.
    Md5(String),
}

/// A data file, told from another of the same name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    data_time: Timestamp,
    numbers: (u64, u64),
}

impl Identity {
    fn of(file: &File, data_time: Timestamp) -> Option<Self> {
        let found = file.metadata().ok()?;
        Some(Self { data_time, numbers: (found.dev(), found.ino()) })
    }

    /// Whether it still has its name. Waits for the disk.
    pub(crate) fn is_still_at(&self, place: &Place) -> bool {
        let path = place.directory().join(data_name(self.data_time));
        std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.numbers)
    }
}

/// Why an object could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Not in memory: open it on a device thread.
    WouldWait,
    /// Damaged; the caller quarantines it.
    Corrupt(String),
    /// The stored name is this one, which is another object's with the same hash, or damaged.
    OtherName(String),
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

/// How a hash directory was reached, and the names in it.
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

/// Newest times of an object.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Newest {
    /// Of body and tombstone.
    pub(crate) write: Option<Timestamp>,
    /// Of these and metadata.
    pub(crate) any: Option<Timestamp>,
}

/// The newest times of an object, from its file names alone; waits as [`open`] does.
pub(crate) fn newest(
    place: &Place,
    may_wait: bool,
    counters: &Counters,
) -> Result<Newest, OpenError> {
    let directory = place.directory();
    let Some((_, names)) = list(&directory, may_wait, counters)? else {
        return Ok(Newest::default());
    };
    let layout = Layout::of(&names);
    let write = [layout.data, layout.tombstone].into_iter().flatten().map(|file| file.time).max();
    Ok(Newest { write, any: write.max(layout.meta.map(|meta| meta.time)) })
}

/// How often an object is looked for whose files are replaced while it is opened.
const TRIES: usize = 5;

/// Which object a hash directory must hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected<'a> {
    /// The one of this name (`/account/container/object`).
    Name(&'a str),
    /// Any whose name has this hash.
    Hash(&'a HashConf, &'a PathHash),
}

/// An object's files, each with its own metadata.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) file: File,
    /// As the metadata says.
    pub(crate) length: u64,
    /// Metadata of the data file.
    pub(crate) data: Metadata,
    pub(crate) data_time: Timestamp,
    /// Metadata of the newest metadata file, with the newest content type of any.
    pub(crate) meta: Option<Metadata>,
    /// Newest of data and metadata.
    pub(crate) time: Timestamp,
}

/// What the files of a hash directory are.
#[derive(Debug)]
pub(crate) enum Found {
    Absent,
    /// The tombstone's time and file name.
    Deleted(Timestamp, String),
    Present(Box<Files>),
}

impl Files {
    /// As clients see it.
    fn merged(self) -> Object {
        let Self { file, length, data, data_time, meta, time } = self;
        let mut content_type_time = data_time;
        let metadata = match meta {
            Some(meta) => merge(data, meta, data_time, &mut content_type_time),
            None => data,
        };
        Object { file, length, metadata, data_time, time, content_type_time }
    }

    /// When the content type was set.
    pub(crate) fn content_type_time(&self) -> Timestamp {
        let meta = self.meta.as_ref().and_then(|meta| meta.get(CONTENT_TYPE_TIME));
        meta.and_then(|text| Timestamp::parse(text)).unwrap_or_default().max(self.data_time)
    }

    /// Which file this is.
    pub(crate) fn identity(&self) -> Option<Identity> {
        Identity::of(&self.file, self.data_time)
    }

    /// Checksum of the body, when we wrote it.
    pub(crate) fn crc(&self, counters: &Counters) -> Option<u64> {
        stored_crc(&self.file, counters)
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
    Ok(match find(place, Expected::Name(name), may_wait, counters)? {
        Found::Absent => State::Absent,
        Found::Deleted(time, _) => State::Deleted(time),
        Found::Present(files) => State::Present(Box::new(files.merged())),
    })
}

/// Opens an object's files; waits as [`open`] does.
pub(crate) fn find(
    place: &Place,
    expected: Expected<'_>,
    may_wait: bool,
    counters: &Counters,
) -> Result<Found, OpenError> {
    for _ in 1..TRIES {
        match find_listed(place, expected, may_wait, counters) {
            // Replaced between the listing and the opening: look again, on a device thread.
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
    counters: &Counters,
) -> Result<Found, OpenError> {
    let directory = place.directory();
    let Some((access, names)) = list(&directory, may_wait, counters)? else {
        return Ok(Found::Absent);
    };
    let layout = Layout::of(&names);
    let Some(data) = &layout.data else {
        return Ok(match layout.tombstone {
            Some(tombstone) => Found::Deleted(tombstone.time, tombstone.name),
            None => Found::Absent,
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
        length.ok_or_else(|| OpenError::Corrupt("no Content-Length in the metadata".to_owned()))?;
    if !stored.contains_key("ETag") {
        return Err(OpenError::Corrupt("no ETag in the metadata".to_owned()));
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
    Ok(Found::Present(Box::new(Files {
        file,
        length,
        data: stored,
        data_time: data.time,
        meta: newer,
        time,
    })))
}

/// The name that a tombstone was written for. Waits for the disk.
pub(crate) fn tombstone_name(
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
        return Err(OpenError::Corrupt("no name in the metadata".to_owned()));
    };
    match expected {
        Expected::Name(name) if found == name => Ok(()),
        Expected::Hash(conf, hash) if conf.hash_joined(found) == *hash => Ok(()),
        _ => Err(OpenError::OtherName(found.clone())),
    }
}

/// A file is named after the time in its metadata; a name with another one is damaged.
pub(crate) fn check_time(stored: &Metadata, time: Timestamp) -> Result<(), OpenError> {
    match stored.get("X-Timestamp") {
        Some(found) if Timestamp::parse(found) != Some(time) => {
            Err(OpenError::Corrupt(format!("X-Timestamp {found} in a file of {time}")))
        }
        _ => Ok(()),
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
        .get(CONTENT_TYPE_TIME)
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
    merged.remove(CONTENT_TYPE_TIME);
    merged.extend(data.into_iter().filter(|(name, _)| belongs_to_data(name) || name == "name"));
    if let Some(content_type) = content_type {
        merged.insert("Content-Type".to_owned(), content_type);
    }
    merged
}

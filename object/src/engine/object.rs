//! States, contents and times of stored objects, as every engine reports them.

use std::io;
use std::time::Duration;

use apus_cluster::metadata::belongs_to_data;
use apus_cluster::{HashConf, Metadata, PathHash, Timestamp};
use apus_disk::NowaitRead;

use super::blocks::{Blocks, DecodedBlocks, SMALLEST_BLOCK};

/// In a metadata file: the time at which its content type was set.
pub(crate) const CONTENT_TYPE_TIME: &str = "Content-Type-Timestamp";

/// The bytes of a body and the checksums stored with them.
pub(crate) trait StoredBody: std::fmt::Debug + Send + Sync {
    /// The actual length. Needs no disk access.
    fn length(&self) -> io::Result<u64>;

    /// Distinguishes this body from another one at the same place. Needs no disk access.
    fn id(&self) -> Option<(u64, u64)>;

    /// Reads what is in memory, without waiting for the disk.
    fn read_nowait(&self, buffer: &mut [u8], offset: u64) -> io::Result<NowaitRead>;

    /// Reads; may wait for the disk.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// CRC-64/NVME of the body, if it was stored.
    fn crc(&self) -> Option<u64>;

    /// Whether a CRC is stored, readable or not.
    fn has_crc(&self) -> bool;

    /// Block checksums of a body of `length` bytes, if they were stored.
    fn blocks(&self, length: u64) -> Option<DecodedBlocks>;

    /// Stores checksums of a verified body, durably. Returns whether all of them fitted.
    fn add_checksums(&self, crc: Option<u64>, blocks: Option<Blocks>) -> io::Result<bool>;
}

/// State of an object as clients see it.
#[derive(Debug)]
pub(crate) enum ObjectState {
    /// Nothing is stored.
    Absent,
    /// Deleted at this time.
    Deleted(Timestamp),
    Present(Box<Object>),
}

/// An open object, with data and metadata merged as clients see them.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) body: Box<dyn StoredBody>,
    /// Length according to the metadata; see [`Object::has_its_length`].
    pub(crate) length: u64,
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

    /// Whether the body is as long as the metadata says. Needs no disk access.
    pub(crate) fn has_its_length(&self) -> bool {
        self.body.length().is_ok_and(|length| length == self.length)
    }

    /// Identifies the stored body. Needs no disk access.
    pub(crate) fn identity(&self) -> Option<Identity> {
        Some(Identity { data_time: self.data_time, id: self.body.id()? })
    }

    /// The finest checksums available for the body.
    pub(crate) fn guard(&self) -> Guard {
        match self.blocks() {
            Some(DecodedBlocks::Valid(blocks)) => Guard::Blocks(blocks),
            Some(DecodedBlocks::Damaged) => Guard::Damaged,
            None | Some(DecodedBlocks::Unknown) => match self.body.crc() {
                Some(crc) => Guard::Crc(crc),
                None => Guard::Md5(self.etag().to_owned()),
            },
        }
    }

    /// MD5 of the body in hex, according to the metadata.
    pub(crate) fn etag(&self) -> &str {
        self.metadata.get("ETag").map_or("", String::as_str)
    }

    pub(crate) fn content_type(&self) -> &str {
        self.metadata.get("Content-Type").map_or("", String::as_str)
    }

    /// Block checksums of a body of several blocks, if they were stored.
    pub(crate) fn blocks(&self) -> Option<DecodedBlocks> {
        if self.length <= SMALLEST_BLOCK {
            return None;
        }
        self.body.blocks(self.length)
    }
}

/// What a body can be verified against.
#[derive(Debug)]
pub(crate) enum Guard {
    /// Checksums of its blocks.
    Blocks(Blocks),
    /// The stored block checksums are damaged.
    Damaged,
    /// CRC-64/NVME of the whole body.
    Crc(u64),
    /// MD5 of the whole body, in hex.
    Md5(String),
}

/// Distinguishes a stored body from a later one of the same object and time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) data_time: Timestamp,
    pub(crate) id: (u64, u64),
}

/// Why an object could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Not in memory: open it on a device thread.
    #[error("the object is not in memory")]
    WouldWait,
    /// Damaged; the caller quarantines it.
    #[error("the object is damaged: {0}")]
    Corrupt(String),
    /// The stored name is another object's with the same hash, or damaged.
    #[error("the stored name is {0:?}")]
    OtherName(String),
    #[error("the disk failed")]
    Io(#[source] io::Error),
}

impl OpenError {
    /// The reason for a quarantine; `None` when the stored object is not known to be damaged.
    pub(crate) fn damage(&self) -> Option<String> {
        match self {
            Self::Corrupt(reason) => Some(reason.clone()),
            Self::OtherName(name) => Some(format!("{name:?} does not belong here")),
            Self::WouldWait | Self::Io(_) => None,
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock { Self::WouldWait } else { Self::Io(error) }
    }
}

/// Newest times of an object.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NewestTimes {
    /// Of body and tombstone.
    pub(crate) write: Option<Timestamp>,
    /// Of these and metadata.
    pub(crate) any: Option<Timestamp>,
}

/// Which object a place must hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected<'a> {
    /// The one of this name (`/account/container/object`).
    Name(&'a str),
    /// Any whose name has this hash.
    Hash(&'a HashConf, &'a PathHash),
}

/// An object's body and metadata as they were written separately.
#[derive(Debug)]
pub(crate) struct StoredObject {
    pub(crate) body: Box<dyn StoredBody>,
    /// Length according to the metadata.
    pub(crate) length: u64,
    /// Metadata written with the body.
    pub(crate) data: Metadata,
    pub(crate) data_time: Timestamp,
    /// The newest metadata written later, with the newest content type of any.
    pub(crate) meta: Option<Metadata>,
    /// Newest of data and metadata.
    pub(crate) time: Timestamp,
}

/// State of a place, with body and metadata apart.
#[derive(Debug)]
pub(crate) enum DirectoryState {
    Absent,
    /// The tombstone's time and file name.
    Deleted(Timestamp, String),
    Present(Box<StoredObject>),
}

impl From<DirectoryState> for ObjectState {
    fn from(found: DirectoryState) -> Self {
        match found {
            DirectoryState::Absent => Self::Absent,
            DirectoryState::Deleted(time, _) => Self::Deleted(time),
            DirectoryState::Present(stored) => Self::Present(Box::new(stored.merged())),
        }
    }
}

impl StoredObject {
    /// Merges data and metadata as clients see them.
    fn merged(self) -> Object {
        let Self { body, length, data, data_time, meta, time } = self;
        let mut content_type_time = data_time;
        let metadata = match meta {
            Some(meta) => merge(data, meta, data_time, &mut content_type_time),
            None => data,
        };
        Object { body, length, metadata, data_time, time, content_type_time }
    }

    /// When the content type was set.
    pub(crate) fn content_type_time(&self) -> Timestamp {
        let meta = self.meta.as_ref().and_then(|meta| meta.get(CONTENT_TYPE_TIME));
        meta.and_then(|text| Timestamp::parse(text)).unwrap_or_default().max(self.data_time)
    }

    /// Identifies the stored body. Needs no disk access.
    pub(crate) fn identity(&self) -> Option<Identity> {
        Some(Identity { data_time: self.data_time, id: self.body.id()? })
    }
}

/// Overlays metadata of a POST: system metadata and what describes the body stay.
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

/// What a write stores, and at which times.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Version {
    /// A body with its metadata.
    Data(Timestamp),
    /// A deletion.
    Tombstone(Timestamp),
    /// New metadata of an existing body.
    Metadata {
        time: Timestamp,
        /// When the content type was set, if that was after the body was written.
        content_type: Option<Timestamp>,
    },
}

impl Version {
    /// The time of the write.
    pub(crate) fn time(self) -> Timestamp {
        match self {
            Self::Data(time) | Self::Tombstone(time) | Self::Metadata { time, .. } => time,
        }
    }
}

/// The times that identify the state of an object on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// Of the body or the tombstone.
    pub(crate) data: Timestamp,
    /// Of the newest metadata after it.
    pub(crate) meta: Option<Timestamp>,
    /// Of a content type that was set after the body was written.
    pub(crate) content_type: Option<Timestamp>,
}

/// Age after which tombstones may be removed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reclaim {
    /// The current time, since 1970.
    pub(crate) now: Duration,
    /// Swift's `reclaim_age`.
    pub(crate) age: Duration,
}

impl Reclaim {
    pub(crate) fn is_over(&self, time: Timestamp) -> bool {
        let age = self.now.saturating_sub(Duration::from_secs(time.seconds_ceil()));
        age > self.age || apus_fault::planted("bug.reclaim-at-once")
    }
}

//! Audits one hash directory: the metadata of its files, then the body.
//!
//! It tells what it found and moves nothing.

use std::fs::File;
use std::io;
use std::sync::Arc;

use apus_cluster::{HashConf, Metadata, Timestamp};
use apus_daemon::Pace;
use apus_disk::{Counters, Priority};

use crate::diskfile::blocks::{BlockDigest, Blocks, Stored};
use crate::diskfile::cleanup;
use crate::diskfile::layout::Layout;
use crate::diskfile::metadata::{self, MetadataError};
use crate::diskfile::reader::{self, Object, OpenError, State};
use crate::diskfile::writer::Place;
use crate::server::Server;

/// Bytes of a body that are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// What a hash directory holds.
#[derive(Debug)]
pub(super) enum Examined {
    /// Nothing that counts, or what was there has just been replaced.
    Nothing,
    /// A tombstone: the name of the object, and when it was deleted.
    Deleted(String, Timestamp),
    /// An object, whose body may still be damaged, and its name.
    Object(String, Box<Object>),
    /// What is not as it was written.
    Damaged(String),
}

/// Looks at everything but the body. Waits for the disk.
pub(super) fn examine(place: &Place, hash: &HashConf, counters: &Counters) -> io::Result<Examined> {
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
            Ok(Err(reason)) | Err(MetadataError::Corrupt(reason)) => {
                return Ok(Examined::Damaged(format!("{file}: {reason}")));
            }
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
    Ok(match reader::open(place, &known, true, counters) {
        Ok(State::Absent) => Examined::Nothing,
        Ok(State::Deleted(time)) => Examined::Deleted(known, time),
        Ok(State::Present(object)) if object.has_its_length(counters) => {
            Examined::Object(known, object)
        }
        Ok(State::Present(_)) => {
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

/// The name in the metadata of a file, which must belong where it lies.
fn check(
    stored: &Metadata,
    time: Timestamp,
    place: &Place,
    hash: &HashConf,
) -> Result<String, String> {
    let name = stored.get("name").ok_or("no name in the metadata")?;
    if hash.hash_joined(name) != place.hash {
        return Err(format!("the name {name:?} belongs elsewhere"));
    }
    match reader::check_time(stored, time) {
        Err(OpenError::Corrupt(reason)) => Err(reason),
        _ => Ok(name.clone()),
    }
}

/// What a body adds up to.
struct Sums {
    md5: md5::Context,
    crc: crc_fast::Digest,
    blocks: BlockDigest,
    length: u64,
}

/// What became of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// As it was written.
    Good {
        /// Checksums were added to it.
        added: bool,
    },
    /// Not so.
    Damaged(String),
}

/// Reads a body against all that is known of it, at most at `pace`; when it is good and has no
/// checksums of its own (Swift wrote it) it gets them, so that ranges of it can be checked.
pub(super) async fn body(
    server: &Server,
    device: &str,
    object: &Arc<Object>,
    pace: &mut Pace,
    add_checksums: bool,
) -> io::Result<Body> {
    let failed = |error| io::Error::other(format!("{error:?}"));
    let mut sums = Sums {
        md5: md5::Context::new(),
        crc: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme),
        blocks: BlockDigest::new(),
        length: 0,
    };
    while sums.length < object.length {
        let wanted = usize::try_from(object.length - sums.length).unwrap_or(READ_BYTES);
        let wanted = wanted.min(READ_BYTES);
        pace.take(wanted as f64).await;
        let (object, counters) = (object.clone(), server.parts.counters.clone());
        let work = move || {
            let mut buffer = vec![0; wanted];
            let read = apus_disk::read_at(&object.file, &mut buffer, sums.length, &counters)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            sums.md5.consume(bytes);
            sums.crc.update(bytes);
            sums.blocks.update(bytes);
            sums.length += read as u64;
            Ok::<_, io::Error>((sums, read))
        };
        let done =
            server.devices.run(device, Priority::Background, work).await.map_err(failed)??;
        sums = done.0;
        if done.1 == 0 {
            return Ok(Body::Damaged("shorter than the metadata says".to_owned()));
        }
    }
    let (object, counters) = (object.clone(), server.parts.counters.clone());
    let work = move || compare(&object, sums, add_checksums, &counters);
    let compared = server.devices.run(device, Priority::Background, work).await.map_err(failed)?;
    Ok(compared)
}

fn compare(object: &Object, sums: Sums, add_checksums: bool, counters: &Counters) -> Body {
    let md5 = format!("{:x}", sums.md5.finalize());
    if apus_fault::planted("bug.audit-no-bodies") {
        return Body::Good { added: false };
    }
    if md5 != object.etag() {
        return Body::Damaged(format!("MD5 {md5} is not the ETag {}", object.etag()));
    }
    let crc = sums.crc.finalize();
    let known_crc = object.crc(counters);
    if known_crc.is_some_and(|known| known != crc) {
        return Body::Damaged("CRC is not the stored one".to_owned());
    }
    let mut blocks = sums.blocks.finish();
    match (object.blocks(counters), &mut blocks) {
        (Some(Stored::Blocks(known)), Some(computed)) => {
            while computed.size < known.size && computed.double() {}
            if known != *computed {
                return Body::Damaged("checksums of the blocks are not the stored ones".to_owned());
            }
            blocks = None;
        }
        (Some(Stored::Damaged), _) => {
            return Body::Damaged("checksums of the blocks are damaged".to_owned());
        }
        (Some(Stored::Unknown), _) => blocks = None,
        _ => {}
    }
    // An empty body needs none; one that is there and is none is replaced.
    let needs_crc = known_crc.is_none() && (object.length > 0 || object.has_crc(counters));
    let crc = needs_crc.then_some(crc);
    let added = add_checksums && add(object, crc, blocks, counters);
    Body::Good { added }
}

/// Adds the checksums that are missing, durably. What has no room for them goes without.
fn add(object: &Object, crc: Option<u64>, blocks: Option<Blocks>, counters: &Counters) -> bool {
    if crc.is_none() && blocks.is_none() {
        return false;
    }
    match object.add_checksums(crc, blocks, counters) {
        Ok(added) => added,
        Err(error) => {
            tracing::debug!(%error, "no checksums added");
            false
        }
    }
}

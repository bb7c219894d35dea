//! Writes a body, a tombstone or metadata, durably, in Swift's order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::Metadata;
use apus_disk::{AtomicFile, Committer, Counters, Unnamed};

use super::layout::file_name;
use super::{cleanup, metadata, other_path};
use crate::engine::blocks::{BLOCKS_ATTRIBUTE, BlockDigest};
use crate::engine::object::Version;
use crate::engine::place::{OtherPath, Place};
use crate::engine::{ObjectWriter, OnCommitted, Published};

/// Attribute of ours with the CRC-64/NVME of the body, in 16 hex digits.
pub(crate) const CRC_ATTRIBUTE: &str = "user.apus.crc64nvme";
/// Bytes after which the kernel is asked to write back early.
const WRITEBACK_BYTES: u64 = 8 * 1024 * 1024;
/// Space is reserved for bodies from this length on. A shorter one is written at once, which finds a
/// full disk as early.
const RESERVED_BYTES_MIN: u64 = 1024 * 1024;
/// A larger file is synced alone, so that the small ones of a group do not wait for it.
const SYNC_ALONE_BYTES: u64 = 1024 * 1024;

/// A file that does not have its name yet.
#[derive(Debug)]
pub(super) struct FileWriter {
    place: Place,
    directory: PathBuf,
    /// Set when the file is sealed.
    name: String,
    /// The hash directory was created for this file: nothing can be obsolete in it.
    alone: bool,
    file: AtomicFile,
    blocks: BlockDigest,
    committer: Arc<Committer>,
    written_back: u64,
    synced: bool,
}

impl FileWriter {
    /// Makes the directories and an unnamed file in the hash directory.
    pub(super) fn create(
        place: Place,
        length: Option<u64>,
        committer: &Arc<Committer>,
    ) -> io::Result<Self> {
        let directory = place.directory();
        let temporary = place.device.join(place.policy.suffixed("tmp"));
        let open = || {
            let alone = committer.make_directories(&place.device, &directory)?;
            let file = AtomicFile::create(&directory, &temporary, committer.counters())?;
            Ok::<_, io::Error>((alone, file))
        };
        let (alone, file) = match open() {
            // A concurrent cleanup has just removed the empty directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => open(),
            other => other,
        }?;
        if let Some(length) = length.filter(|length| *length >= RESERVED_BYTES_MIN) {
            file.reserve(length)?;
        }
        let committer = committer.clone();
        let blocks = BlockDigest::new(length);
        Ok(Self {
            place,
            directory,
            name: String::new(),
            alone,
            file,
            blocks,
            committer,
            written_back: 0,
            synced: false,
        })
    }
}

impl ObjectWriter for FileWriter {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)?;
        self.blocks.update(bytes);
        if self.file.length() - self.written_back >= WRITEBACK_BYTES {
            self.file.start_writeback();
            self.written_back = self.file.length();
        }
        Ok(())
    }

    fn mark_shared(&mut self) {
        self.alone = false;
    }

    fn seal(&mut self, version: Version, stored: &Metadata, crc: Option<u64>) -> io::Result<()> {
        self.name = file_name(version);
        let overflow = self.place.overflow(&self.name);
        metadata::write(&self.file, stored, &self.place.device, &overflow, &self.committer)?;
        if let Some(crc) = crc {
            // Optional: a file without room for it is verified by MD5.
            let _ = self.file.set_attribute(CRC_ATTRIBUTE, format!("{crc:016x}").as_bytes());
        }
        let mut blocks = std::mem::replace(&mut self.blocks, BlockDigest::new(None)).finish();
        while let Some(known) = &mut blocks
            && self.file.set_attribute(BLOCKS_ATTRIBUTE, &known.encode()).is_err()
            && known.double()
        {}
        if self.file.length() > SYNC_ALONE_BYTES { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.file.sync()?;
            self.synced = true;
        }
        Ok(())
    }

    fn commit(self: Box<Self>, done: OnCommitted) -> io::Result<Box<dyn Published>> {
        let partition = self.place.partition_directory();
        let suffix = self.place.hash.suffix_dir();
        cleanup::invalidate(&partition, &suffix, self.committer.counters())?;
        apus_fault::point("object.invalidate.done");
        let Self { place, directory, name, alone, file, committer, synced, .. } = *self;
        let (target, root) = (directory.join(&name), place.device.clone());
        committer.commit(Unnamed { file, synced, target, root }, done);
        Ok(Box::new(PublishedFile { place, directory, name, alone, committer }))
    }
}

/// A file that has its name, in a hash directory with possibly obsolete ones.
#[derive(Debug)]
struct PublishedFile {
    place: Place,
    directory: PathBuf,
    name: String,
    alone: bool,
    committer: Arc<Committer>,
}

impl Published for PublishedFile {
    fn settle_other(&self, other: &OtherPath) -> io::Result<()> {
        other_path::settle(other, &self.place, &self.name, &self.committer)
    }

    fn has_obsolete(&self) -> bool {
        !self.alone
    }

    fn remove_obsolete(&self) {
        let Place { device, hash, .. } = &self.place;
        cleanup::remove_obsolete(device, &self.directory, hash, self.committer.counters());
    }
}

/// Quarantines a damaged object, as Swift does (`swift/obj/diskfile.py`, `quarantine_renamer`), and
/// invalidates its suffix, so that replication brings a good copy. Returns whether it was moved.
pub(super) fn quarantine(place: &Place, reason: &str, counters: &Counters) -> bool {
    let kind = place.policy.suffixed("objects");
    let directory: &Path = &place.directory();
    let invalidate = || {
        let suffix = place.hash.suffix_dir();
        cleanup::invalidate(&place.partition_directory(), &suffix, counters)
    };
    let moved = invalidate().and_then(|()| {
        apus_fault::fallible("quarantine.object.invalidated")?;
        let target = apus_disk::quarantine(&place.device, &kind, directory)?;
        apus_fault::point("quarantine.object.moved");
        Ok(target)
    });
    match moved {
        Ok(target) => {
            tracing::error!(object = %directory.display(), to = %target.display(), reason, "Quarantined a damaged object");
            // Again: the suffix may have been hashed in between.
            if let Err(error) = invalidate() {
                tracing::warn!(object = %directory.display(), %error, "Failed to invalidate the suffix of a quarantined object");
            }
            apus_fault::point("quarantine.object.reported");
            true
        }
        Err(error) => {
            tracing::error!(object = %directory.display(), %error, reason, "Failed to quarantine a damaged object");
            false
        }
    }
}

//! Writes a body, a tombstone or metadata, durably, in Swift's order.
//!
//! Blocking: everything here runs on the threads of its device.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::{Metadata, PathHash, PolicyIndex};
use apus_disk::{AtomicFile, Committer, Counters, Unnamed};

use super::blocks::{BLOCKS_ATTRIBUTE, BlockDigest};
use super::cleanup;
use super::metadata;

/// Attribute of ours with the CRC-64/NVME of the body, in 16 hex digits.
pub(crate) const CRC_ATTRIBUTE: &str = "user.apus.crc64nvme";
/// Bytes after which the kernel is told to write back early.
const WRITEBACK_BYTES: u64 = 8 * 1024 * 1024;
/// A file of more bytes is synced alone, so that the small ones of a group do not wait for it.
const SYNC_ALONE_BYTES: u64 = 1024 * 1024;

/// Where one object lies on one device.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) device: PathBuf,
    pub(crate) policy: PolicyIndex,
    pub(crate) partition: u32,
    pub(crate) hash: PathHash,
}

impl Place {
    pub(crate) fn partition_directory(&self) -> PathBuf {
        self.device.join(self.policy.suffixed("objects")).join(self.partition.to_string())
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.partition_directory().join(self.hash.suffix_dir()).join(self.hash.to_string())
    }

    pub(crate) fn overflow(&self, file: &str) -> PathBuf {
        metadata::overflow_path(&self.device, &self.hash, file)
    }
}

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Writer {
    place: Place,
    directory: PathBuf,
    /// The hash directory was made for this file a moment ago: nothing can be obsolete in it.
    alone: bool,
    file: AtomicFile,
    blocks: BlockDigest,
    committer: Arc<Committer>,
    written_back: u64,
    synced: bool,
}

impl Writer {
    /// Makes the directories and an unnamed file in the hash directory.
    pub(crate) fn create(
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
            // Who tidies up has just removed the empty directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => open(),
            other => other,
        }?;
        file.reserve(length.unwrap_or(0))?;
        let committer = committer.clone();
        let blocks = BlockDigest::new();
        Ok(Self {
            place,
            directory,
            alone,
            file,
            blocks,
            committer,
            written_back: 0,
            synced: false,
        })
    }

    /// Appends to the body.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)?;
        self.blocks.update(bytes);
        if self.file.length() - self.written_back >= WRITEBACK_BYTES {
            self.file.start_writeback();
            self.written_back = self.file.length();
        }
        Ok(())
    }

    /// Notes that the body took its time, in which others may have written beside it.
    pub(crate) fn took_long(&mut self) {
        self.alone = false;
    }

    /// Sets metadata; the file can be committed by name after this.
    pub(crate) fn seal(
        &mut self,
        name: &str,
        stored: &Metadata,
        crc: Option<u64>,
    ) -> io::Result<()> {
        let overflow = self.place.overflow(name);
        metadata::write(&self.file, stored, &self.place.device, &overflow, &self.committer)?;
        if let Some(crc) = crc {
            // A help only: what has no room for it is checked by MD5.
            let _ = self.file.set_attribute(CRC_ATTRIBUTE, format!("{crc:016x}").as_bytes());
        }
        let mut blocks = std::mem::replace(&mut self.blocks, BlockDigest::new()).finish();
        while let Some(known) = &mut blocks
            && self.file.set_attribute(BLOCKS_ATTRIBUTE, &known.encode()).is_err()
            && known.double()
        {}
        if self.file.length() > SYNC_ALONE_BYTES { self.sync() } else { Ok(()) }
    }

    /// Makes the sealed file durable before its name is wanted.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.file.sync()?;
            self.synced = true;
        }
        Ok(())
    }

    /// Hands the sealed file to the committer, which calls `done` when it has its name, durably.
    /// Gives what is to be cleaned up after that.
    pub(crate) fn commit(
        self,
        name: &str,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<Option<Obsolete>> {
        let partition = self.place.partition_directory();
        let suffix = self.place.hash.suffix_dir();
        cleanup::invalidate(&partition, &suffix, self.committer.counters())?;
        apus_fault::point("object.invalidate.done");
        let unnamed = Unnamed {
            file: self.file,
            synced: self.synced,
            target: self.directory.join(name),
            root: self.place.device.clone(),
        };
        self.committer.commit(unnamed, done);
        let (place, directory, committer) = (self.place, self.directory, self.committer);
        Ok((!self.alone).then_some(Obsolete { place, directory, committer }))
    }
}

/// A hash directory in which a new file made older ones obsolete.
#[derive(Debug)]
pub(crate) struct Obsolete {
    place: Place,
    directory: PathBuf,
    committer: Arc<Committer>,
}

impl Obsolete {
    /// Removes them.
    pub(crate) fn remove(&self) {
        let Place { device, hash, .. } = &self.place;
        cleanup::remove_obsolete(device, &self.directory, hash, self.committer.counters());
    }
}

/// A file without a body, sealed: a tombstone or metadata.
pub(crate) fn bodiless(
    place: Place,
    name: &str,
    stored: &Metadata,
    committer: &Arc<Committer>,
) -> io::Result<Writer> {
    let mut writer = Writer::create(place, None, committer)?;
    writer.seal(name, stored, None)?;
    Ok(writer)
}

/// Moves a damaged object aside, as Swift does (`swift/obj/diskfile.py`, `quarantine_renamer`),
/// and has its suffix hashed again, so that replication brings a good copy. Says whether it went.
pub(crate) fn quarantine(place: &Place, reason: &str, counters: &Counters) -> bool {
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
            tracing::error!(object = %directory.display(), to = %target.display(), reason, "quarantined");
            // Once more: somebody may have hashed the suffix in between.
            if let Err(error) = invalidate() {
                tracing::warn!(object = %directory.display(), %error, "its suffix is not hashed again");
            }
            apus_fault::point("quarantine.object.told");
            true
        }
        Err(error) => {
            tracing::error!(object = %directory.display(), %error, reason, "quarantine failed");
            false
        }
    }
}

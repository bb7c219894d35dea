//! Writes a body, a tombstone or metadata, durably, in Swift's order.
//!
//! Blocking: everything here runs on the threads of its device.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::{Metadata, PathHash, PolicyIndex};
use apus_disk::{AtomicFile, Counters, make_directories};

use super::cleanup;
use super::metadata;

/// Attribute of ours with the CRC-64/NVME of the body, in 16 hex digits.
pub(crate) const CRC_ATTRIBUTE: &str = "user.apus.crc64nvme";
/// Bytes after which the kernel is told to write back early.
const WRITEBACK_BYTES: u64 = 8 * 1024 * 1024;

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
    made: Vec<PathBuf>,
    file: AtomicFile,
    counters: Arc<Counters>,
    written_back: u64,
}

impl Writer {
    /// Makes the directories and an unnamed file in the hash directory.
    pub(crate) fn create(
        place: Place,
        length: Option<u64>,
        counters: &Arc<Counters>,
    ) -> io::Result<Self> {
        let directory = place.directory();
        let made = make_directories(&place.device, &directory, counters)?;
        let temporary = place.device.join(place.policy.suffixed("tmp"));
        let file = AtomicFile::create(&directory, &temporary, counters)?;
        file.reserve(length.unwrap_or(0))?;
        Ok(Self { place, directory, made, file, counters: counters.clone(), written_back: 0 })
    }

    /// Appends to the body.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)?;
        if self.file.length() - self.written_back >= WRITEBACK_BYTES {
            self.file.start_writeback();
            self.written_back = self.file.length();
        }
        Ok(())
    }

    /// Sets metadata and syncs; the file can be published by name after this.
    pub(crate) fn seal(&self, name: &str, stored: &Metadata, crc: Option<u64>) -> io::Result<()> {
        let overflow = self.place.overflow(name);
        metadata::write(&self.file, stored, &self.place.device, &overflow, &self.counters)?;
        if let Some(crc) = crc {
            // A help only: what has no room for it is checked by MD5.
            let _ = self.file.set_attribute(CRC_ATTRIBUTE, format!("{crc:016x}").as_bytes());
        }
        self.file.sync()
    }

    /// Gives the sealed file its name, durably, and removes what it made obsolete.
    pub(crate) fn publish(self, name: &str) -> io::Result<()> {
        let partition = self.place.partition_directory();
        cleanup::invalidate(&partition, &self.place.hash.suffix_dir(), &self.counters)?;
        self.file.publish(&self.directory.join(name), &self.made)?;
        cleanup::remove_obsolete(
            &self.place.device,
            &self.directory,
            &self.place.hash,
            &self.counters,
        );
        Ok(())
    }
}

/// Writes a file without a body: a tombstone or metadata.
pub(crate) fn write_bodiless(
    place: &Place,
    name: &str,
    stored: &Metadata,
    counters: &Arc<Counters>,
) -> io::Result<()> {
    let writer = Writer::create(place.clone(), None, counters)?;
    writer.seal(name, stored, None)?;
    writer.publish(name)
}

/// Moves a damaged object aside.
pub(crate) fn quarantine(place: &Place, reason: &str) {
    let kind = place.policy.suffixed("objects");
    let directory: &Path = &place.directory();
    match apus_disk::quarantine(&place.device, &kind, directory) {
        Ok(target) => {
            tracing::error!(object = %directory.display(), to = %target.display(), reason, "quarantined");
        }
        Err(error) => {
            tracing::error!(object = %directory.display(), %error, reason, "quarantine failed");
        }
    }
}

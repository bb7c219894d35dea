//! The seam between the object store and the ways to keep objects on a device.
//!
//! [`crate::diskfile`] keeps one file per object in a hash directory. Another engine (fragments of
//! an erasure code, many small objects in one file) implements the same traits and is chosen in
//! [`crate::store`], by policy; handlers, replicator, auditor and SSYNC see these traits only.
//!
//! All methods block on the disk and run on the threads of the device, unless they say otherwise.

pub(crate) mod audit;
pub(crate) mod blocks;
pub(crate) mod object;
pub(crate) mod place;
pub(crate) mod suffix_hashes;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{Metadata, PathHash, PolicyIndex};
use apus_disk::Committer;

use self::audit::{AuditEntry, Examined};
use self::object::{
    DirectoryState, Expected, Identity, NewestTimes, OpenError, Reclaim, Times, Version,
};
use self::place::{OtherPath, Partition, Place};
use self::suffix_hashes::{Consolidated, KnownHashes, SuffixHashes};

/// Everything that an engine does.
pub(crate) trait Engine: ObjectEngine + PartitionEngine + AuditEngine {}

impl<T: ObjectEngine + PartitionEngine + AuditEngine> Engine for T {}

/// Reads and writes single objects.
pub(crate) trait ObjectEngine: Debug + Send + Sync {
    /// Opens an object. Without `may_wait` it runs on any thread, and returns
    /// [`OpenError::WouldWait`] when something is not in memory.
    fn find(
        &self,
        place: &Place,
        expected: Expected<'_>,
        may_wait: bool,
    ) -> Result<DirectoryState, OpenError>;

    /// The newest times of an object, without opening it. Waits as [`ObjectEngine::find`] does.
    fn newest(&self, place: &Place, may_wait: bool) -> Result<NewestTimes, OpenError>;

    /// The name for which a tombstone (`file` of [`DirectoryState::Deleted`]) was written.
    fn tombstone_name(&self, place: &Place, file: &str) -> Result<String, OpenError>;

    /// Which state of an object is stored; `None` when nothing is stored.
    fn times(&self, place: &Place) -> io::Result<Option<Times>>;

    /// Whether the place still holds this very body.
    fn holds(&self, place: &Place, identity: &Identity) -> bool;

    /// Begins a write. `length` is that of the body, if it is known.
    fn create(
        &self,
        place: Place,
        length: Option<u64>,
        committer: &Arc<Committer>,
    ) -> io::Result<Box<dyn ObjectWriter>>;

    /// Quarantines a damaged object and invalidates its suffix, so that replication brings a good
    /// copy. Returns whether it was moved.
    fn quarantine(&self, place: &Place, reason: &str) -> bool;

    /// Removes an object in exactly this state, without a tombstone. Returns whether it was removed.
    fn remove(&self, place: &Place, times: Times) -> io::Result<bool>;
}

/// Lists, hashes and tidies partitions.
pub(crate) trait PartitionEngine: Debug + Send + Sync {
    /// The partitions of a policy on a device, in no order.
    fn partitions(&self, device: &Path, policy: PolicyIndex) -> io::Result<Vec<u32>>;

    /// The suffixes of a partition, sorted; empty when the partition does not exist.
    fn suffixes(&self, partition: &Partition) -> io::Result<Vec<String>>;

    /// The objects of a suffix with their times. Removes what is obsolete on the way.
    fn objects(
        &self,
        partition: &Partition,
        suffix: &str,
        reclaim: &Reclaim,
    ) -> io::Result<Vec<(PathHash, Times)>>;

    /// How many objects and tombstones a suffix has.
    fn count_objects(&self, partition: &Partition, suffix: &str) -> io::Result<u64>;

    /// The stored suffix hashes, after folding in what writers invalidated.
    fn consolidate_hashes(&self, partition: &Partition, now: Duration) -> io::Result<Consolidated>;

    /// Computes the hash of a suffix; `None` when the suffix does not exist. Removes what is
    /// obsolete on the way.
    fn hash_suffix(
        &self,
        partition: &Partition,
        suffix: &str,
        reclaim: &Reclaim,
    ) -> io::Result<Option<String>>;

    /// Stores new hashes, unless the stored ones are no longer `before`. Returns whether it did.
    fn store_hashes(
        &self,
        partition: &Partition,
        before: &SuffixHashes,
        hashes: SuffixHashes,
    ) -> io::Result<bool>;

    /// Marks a suffix to be hashed again.
    fn invalidate(&self, partition: &Partition, suffix: &str) -> io::Result<()>;

    /// Removes a partition in which no object is left. Returns whether it is gone.
    fn remove_if_empty(&self, partition: &Partition) -> io::Result<bool>;

    /// Removes abandoned temporary files of a policy from a device.
    fn sweep_temporary(&self, device: &Path, policy: PolicyIndex, now: Duration);
}

/// Walks over everything that is stored, for the auditor.
pub(crate) trait AuditEngine: Debug + Send + Sync {
    /// Verifies everything of an object but its body.
    fn examine(&self, place: &Place) -> io::Result<Examined>;

    /// The suffixes to visit: existing ones, and those that have a stored hash.
    fn audit_suffixes(&self, partition: &Partition) -> io::Result<Vec<String>>;

    /// The entries of a suffix.
    fn audit_entries(&self, partition: &Partition, suffix: &str) -> io::Result<Vec<AuditEntry>>;

    /// Removes stored suffix hashes that are damaged. Returns whether they were.
    fn remove_damaged_hashes(&self, partition: &Partition) -> io::Result<bool>;

    /// The stored suffix hashes, for [`AuditEngine::invalidate_if_stale`].
    fn known_hashes(&self, partition: &Partition) -> io::Result<KnownHashes>;

    /// Invalidates a suffix whose stored hash is wrong. Returns whether it was. `known` may be older:
    /// a suffix that differs from it is compared with what is stored now.
    fn invalidate_if_stale(
        &self,
        partition: &Partition,
        suffix: &str,
        known: &KnownHashes,
    ) -> io::Result<bool>;

    /// Whether a misnamed directory holds files of an object.
    fn is_misnamed_object(&self, path: &Path) -> io::Result<bool>;

    /// Quarantines a misnamed directory; returns its new path.
    fn quarantine_misnamed(
        &self,
        device: &Path,
        policy: PolicyIndex,
        path: &Path,
    ) -> io::Result<PathBuf>;
}

/// Called with the result when a write is durable.
pub(crate) type OnCommitted = Box<dyn FnOnce(io::Result<()>) + Send>;

/// An object that is being written.
pub(crate) trait ObjectWriter: Debug + Send {
    /// Appends to the body.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Notes that other writes of this object may have happened since the beginning of this one.
    fn mark_shared(&mut self);

    /// Ends the body and sets version and metadata.
    fn seal(&mut self, version: Version, stored: &Metadata, crc: Option<u64>) -> io::Result<()>;

    /// Makes the sealed object durable before it is published.
    fn sync(&mut self) -> io::Result<()>;

    /// Publishes the sealed object. Calls `done` when that is durable.
    fn commit(self: Box<Self>, done: OnCommitted) -> io::Result<Box<dyn Published>>;
}

/// A write that was published, and the work that follows it.
pub(crate) trait Published: Send + Sync {
    /// Gives the object its other path, durably.
    fn settle_other(&self, other: &OtherPath) -> io::Result<()>;

    /// Whether older versions may have become obsolete.
    fn has_obsolete(&self) -> bool;

    /// Removes obsolete versions.
    fn remove_obsolete(&self);
}

/// Writes a version without a body, sealed.
pub(crate) fn write_bodiless(
    engine: &dyn Engine,
    place: Place,
    version: Version,
    stored: &Metadata,
    committer: &Arc<Committer>,
) -> io::Result<Box<dyn ObjectWriter>> {
    let mut writer = engine.create(place, None, committer)?;
    writer.seal(version, stored, None)?;
    Ok(writer)
}

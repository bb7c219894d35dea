//! Counts of the auditor's sweeps.

/// Counts of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub(crate) struct AuditReport {
    /// Objects that were checked.
    pub(crate) passes: u64,
    /// Of these, damaged and quarantined.
    pub(crate) quarantined: u64,
    /// Of these, damaged and left in place, since too many were damaged: an alarm.
    pub(crate) left_damaged: u64,
    /// Failed reads.
    pub(crate) errors: u64,
    /// Bytes of bodies that were read.
    pub(crate) bytes_processed: u64,
    /// Objects to which checksums were added.
    pub(crate) checksums_added: u64,
    /// Objects that were removed at the request of a watcher.
    pub(crate) deleted: u64,
    /// Damaged `hashes.pkl` that were removed.
    pub(crate) hashes_removed: u64,
    /// Suffixes with a wrong hash in `hashes.pkl`.
    pub(crate) hashes_stale: u64,
    /// Damaged row updates that were quarantined.
    pub(crate) updates_quarantined: u64,
    /// Of these, repaired or written again from their objects.
    pub(crate) updates_announced: u64,
}

impl AuditReport {
    pub(super) fn add(&mut self, other: Self) {
        self.passes += other.passes;
        self.quarantined += other.quarantined;
        self.left_damaged += other.left_damaged;
        self.errors += other.errors;
        self.bytes_processed += other.bytes_processed;
        self.checksums_added += other.checksums_added;
        self.deleted += other.deleted;
        self.hashes_removed += other.hashes_removed;
        self.hashes_stale += other.hashes_stale;
        self.updates_quarantined += other.updates_quarantined;
        self.updates_announced += other.updates_announced;
    }
}

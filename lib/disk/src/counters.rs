//! Counts of file system calls, for budgets in tests and for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start of the process, which has one value of this type.
#[derive(Debug, Default)]
pub struct Counters {
    syncs: AtomicU64,
    file_calls: AtomicU64,
    warm_reads: AtomicU64,
    cold_reads: AtomicU64,
}

impl Counters {
    /// Counts one `fsync`, `fdatasync` or `syncfs`.
    pub fn sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts `calls` other file system calls.
    pub fn calls(&self, calls: u64) {
        self.file_calls.fetch_add(calls, Ordering::Relaxed);
    }

    /// Counts a read from memory on the calling thread.
    pub fn warm_read(&self) {
        self.warm_reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a read on a device thread.
    pub fn cold_read(&self) {
        self.cold_reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Other file system calls so far.
    pub fn file_calls(&self) -> u64 {
        self.file_calls.load(Ordering::Relaxed)
    }

    /// Reads from memory, and reads on device threads.
    pub fn reads(&self) -> (u64, u64) {
        (self.warm_reads.load(Ordering::Relaxed), self.cold_reads.load(Ordering::Relaxed))
    }
}

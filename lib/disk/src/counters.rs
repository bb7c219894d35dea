//! What was asked of the file system, counted for budgets in tests and for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the process started; one value per process, handed in at start.
#[derive(Debug, Default)]
pub struct Counters {
    syncs: AtomicU64,
    file_calls: AtomicU64,
    warm_reads: AtomicU64,
    cold_reads: AtomicU64,
}

impl Counters {
    /// Notes one `fsync`, `fdatasync` or `syncfs`.
    pub fn sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes `calls` other file system calls.
    pub fn calls(&self, calls: u64) {
        self.file_calls.fetch_add(calls, Ordering::Relaxed);
    }

    /// Notes a read that was served from memory on the calling thread.
    pub fn warm_read(&self) {
        self.warm_reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a read that had to go to a device's threads.
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

    /// Reads served inline, and reads that went to a device thread.
    pub fn reads(&self) -> (u64, u64) {
        (self.warm_reads.load(Ordering::Relaxed), self.cold_reads.load(Ordering::Relaxed))
    }
}

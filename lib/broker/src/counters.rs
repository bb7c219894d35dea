//! Counters of database operations.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of opens, transactions and writes, for budgets and metrics.
#[derive(Debug, Default)]
pub struct Counters {
    opens: AtomicU64,
    transactions: AtomicU64,
    writes: AtomicU64,
}

impl Counters {
    pub(crate) fn transaction(&self, writes: u64) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(writes, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) {
        self.opens.fetch_add(1, Ordering::Relaxed);
    }

    /// Database files that were opened.
    pub fn opens(&self) -> u64 {
        self.opens.load(Ordering::Relaxed)
    }

    /// Committed transactions.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Writes in them.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }
}

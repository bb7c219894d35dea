//! Counters of a process: disk, databases, and traffic between nodes.

use std::sync::Arc;

use apus_broker::Broker;
use apus_wire::Client;

/// Sources of the counts.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) counters: Arc<apus_disk::Counters>,
    pub(crate) client: Arc<Client>,
    pub(crate) brokers: Vec<Arc<Broker>>,
}

impl Sources {
    pub(crate) fn counts(&self) -> Counts {
        let databases = |of: fn(&apus_broker::Counters) -> u64| {
            self.brokers.iter().map(|broker| of(broker.counters())).sum()
        };
        Counts {
            syncs: self.counters.syncs(),
            file_calls: self.counters.file_calls(),
            thread_hops: self.counters.reads().1,
            database_opens: databases(apus_broker::Counters::opens),
            transactions: databases(apus_broker::Counters::transactions),
            database_writes: databases(apus_broker::Counters::writes),
            backend_requests: self.client.counters().requests(),
            md5_bytes: self.client.counters().md5_bytes(),
        }
    }
}

/// Totals since start, or the difference of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// `fsync`, `fdatasync` and `syncfs`, except those of SQLite.
    pub syncs: u64,
    /// Other file system calls, except those of SQLite.
    pub file_calls: u64,
    /// Reads that went to a device's threads.
    pub thread_hops: u64,
    /// Database files opened, except those that auditors only read.
    pub database_opens: u64,
    /// Committed database transactions; each is one sync in SQLite.
    pub transactions: u64,
    /// Rows and other writes in them.
    pub database_writes: u64,
    /// Requests to account, container and object servers.
    pub backend_requests: u64,
    /// Bytes of bodies that went through MD5.
    pub md5_bytes: u64,
}

impl Counts {
    /// By their names in `/metrics`.
    pub(crate) fn totals(self) -> Vec<(&'static str, u64)> {
        vec![
            ("syncs", self.syncs),
            ("file_calls", self.file_calls),
            ("thread_hops", self.thread_hops),
            ("database_opens", self.database_opens),
            ("database_transactions", self.transactions),
            ("database_writes", self.database_writes),
            ("backend_requests", self.backend_requests),
            ("md5_bytes", self.md5_bytes),
        ]
    }

    /// What was added since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            syncs: self.syncs - before.syncs,
            file_calls: self.file_calls - before.file_calls,
            thread_hops: self.thread_hops - before.thread_hops,
            database_opens: self.database_opens - before.database_opens,
            transactions: self.transactions - before.transactions,
            database_writes: self.database_writes - before.database_writes,
            backend_requests: self.backend_requests - before.backend_requests,
            md5_bytes: self.md5_bytes - before.md5_bytes,
        }
    }
}

//! Counts of a replicator's pass.

use std::collections::BTreeMap;

use apus_ring::Device;

use super::redundancy::Redundancy;

/// Counts of a pass, under Swift's names where there are any.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Replicated {
    /// Databases that were compared.
    pub attempted: u64,
    /// Replicas that are up to date after it.
    pub success: u64,
    /// Replicas that are not.
    pub failure: u64,
    /// Replicas that had everything, as their sync points say.
    pub no_change: u64,
    /// Replicas that had everything, as their hashes say.
    pub hashmatch: u64,
    /// Replicas that had nothing and were sent the whole database.
    pub rsync: u64,
    /// Replicas that had little and were sent the whole database.
    pub remote_merge: u64,
    /// Replicas that were sent rows.
    pub diff: u64,
    /// Replicas that lack more rows than a pass sends.
    pub diff_capped: u64,
    /// Replicas of sharded containers, which get no rows.
    pub deferred: u64,
    /// Databases removed.
    pub remove: u64,
    /// Empty directories removed.
    pub empty: u64,
    /// Damaged databases that were quarantined.
    pub quarantined: u64,
    /// Databases with a primary that could not be brought up to date.
    pub behind: u64,
    /// Rows that replicas still lack.
    pub rows_behind: u64,
    /// Devices of the ring that are not mounted.
    pub unmounted: u64,
    /// Failures by address and device.
    pub failure_nodes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Rows below full redundancy that this node counts.
    pub redundancy: Redundancy,
    /// Whether all databases here were compared.
    #[serde(skip)]
    pub is_whole: bool,
}

impl Replicated {
    pub(super) fn add(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.success += other.success;
        self.failure += other.failure;
        self.no_change += other.no_change;
        self.hashmatch += other.hashmatch;
        self.rsync += other.rsync;
        self.remote_merge += other.remote_merge;
        self.diff += other.diff;
        self.diff_capped += other.diff_capped;
        self.deferred += other.deferred;
        self.remove += other.remove;
        self.empty += other.empty;
        self.quarantined += other.quarantined;
        self.behind += other.behind;
        self.rows_behind += other.rows_behind;
        self.unmounted += other.unmounted;
        self.redundancy.add(other.redundancy);
        for (address, devices) in other.failure_nodes {
            let known = self.failure_nodes.entry(address).or_default();
            for (device, count) in devices {
                *known.entry(device).or_default() += count;
            }
        }
    }

    pub(super) fn failed(&mut self, node: &Device) {
        self.failure += 1;
        let address = node.replication_ip.as_ref().unwrap_or(&node.ip).clone();
        let devices = self.failure_nodes.entry(address).or_default();
        *devices.entry(node.device.clone()).or_default() += 1;
    }
}

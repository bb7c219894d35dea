//! Counts of a replicator sweep, and their recon entries in Swift's form.

use std::collections::{BTreeMap, BTreeSet};

use apus_cluster::PolicyIndex;
use apus_daemon::Span;
use apus_ring::Device;
use serde_json::{Map, Value, json};

use super::redundancy::Redundancy;

/// Counts of one sweep, or of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub(crate) struct Report {
    /// Partitions.
    pub(crate) attempted: u64,
    /// Nodes that have a whole partition now.
    pub(crate) success: u64,
    /// Nodes that could not be asked or refused what they lack.
    pub(crate) failure: u64,
    /// Nodes whose hashes were equal at once.
    pub(crate) hashmatch: u64,
    /// Nodes to which something was to be sent.
    pub(crate) synced: u64,
    /// Suffixes that were compared, computed, and sent.
    pub(crate) suffixes_checked: u64,
    pub(crate) suffixes_hashed: u64,
    pub(crate) suffixes_synced: u64,
    /// Bodies, metadata and tombstones that were sent.
    pub(crate) objects_sent: u64,
    /// Handoff objects that were removed, since their primaries have them.
    pub(crate) objects_removed: u64,
    /// Handoff partitions that were removed, and that are left.
    pub(crate) removed: u64,
    pub(crate) handoffs_left: u64,
    /// Primary partitions of which another primary did not have everything in the end, or could
    /// not be asked.
    pub(crate) partitions_behind: u64,
    /// Objects that a node requested and did not receive, without those of nodes that could not be
    /// asked.
    pub(crate) objects_behind: u64,
    /// Old objects of a device that was away for long which no other node has: not sent.
    pub(crate) suspect: u64,
    /// Devices that are missing or not mounted.
    pub(crate) devices_missing: u64,
    /// Failures by address and device.
    pub(crate) failure_nodes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Objects below full redundancy that this node counts, by policy.
    pub(crate) redundancy: BTreeMap<u32, Redundancy>,
    /// Policies of which all partitions here were compared.
    #[serde(skip)]
    pub(crate) compared: BTreeSet<u32>,
}

impl Report {
    pub(crate) fn failed(&mut self, node: &Device) {
        self.failure += 1;
        let ip = node.replication_ip.clone().unwrap_or_else(|| node.ip.clone());
        *self.failure_nodes.entry(ip).or_default().entry(node.device.clone()).or_default() += 1;
    }

    pub(super) fn redundancy(&mut self, policy: PolicyIndex, counts: Redundancy) {
        self.redundancy.entry(policy.0).or_default().add(counts);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.success += other.success;
        self.failure += other.failure;
        self.hashmatch += other.hashmatch;
        self.synced += other.synced;
        self.suffixes_checked += other.suffixes_checked;
        self.suffixes_hashed += other.suffixes_hashed;
        self.suffixes_synced += other.suffixes_synced;
        self.objects_sent += other.objects_sent;
        self.objects_removed += other.objects_removed;
        self.removed += other.removed;
        self.handoffs_left += other.handoffs_left;
        self.partitions_behind += other.partitions_behind;
        self.objects_behind += other.objects_behind;
        self.suspect += other.suspect;
        self.devices_missing += other.devices_missing;
        self.compared.extend(other.compared);
        for (policy, counts) in other.redundancy {
            self.redundancy.entry(policy).or_default().add(counts);
        }
        for (ip, devices) in other.failure_nodes {
            let known = self.failure_nodes.entry(ip).or_default();
            for (device, count) in devices {
                *known.entry(device).or_default() += count;
            }
        }
    }

    /// The entries of `object.recon` (`swift/obj/replicator.py`, `update_recon`); times in minutes.
    pub(crate) fn recon(&self, span: Span) -> Map<String, Value> {
        let stats = json!({
            "attempted": self.attempted,
            "failure": self.failure,
            "hashmatch": self.hashmatch,
            "remove": self.removed,
            "rsync": self.synced,
            "success": self.success,
            "suffix_count": self.suffixes_checked,
            "suffix_hash": self.suffixes_hashed,
            "suffix_sync": self.suffixes_synced,
            "failure_nodes": self.failure_nodes,
            // Ours.
            "objects_sent": self.objects_sent,
            "objects_removed": self.objects_removed,
            "objects_behind": self.objects_behind,
            "partitions_behind": self.partitions_behind,
            "handoffs_left": self.handoffs_left,
            "suspect": self.suspect,
            "devices_missing": self.devices_missing,
        });
        let minutes: Value = (span.seconds() / 60.0).into();
        let ended: Value = span.ended.as_secs_f64().into();
        let mut entries = Map::from_iter([
            ("replication_stats".to_owned(), stats),
            ("replication_time".to_owned(), minutes.clone()),
            ("replication_last".to_owned(), ended.clone()),
            ("object_replication_time".to_owned(), minutes),
            ("object_replication_last".to_owned(), ended.clone()),
        ]);
        // After a sweep of a part of the node the numbers of the last whole one stay.
        if !self.compared.is_empty() {
            let counts = self.compared.iter().map(|policy| {
                let counts = self.redundancy.get(policy).copied().unwrap_or_default();
                (policy.to_string(), json!(counts))
            });
            entries.insert("object_redundancy".to_owned(), Value::Object(counts.collect()));
            entries.insert("object_redundancy_last".to_owned(), ended);
        }
        entries
    }
}

//! The order of nodes: primaries, then handoffs, the avoided ones last of their kind.

use apus_ring::{Device, Ring};
use apus_wire::Client;

/// The nodes of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    pub(crate) partition: u32,
    pub(crate) primaries: Vec<Device>,
    pub(crate) handoffs: Vec<Device>,
}

/// Handoffs that are asked at most, per primary (Swift's `request_node_count = 2 * replicas`).
const HANDOFFS_PER_PRIMARY: usize = 1;

impl Nodes {
    pub(crate) fn new(ring: &Ring, partition: u32) -> Self {
        let primaries: Vec<Device> = ring.primaries(partition).into_iter().cloned().collect();
        let handoffs = ring
            .handoffs(partition)
            .take(primaries.len() * HANDOFFS_PER_PRIMARY)
            .cloned()
            .collect();
        Self { partition, primaries, handoffs }
    }

    /// Primaries for reading: in a different order for every request, so that load spreads;
    /// those being avoided come last.
    pub(crate) fn shuffled_primaries(&self, client: &Client, turn: u64) -> Vec<Device> {
        let mut nodes = self.primaries.clone();
        if !nodes.is_empty() {
            let by = usize::try_from(turn).unwrap_or(0) % nodes.len();
            nodes.rotate_left(by);
        }
        nodes.sort_by_key(|node| client.is_limited(node));
        nodes
    }
}

//! The tree of failure domains: region → zone → server (by address) → device.
//!
//! Nodes stand in one vector, parents before their children, so that going through it backwards
//! sums from the leaves up. Devices without weight are in the tree, since they may still hold
//! partitions, but they give no node a share.
#![allow(clippy::indexing_slicing, reason = "every node's number is an index made by `Tiers::new`")]

use std::collections::HashMap;

use crate::builder::RingBuilder;
use crate::device::DeviceId;
use crate::ring::NO_DEVICE;

/// Levels below the root.
pub(in crate::builder) const LEVELS: usize = 4;
/// The root's number.
pub(in crate::builder) const ROOT: usize = 0;

/// The tree.
#[derive(Debug)]
pub(in crate::builder) struct Tiers {
    /// Children of each node; none of a device.
    pub(in crate::builder) children: Vec<Vec<u32>>,
    /// The device that a leaf stands for, else [`NO_DEVICE`].
    pub(in crate::builder) device: Vec<DeviceId>,
    /// Sum of the weights below each node.
    pub(in crate::builder) weight: Vec<f64>,
    /// Devices with weight below each node.
    pub(in crate::builder) weighted_devices: Vec<u32>,
    /// Numbers of the nodes from region to device, by device id; all [`ROOT`] for a hole.
    paths: Vec<[u32; LEVELS]>,
}

impl Tiers {
    pub(in crate::builder) fn new(builder: &RingBuilder) -> Self {
        let mut tiers = Self {
            children: vec![vec![]],
            device: vec![NO_DEVICE],
            weight: vec![0.0],
            weighted_devices: vec![0],
            paths: vec![[ROOT as u32; LEVELS]; builder.devices.len()],
        };
        let mut inner: HashMap<(usize, u32, u32, &str), u32> = HashMap::new();
        for device in builder.devices().map(|device| &device.device) {
            let Some(mut path) = tiers.paths.get(device.id as usize).copied() else { continue };
            let keys = [
                (1, device.region, 0, ""),
                (2, device.region, device.zone, ""),
                (3, device.region, device.zone, device.ip.as_str()),
            ];
            let mut node = ROOT as u32;
            for (step, key) in path.iter_mut().zip(keys) {
                node = *inner.entry(key).or_insert_with(|| tiers.grow(node, NO_DEVICE));
                *step = node;
            }
            path[LEVELS - 1] = tiers.grow(node, device.id);
            if device.weight > 0.0 {
                for node in path.iter().map(|node| *node as usize).chain([ROOT]) {
                    tiers.weight[node] += device.weight;
                    tiers.weighted_devices[node] += 1;
                }
            }
            tiers.paths[device.id as usize] = path;
        }
        tiers
    }

    fn grow(&mut self, parent: u32, device: DeviceId) -> u32 {
        let node = self.children.len() as u32;
        self.children[parent as usize].push(node);
        self.children.push(vec![]);
        self.device.push(device);
        self.weight.push(0.0);
        self.weighted_devices.push(0);
        node
    }

    /// Number of nodes, the root included.
    pub(in crate::builder) fn len(&self) -> usize {
        self.children.len()
    }

    /// Nodes from region to device.
    pub(in crate::builder) fn path(&self, device: DeviceId) -> &[u32; LEVELS] {
        &self.paths[device as usize]
    }

    /// Whether an id of a row names a device of this tree.
    pub(in crate::builder) fn knows(&self, device: DeviceId) -> bool {
        self.paths.get(device as usize).is_some_and(|path| path[0] != ROOT as u32)
    }

    /// Children that have weight.
    pub(in crate::builder) fn weighted_children(
        &self,
        node: usize,
    ) -> impl Iterator<Item = usize> + '_ {
        self.children[node]
            .iter()
            .map(|child| *child as usize)
            .filter(|child| self.weighted_devices[*child] > 0)
    }

    /// Most replicas of one partition that each node may hold without being the worse for it:
    /// at every level an even share among siblings with weight, rounded up; 1 for a device, 0
    /// for what has no weight. Source: `_build_max_replicas_by_tier` of Swift's builder.
    pub(in crate::builder) fn limits(&self, replicas: f64) -> Vec<u32> {
        let mut limits = vec![0u32; self.len()];
        limits[ROOT] = replicas.ceil() as u32;
        for node in 0..self.len() {
            let siblings = self.weighted_children(node).count().max(1);
            let share = if node == ROOT { replicas } else { f64::from(limits[node]) };
            let share = (share / siblings as f64).ceil() as u32;
            for child in self.children[node].iter().map(|child| *child as usize) {
                if self.weighted_devices[child] > 0 {
                    limits[child] =
                        if self.device[child] == NO_DEVICE { share } else { share.min(1) };
                }
            }
        }
        limits
    }
}

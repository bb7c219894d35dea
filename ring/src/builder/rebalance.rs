//! Gathers partition replicas that should move and places them anew.
//!
//! Every device has a *target*: its share of all partition replicas by weight, in whole numbers
//! whose sum is exact (largest remainders), stretched by `overload` where the failure domains
//! need it. A rebalance then
//!
//! 1. drops the assignments of removed devices and of replicas that no longer exist;
//! 2. gathers at most one replica of a partition, and none of a partition that moved within
//!    `min_part_hours`, from devices above their target and from failure domains that hold more
//!    replicas of the partition than an even spread would, while another domain has room;
//! 3. places each gathered replica by walking down the tree region → zone → node → device: at
//!    each level among the domains with room the one with the fewest replicas of this partition,
//!    and of those the one that lacks most. A device never gets a second replica of a partition
//!    while another is left without.
//!
//! Ties are broken by a seeded generator, so a seed gives one ring.

use std::collections::{BTreeMap, HashMap};

use super::RingBuilder;
use crate::device::DeviceId;
use crate::ring::NO_DEVICE;

/// What a rebalance did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rebalanced {
    /// Partition replicas that got another device.
    pub moved: u64,
    /// Devices that were removed for good.
    pub removed: u64,
}

/// The tree of failure domains, nodes in one vector; the root is node 0.
#[derive(Debug)]
pub(super) struct Tiers {
    children: Vec<Vec<usize>>,
    parent: Vec<usize>,
    device: HashMap<DeviceId, usize>,
    leaf_device: HashMap<usize, DeviceId>,
    weighted: Vec<bool>,
}

impl Tiers {
    /// Tree nodes from a device up, without the root.
    pub(super) fn path(&self, device: DeviceId) -> impl Iterator<Item = usize> + '_ {
        let mut next = self.device.get(&device).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            let node = next;
            next = self.parent.get(node).copied().unwrap_or(0);
            (node != 0).then_some(node)
        })
    }

    fn weighted_children(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.children
            .get(node)
            .into_iter()
            .flatten()
            .copied()
            .filter(|child| self.weighted.get(*child).copied().unwrap_or(false))
    }

    /// Most replicas an even spread of `replicas` puts into a tree node.
    pub(super) fn replicas_max(&self, node: usize, replicas: usize) -> u32 {
        if node == 0 {
            return u32::try_from(replicas).unwrap_or(u32::MAX);
        }
        let parent = self.parent.get(node).copied().unwrap_or(0);
        let above = self.replicas_max(parent, replicas);
        let siblings = u32::try_from(self.weighted_children(parent).count()).unwrap_or(1).max(1);
        above.div_ceil(siblings)
    }
}

/// SplitMix64: small, seeded, and good enough to break ties.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

struct Placer {
    tiers: Tiers,
    /// Replicas that each tree node may still take.
    room: Vec<i64>,
    random: Random,
}

impl RingBuilder {
    pub(super) fn tiers(&self) -> Tiers {
        let mut tiers = Tiers {
            children: vec![vec![]],
            parent: vec![0],
            device: HashMap::new(),
            leaf_device: HashMap::new(),
            weighted: vec![true],
        };
        let mut known: BTreeMap<(u32, u32, &str, u32), usize> = BTreeMap::new();
        for device in self.devices() {
            let device = &device.device;
            let keys = [
                (device.region, u32::MAX, "", u32::MAX),
                (device.region, device.zone, "", u32::MAX),
                (device.region, device.zone, device.ip.as_str(), u32::MAX),
                (device.region, device.zone, device.ip.as_str(), device.id),
            ];
            let mut node = 0;
            for key in keys {
                node = *known.entry(key).or_insert_with(|| {
                    let child = tiers.children.len();
                    tiers.children.push(vec![]);
                    tiers.parent.push(node);
                    tiers.weighted.push(false);
                    if let Some(children) = tiers.children.get_mut(node) {
                        children.push(child);
                    }
                    child
                });
                if device.weight > 0.0
                    && let Some(weighted) = tiers.weighted.get_mut(node)
                {
                    *weighted = true;
                }
            }
            tiers.device.insert(device.id, node);
            tiers.leaf_device.insert(node, device.id);
        }
        tiers
    }

    /// Whole numbers of partition replicas per device that follow the weights and sum up.
    fn targets(&self, total: u64) -> HashMap<DeviceId, i64> {
        let mut shares: Vec<(DeviceId, f64)> = self
            .devices()
            .map(|device| (device.device.id, self.target_parts(device.device.weight)))
            .collect();
        let mut targets: HashMap<DeviceId, i64> =
            shares.iter().map(|(id, share)| (*id, share.floor() as i64)).collect();
        let assigned: i64 = targets.values().sum();
        let missing = usize::try_from(i64::try_from(total).unwrap_or(0) - assigned).unwrap_or(0);
        shares.retain(|(_, share)| *share > 0.0);
        shares.sort_by(|a, b| {
            let rest = |share: f64| share - share.floor();
            rest(b.1).total_cmp(&rest(a.1)).then(a.0.cmp(&b.0))
        });
        for (id, _) in shares.iter().cycle().take(if shares.is_empty() { 0 } else { missing }) {
            *targets.entry(*id).or_default() += 1;
        }
        targets
    }

    /// Hours that passed since moves were last noted, folded into `last_moves`.
    fn age_moves(&mut self, now_seconds: u64) {
        let hours = now_seconds.saturating_sub(self.last_moves_epoch) / 3600;
        if self.last_moves.len() != self.partitions() {
            self.last_moves = vec![u8::MAX; self.partitions()];
        }
        if hours > 0 || self.last_moves_epoch == 0 {
            let hours = u8::try_from(hours).unwrap_or(u8::MAX);
            for age in &mut self.last_moves {
                *age = age.saturating_add(hours);
            }
            self.last_moves_epoch = now_seconds;
        }
    }

    /// Seconds until a partition that moved last may move again.
    pub fn min_part_seconds_left(&self, now_seconds: u64) -> u64 {
        let newest = self.last_moves.iter().min().copied().map_or(u64::from(u8::MAX), u64::from);
        let passed = now_seconds.saturating_sub(self.last_moves_epoch) + newest * 3600;
        (self.min_part_hours * 3600).saturating_sub(passed)
    }

    /// Lets every partition move again.
    pub fn pretend_min_part_hours_passed(&mut self) {
        self.last_moves = vec![u8::MAX; self.partitions()];
    }

    /// Places partitions. `now_seconds` is the time since 1970, `seed` breaks ties.
    ///
    /// # Errors
    /// When there is no device with weight.
    pub fn rebalance(&mut self, now_seconds: u64, seed: u64) -> Result<Rebalanced, String> {
        if !self.devices().any(|device| device.device.weight > 0.0) {
            return Err("there are no devices with weight in this ring".to_owned());
        }
        self.age_moves(now_seconds);
        let parts = self.partitions();
        let before = self.rows.clone();
        let removed = self.forget_removed();
        self.resize_rows();
        let total: u64 = self.rows.iter().map(|row| row.len() as u64).sum();
        let targets = self.targets(total);
        let tiers = self.tiers();
        let mut room = vec![0i64; tiers.children.len()];
        for (id, target) in &targets {
            let stretched = (*target as f64 * (1.0 + self.overload)).ceil() as i64;
            let target = if self.overload > 0.0 { stretched } else { *target };
            for node in tiers.path(*id) {
                if let Some(room) = room.get_mut(node) {
                    *room += target;
                }
            }
        }
        for id in self.rows.iter().flatten().filter(|id| **id != NO_DEVICE) {
            for node in tiers.path(*id) {
                if let Some(room) = room.get_mut(node) {
                    *room -= 1;
                }
            }
        }
        let mut placer = Placer { tiers, room, random: Random(seed) };
        let start = (placer.random.next() % parts as u64) as usize;
        let order: Vec<usize> = (start..parts).chain(0..start).collect();
        self.gather_undispersed(&mut placer, &order);
        self.gather_overweight(&mut placer, &order);
        for part in order {
            self.place(&mut placer, part);
        }
        let mut moved = 0;
        for part in 0..parts {
            let mut changed = false;
            for (replica, row) in self.rows.iter().enumerate() {
                let old = before.get(replica).and_then(|row| row.get(part));
                if row.get(part) != old && row.get(part).is_some() {
                    moved += 1;
                    changed |= old.is_some();
                }
            }
            if changed && let Some(age) = self.last_moves.get_mut(part) {
                *age = 0;
            }
        }
        self.count_parts(&targets);
        self.devices_changed = false;
        self.version += 1;
        self.dispersion = self.dispersion().percent;
        Ok(Rebalanced { moved, removed })
    }

    fn count_parts(&mut self, targets: &HashMap<DeviceId, i64>) {
        let mut held: HashMap<DeviceId, u64> = HashMap::new();
        for id in self.rows.iter().flatten() {
            *held.entry(*id).or_default() += 1;
        }
        for device in self.devices.iter_mut().flatten() {
            device.parts = held.get(&device.device.id).copied().unwrap_or(0);
            device.parts_wanted = targets.get(&device.device.id).copied().unwrap_or(0)
                - i64::try_from(device.parts).unwrap_or(i64::MAX);
        }
    }

    fn forget_removed(&mut self) -> u64 {
        let removed = std::mem::take(&mut self.removed);
        for id in self.rows.iter_mut().flatten() {
            if removed.contains(id) {
                *id = NO_DEVICE;
            }
        }
        for id in &removed {
            if let Some(slot) = self.devices.get_mut(*id as usize) {
                *slot = None;
            }
        }
        removed.len() as u64
    }

    /// Fits the rows to the replica count: a fractional last row is short.
    fn resize_rows(&mut self) {
        let parts = self.partitions();
        let whole = self.replicas.floor() as usize;
        let rest = ((self.replicas - self.replicas.floor()) * parts as f64) as usize;
        let mut lengths = vec![parts; whole];
        if rest > 0 {
            lengths.push(rest);
        }
        self.rows.resize(lengths.len(), Vec::new());
        for (row, length) in self.rows.iter_mut().zip(lengths) {
            row.resize(length, NO_DEVICE);
        }
    }

    fn may_move(&self, part: usize) -> bool {
        let rested =
            self.last_moves.get(part).is_none_or(|age| u64::from(*age) >= self.min_part_hours);
        // A partition that already lost a replica keeps the others where they are.
        rested && self.part_devices(part).all(|id| id != NO_DEVICE)
    }

    fn take(&mut self, placer: &mut Placer, part: usize, id: DeviceId) {
        for row in &mut self.rows {
            if let Some(slot) = row.get_mut(part)
                && *slot == id
            {
                *slot = NO_DEVICE;
                placer.change_room(id, 1);
                return;
            }
        }
    }

    /// Takes a replica from a domain that holds more of its partition than an even spread would,
    /// if some other domain at that level holds fewer and has room.
    fn gather_undispersed(&mut self, placer: &mut Placer, order: &[usize]) {
        for part in order {
            if !self.may_move(*part) {
                continue;
            }
            let devices: Vec<DeviceId> = self.part_devices(*part).collect();
            let counts = placer.counts(&devices);
            let victim = devices.iter().find(|id| {
                placer.tiers.path(**id).any(|node| {
                    let held = counts.get(&node).copied().unwrap_or(0);
                    let parent = placer.tiers.parent.get(node).copied().unwrap_or(0);
                    held > placer.tiers.replicas_max(node, devices.len())
                        && placer.tiers.weighted_children(parent).any(|sibling| {
                            counts.get(&sibling).copied().unwrap_or(0) + 1 < held
                                && placer.room.get(sibling).is_some_and(|room| *room > 0)
                        })
                })
            });
            if let Some(victim) = victim.copied() {
                self.take(placer, *part, victim);
            }
        }
    }

    fn gather_overweight(&mut self, placer: &mut Placer, order: &[usize]) {
        for part in order {
            if !self.may_move(*part) {
                continue;
            }
            let worst = self
                .part_devices(*part)
                .map(|id| (placer.device_room(id), id))
                .min()
                .filter(|(room, _)| *room < 0);
            if let Some((_, id)) = worst {
                self.take(placer, *part, id);
            }
        }
    }

    fn place(&mut self, placer: &mut Placer, part: usize) {
        for replica in 0..self.rows.len() {
            let empty = self.rows.get(replica).and_then(|row| row.get(part)) == Some(&NO_DEVICE);
            if !empty {
                continue;
            }
            let devices: Vec<DeviceId> =
                self.part_devices(part).filter(|id| *id != NO_DEVICE).collect();
            let id = placer.choose(&devices);
            if let Some(slot) = self.rows.get_mut(replica).and_then(|row| row.get_mut(part)) {
                *slot = id;
            }
            placer.change_room(id, -1);
        }
    }
}

impl Placer {
    fn counts(&self, devices: &[DeviceId]) -> HashMap<usize, u32> {
        let mut counts = HashMap::new();
        for node in devices.iter().flat_map(|id| self.tiers.path(*id)) {
            *counts.entry(node).or_default() += 1;
        }
        counts
    }

    fn device_room(&self, id: DeviceId) -> i64 {
        self.tiers.device.get(&id).and_then(|node| self.room.get(*node)).copied().unwrap_or(0)
    }

    fn change_room(&mut self, id: DeviceId, change: i64) {
        let nodes: Vec<usize> = self.tiers.path(id).collect();
        for node in nodes {
            if let Some(room) = self.room.get_mut(node) {
                *room += change;
            }
        }
    }

    fn choose(&mut self, devices: &[DeviceId]) -> DeviceId {
        let counts = self.counts(devices);
        let mut node = 0;
        while let Some(children) =
            self.tiers.children.get(node).filter(|children| !children.is_empty()).cloned()
        {
            let level_is_devices = children.iter().all(|c| self.tiers.leaf_device.contains_key(c));
            let mut best = None;
            for child in children {
                if !self.tiers.weighted.get(child).copied().unwrap_or(false) {
                    continue;
                }
                let held = counts.get(&child).copied().unwrap_or(0);
                let room = self.room.get(child).copied().unwrap_or(0);
                // A second replica on one device is worse than an overfull device; in wider
                // domains room comes first, since a replica there is still another device.
                let key = if level_is_devices {
                    (u32::from(held > 0), u32::from(room <= 0), held, -room, self.random.next())
                } else {
                    let full = u32::from(room <= 0 || self.exhausted(child, &counts));
                    (full, held, 0, -room, self.random.next())
                };
                if best.as_ref().is_none_or(|(known, _)| key < *known) {
                    best = Some((key, child));
                }
            }
            match best {
                Some((_, child)) => node = child,
                None => break,
            }
        }
        self.tiers.leaf_device.get(&node).copied().unwrap_or(NO_DEVICE)
    }

    /// Whether every device with weight below the node already has a replica.
    fn exhausted(&self, node: usize, counts: &HashMap<usize, u32>) -> bool {
        if self.tiers.leaf_device.contains_key(&node) {
            return counts.get(&node).copied().unwrap_or(0) > 0;
        }
        self.tiers.weighted_children(node).all(|child| self.exhausted(child, counts))
    }
}

//! Placement during a rebalance, and the faults that a move adds or removes.
//!
//! Each node of the tree has a range of how many replicas of one partition it ought to hold: its
//! share of all replicas over the number of partitions, rounded down and up. A replica outside of
//! such a range is a *fault* of its partition; moves are judged by how many faults they add or
//! remove. A second replica on one device is not a fault but forbidden.
#![allow(clippy::indexing_slicing, reason = "ids in rows are checked before a board is made")]

use super::random::Random;
use super::tiers::{LEVELS, ROOT, Tiers};
use crate::device::DeviceId;
use crate::ring::NO_DEVICE;

/// What may be moved of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// Any one replica.
    Open,
    /// Nothing.
    Shut,
    /// Only replicas that were placed in this rebalance: they have no data yet.
    Placed,
}

pub(super) struct Board<'a> {
    pub(super) tiers: &'a Tiers,
    pub(super) rows: &'a mut [Vec<DeviceId>],
    /// Rows as they were; what differs from them was placed in this rebalance.
    pub(super) before: &'a [Vec<DeviceId>],
    /// By device: replicas it should hold less those it holds.
    pub(super) room: Vec<i64>,
    pub(super) locks: Vec<Lock>,
    /// By node: replicas of one partition that it ought to hold.
    least: Vec<u32>,
    most: Vec<u32>,
    /// Devices that have room, each as often as it has; some may have been filled meanwhile.
    openings: Vec<DeviceId>,
    pub(super) share: &'a [i64],
    pub(super) random: Random,
    /// Where passes over the partitions begin.
    pub(super) start: usize,
}

impl<'a> Board<'a> {
    pub(super) fn new(
        tiers: &'a Tiers,
        rows: &'a mut [Vec<DeviceId>],
        before: &'a [Vec<DeviceId>],
        locks: Vec<Lock>,
        (share, held): (&'a [i64], &[i64]),
        (random, start): (Random, usize),
    ) -> Self {
        let partitions = locks.len() as i64;
        let mut board = Self {
            tiers,
            rows,
            before,
            room: vec![],
            locks,
            least: share.iter().map(|share| (share / partitions) as u32).collect(),
            most: share
                .iter()
                .map(|share| (share + partitions - 1) / partitions)
                .map(|most| most as u32)
                .collect(),
            openings: vec![],
            share,
            random,
            start,
        };
        for (node, device) in tiers.device.iter().enumerate() {
            if *device == NO_DEVICE {
                continue;
            }
            let id = *device as usize;
            board.room.resize(board.room.len().max(id + 1), 0);
            board.room[id] = share[node] - held[node];
            for _ in 0..board.room[id] {
                board.openings.push(*device);
            }
        }
        board
    }

    /// All partitions from the start on, in steps of the golden section: wherever a pass ends, the
    /// partitions that it moved are spread evenly over the ring. (Handoffs are looked for along the
    /// ring; a device whose partitions all stood close together would be far from most others.)
    pub(super) fn partitions(&self) -> impl Iterator<Item = usize> + use<> {
        let (start, count) = (self.start, self.locks.len());
        // Odd, so that it meets every partition: their number is a power of two.
        let step = (count as f64 * 0.618_033_988_75) as usize | 1;
        (0..count).map(move |turn| start.wrapping_add(turn.wrapping_mul(step)) & (count - 1))
    }

    /// Devices of a partition by row, without empty places.
    pub(super) fn held(&self, part: usize, held: &mut Vec<(usize, DeviceId)>) {
        held.clear();
        for (row, ids) in self.rows.iter().enumerate() {
            if let Some(id) = ids.get(part).copied().filter(|id| *id != NO_DEVICE) {
                held.push((row, id));
            }
        }
    }

    /// Whether the replica in this row may be put elsewhere.
    pub(super) fn may_move(&self, part: usize, row: usize) -> bool {
        match self.locks[part] {
            Lock::Open => true,
            Lock::Shut => false,
            Lock::Placed => {
                self.before.get(row).and_then(|ids| ids.get(part)) != self.rows[row].get(part)
            }
        }
    }

    /// Replicas on devices that hold too many.
    pub(super) fn surplus(&self) -> i64 {
        self.room.iter().filter(|room| **room < 0).map(|room| -room).sum()
    }

    /// Faults that a replica on `to` adds (negative: takes away), when it comes from `from` or
    /// from nowhere. `None` when `to` has one already.
    pub(super) fn faults(
        &self,
        held: &[(usize, DeviceId)],
        from: Option<DeviceId>,
        to: DeviceId,
    ) -> Option<i32> {
        let mut faults = 0;
        let to_path = self.tiers.path(to);
        let from_path = from.map(|from| self.tiers.path(from));
        for level in 0..LEVELS {
            let to = to_path[level];
            if let Some(from) = from_path.map(|path| path[level]) {
                if from == to {
                    continue;
                }
                let count = self.count(held, level, from);
                let most = self.most[from as usize];
                // Leaving what is being emptied pays for no fault elsewhere.
                if most > 0 && count > most {
                    faults -= 1;
                } else if count <= self.least[from as usize] {
                    faults += 1;
                }
            }
            let count = self.count(held, level, to);
            if level == LEVELS - 1 && count > 0 {
                return None;
            }
            if count < self.least[to as usize] {
                faults -= 1;
            } else if count >= self.most[to as usize] {
                faults += 1;
            }
        }
        // A move from a device to itself changes nothing.
        (from != Some(to)).then_some(faults)
    }

    fn count(&self, held: &[(usize, DeviceId)], level: usize, node: u32) -> u32 {
        held.iter().filter(|(_, id)| self.tiers.path(*id)[level] == node).count() as u32
    }

    /// Whether some node above (or at) this device holds more of the partition than it ought to.
    /// Nodes that are to hold nothing do not count: levelling empties them.
    pub(super) fn is_crowded(&self, held: &[(usize, DeviceId)], id: DeviceId) -> bool {
        let path = self.tiers.path(id);
        (0..LEVELS).any(|level| {
            let most = self.most[path[level] as usize];
            most > 0 && self.count(held, level, path[level]) > most
        })
    }

    /// Puts a replica onto another device and keeps count.
    pub(super) fn put(&mut self, part: usize, row: usize, to: DeviceId) {
        let from = std::mem::replace(&mut self.rows[row][part], to);
        if from != NO_DEVICE {
            self.room[from as usize] += 1;
            if self.room[from as usize] > 0 {
                self.openings.push(from);
            }
        }
        self.room[to as usize] -= 1;
        self.locks[part] = Lock::Placed;
    }

    /// A device with room, by chance in proportion to it.
    pub(super) fn opening(&mut self) -> Option<DeviceId> {
        while !self.openings.is_empty() {
            let at = self.random.below(self.openings.len());
            let id = self.openings[at];
            if self.room[id as usize] > 0 {
                return Some(id);
            }
            self.openings.swap_remove(at);
        }
        None
    }

    /// All devices that have room, each once.
    pub(super) fn devices_with_room(&self) -> Vec<DeviceId> {
        let open = self.room.iter().enumerate().filter(|(_, room)| **room > 0);
        open.map(|(id, _)| id as DeviceId).collect()
    }

    /// A device with room that adds at most `worst` faults, of a few that are drawn: the one that
    /// is farthest from where the replica stands. Near moves fit nearly every partition and far
    /// ones only some, so those that can should make them.
    pub(super) fn try_openings(
        &mut self,
        held: &[(usize, DeviceId)],
        from: Option<DeviceId>,
        worst: i32,
    ) -> Option<DeviceId> {
        /// Devices drawn after the first that suits.
        const MORE: usize = 6;
        // A place that a fault could be taken away at is at least one in as many as there are
        // replicas, where devices with room are everywhere.
        let mut tries = 4 * self.rows.len() + 16;
        let mut best: Option<(usize, DeviceId)> = None;
        while tries > 0 {
            tries -= 1;
            let to = self.opening()?;
            if self.faults(held, from, to).is_none_or(|faults| faults > worst) {
                continue;
            }
            let near = from.map_or(0, |from| {
                let levels = self.tiers.path(from).iter().zip(self.tiers.path(to));
                levels.take_while(|(from, to)| from == to).count()
            });
            if near == 0 {
                return Some(to);
            }
            if best.is_none() {
                tries = tries.min(MORE);
            }
            if best.is_none_or(|(known, _)| near < known) {
                best = Some((near, to));
            }
        }
        best.map(|(_, to)| to)
    }

    /// The device that adds the fewest faults of all, whether it has room or not: down the tree,
    /// at each level where least is wrong, by chance in proportion to what nodes are to hold.
    pub(super) fn descend(
        &mut self,
        held: &[(usize, DeviceId)],
        from: Option<DeviceId>,
    ) -> Option<DeviceId> {
        let mut node = ROOT;
        for level in 0..LEVELS {
            let leaves = from.map(|from| self.tiers.path(from)[level]);
            let mut best: Option<(i32, usize)> = None;
            let mut seen = 0u64;
            for child in self.tiers.weighted_children(node) {
                let mut count = self.count(held, level, child as u32);
                if count >= self.tiers.weighted_devices[child] {
                    continue;
                }
                if leaves == Some(child as u32) {
                    count -= 1;
                }
                let cost = if count < self.least[child] {
                    -1
                } else {
                    i32::from(count >= self.most[child])
                };
                let weight = self.share[child].max(0) as u64 + 1;
                match best {
                    Some((known, _)) if known < cost => continue,
                    Some((known, _)) if known == cost => seen += weight,
                    _ => seen = weight,
                }
                if seen == weight || (self.random.below(seen as usize) as u64) < weight {
                    best = Some((cost, child));
                }
            }
            node = best?.1;
        }
        Some(self.tiers.device[node])
    }
}

//! Assignment of devices to partition replicas, one file for each step.
//!
//! 1. [`tiers`]: the devices as a tree of regions, zones, servers and devices.
//! 2. [`plan`]: what each node of the tree is to hold by weights and overload, as real numbers.
//! 3. [`apportion`]: the same in whole partition replicas, the worst rounding as small as can be.
//! 4. [`deal`]: the first placement, exact at once.
//!
//! A ring that is in use is changed by as few moves as can be instead ([`board`] keeps count):
//!
//! 5. [`place`]: replicas without a device, since theirs was removed or they are new;
//! 6. [`disperse`]: partitions that stand too close together;
//! 7. [`level`]: from devices with too many to devices with too few.
//!
//! What holds throughout: of one partition at most one replica moves in a rebalance, and none
//! within `min_part_hours` of the last time, except that replicas of removed devices are placed at
//! once, and then no other replica of that partition moves. `docs/ring.md` describes the algorithm with
//! its arithmetic.

mod apportion;
mod board;
mod deal;
mod disperse;
mod level;
mod place;
mod plan;
pub(super) mod random;
pub(super) mod tiers;

use self::board::{Board, Lock};
use self::random::Random;
use self::tiers::Tiers;
use super::RingBuilder;
use crate::device::DeviceId;
use crate::error::BuilderError;
use crate::ring::NO_DEVICE;

/// What a rebalance did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rebalanced {
    /// Partition replicas that got another device.
    pub moved: u64,
    /// Devices that were removed for good.
    pub removed: u64,
}

impl RingBuilder {
    /// Lets every partition move again.
    pub fn pretend_min_part_hours_passed(&mut self) {
        self.last_moves_epoch = 0;
        self.last_moves = vec![u8::MAX; self.partitions()];
    }

    /// Places partitions. `now_seconds` is the time since 1970; one seed gives one ring.
    ///
    /// # Errors
    /// When fewer devices have weight than there are replicas, in Swift's words.
    pub fn rebalance(&mut self, now_seconds: u64, seed: u64) -> Result<Rebalanced, BuilderError> {
        self.rebalance_but(&[], now_seconds, seed)
    }

    /// Places partitions, but moves none of those that are marked in `kept`. (Replicas of removed
    /// devices are placed all the same: they are lost.)
    pub(super) fn rebalance_but(
        &mut self,
        kept: &[bool],
        now_seconds: u64,
        seed: u64,
    ) -> Result<Rebalanced, BuilderError> {
        let weighted = self.devices().filter(|device| device.device.weight > 0.0).count();
        if (weighted as f64) < self.replicas {
            return Err(format!(
                "Replica count of {:?} requires more than {weighted} devices",
                self.replicas
            )
            .into());
        }
        self.age_moves_to(now_seconds);
        let mut random = Random::new(seed);
        let start = self.turn(&mut random);
        let before = self.rows.clone();
        let removed = self.forget_removed();
        self.resize_rows();
        let tiers = Tiers::new(self);
        self.forget_bad_places(&tiers);
        let held = self.held_by_node(&tiers);
        let total: u64 = self.rows.iter().map(|row| row.len() as u64).sum();
        let plan = plan::Plan::new(&tiers, self.replicas, self.overload);
        let share =
            apportion::apportion(&tiers, &plan, self.replicas, self.partitions(), total, &held);
        if held.first().is_none_or(|held| *held == 0) {
            deal::deal(&tiers, &share, &mut self.rows, &mut random);
        } else {
            let locks = self.locks(kept);
            let mut board = Board::new(
                &tiers,
                &mut self.rows,
                &before,
                locks,
                (&share, &held),
                (random, start),
            );
            place::place(&mut board)?;
            disperse::disperse(&mut board);
            level::level(&mut board);
        }
        let moved = self.note_moves(&before);
        self.count_parts(&tiers, &share);
        self.devices_changed = false;
        self.version += 1;
        self.note_dispersion();
        Ok(Rebalanced { moved, removed })
    }

    /// Where passes begin: on the other side of the ring than last time, as Swift's builder does.
    fn turn(&mut self, random: &mut Random) -> usize {
        let parts = self.partitions();
        let half = random.below(parts / 2 + 1);
        let start = (self.last_gather_start as usize + parts / 4 + half) % parts;
        self.last_gather_start = u32::try_from(start).unwrap_or(0);
        start
    }

    fn forget_removed(&mut self) -> u64 {
        let removed = std::mem::take(&mut self.removed);
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

    /// Empties places of devices that are gone, and all but one of a partition on one device,
    /// which rings of other builders may have.
    fn forget_bad_places(&mut self, tiers: &Tiers) {
        for id in self.rows.iter_mut().flatten() {
            if *id != NO_DEVICE && !tiers.knows(*id) {
                *id = NO_DEVICE;
            }
        }
        for row in 1..self.rows.len() {
            let (above, below) = self.rows.split_at_mut(row);
            let Some(row) = below.first_mut() else { continue };
            for (part, id) in row.iter_mut().enumerate() {
                if above.iter().any(|row| row.get(part) == Some(id)) {
                    *id = NO_DEVICE;
                }
            }
        }
    }

    /// Replicas that each node of the tree holds.
    fn held_by_node(&self, tiers: &Tiers) -> Vec<i64> {
        let mut by_device = vec![0i64; self.devices.len()];
        for id in self.rows.iter().flatten() {
            if let Some(count) = by_device.get_mut(*id as usize) {
                *count += 1;
            }
        }
        let mut held = vec![0; tiers.len()];
        for (id, count) in by_device.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let path = tiers.path(id as DeviceId).iter().map(|node| *node as usize);
            for node in path.chain([tiers::ROOT]) {
                if let Some(held) = held.get_mut(node) {
                    *held += count;
                }
            }
        }
        held
    }

    /// What may move of each partition: with an empty place, only what is placed now.
    fn locks(&self, kept: &[bool]) -> Vec<Lock> {
        let may_move = |part: usize| self.has_rested(part) && kept.get(part) != Some(&true);
        let mut locks: Vec<Lock> = (0..self.partitions())
            .map(|part| if may_move(part) { Lock::Open } else { Lock::Shut })
            .collect();
        for row in &self.rows {
            for (lock, id) in locks.iter_mut().zip(row) {
                if *id == NO_DEVICE {
                    *lock = Lock::Placed;
                }
            }
        }
        locks
    }

    /// Whether `min_part_hours` have passed since a partition moved.
    pub(super) fn has_rested(&self, part: usize) -> bool {
        let age = self.last_moves.get(part).copied().unwrap_or(u8::MAX);
        u64::from(age) >= self.min_part_hours
    }

    /// Counts replicas that have another device than before, and starts their partitions' time.
    fn note_moves(&mut self, before: &[Vec<DeviceId>]) -> u64 {
        let mut moved = 0;
        for (replica, row) in self.rows.iter().enumerate() {
            let before = before.get(replica).map(Vec::as_slice).unwrap_or_default();
            for (part, (id, age)) in row.iter().zip(&mut self.last_moves).enumerate() {
                if before.get(part) != Some(id) {
                    moved += 1;
                    *age = 0;
                }
            }
        }
        moved
    }

    fn count_parts(&mut self, tiers: &Tiers, share: &[i64]) {
        let held = self.held_by_node(tiers);
        for device in self.devices.iter_mut().flatten() {
            let node = tiers.path(device.device.id).last().map_or(0, |node| *node as usize);
            let held = held.get(node).copied().unwrap_or(0);
            device.parts = u64::try_from(held).unwrap_or(0);
            device.parts_wanted = share.get(node).copied().unwrap_or(0) - held;
        }
    }
}

#[cfg(test)]
mod tests;

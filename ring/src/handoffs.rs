//! Handoff devices of a partition, in the order that all nodes agree on.
//!
//! Source: `swift/common/ring/ring.py`, `get_more_nodes`. Four passes over all partitions from a
//! pseudo-random start: a region not used so far, then a zone, then an address, then any device.
//! Each pass ends early once nothing of its kind is left.
//!
//! A walk to the end looks at some forty replicas for each device of the ring before it has met
//! the last one. So what was used is kept in flat tables by the numbers of the ring's `Domains`,
//! and partitions are looked through in one tight loop, more and more of them at a time; a walk
//! that ends early has looked at little in vain.

use apus_cluster::PartPower;

use crate::device::{Device, DeviceId};
use crate::ring::{NO_DEVICE, Ring};

/// The pass that takes any device, after region, zone and address.
const ANY_DEVICE: usize = 3;

/// Most partitions that are looked through at a time.
const AHEAD_MAX: usize = 256;

/// Iterator over the handoffs of one partition.
#[derive(Debug)]
pub struct Handoffs<'a> {
    ring: &'a Ring,
    start: usize,
    step: usize,
    /// Which pass: 0 region, 1 zone, 2 address, 3 device, 4 done.
    pass: usize,
    /// Partition of the walk in this pass that is looked at next, and whether it has come round.
    part: usize,
    wrapped: bool,
    /// Devices met last, those of them that suited then, how many of these were taken up, and
    /// partitions to look through next time.
    met: Vec<DeviceId>,
    found: Vec<DeviceId>,
    taken: usize,
    ahead: usize,
    /// What was used: regions, zones, addresses and devices, by number, and how many of each.
    used: [Vec<bool>; 4],
    count: [usize; 4],
}

impl<'a> Handoffs<'a> {
    pub(crate) fn new(ring: &'a Ring, partition: u32) -> Self {
        let digest = md5::compute(partition.to_string()).0;
        let [a, b, c, d, ..] = digest;
        let start = u32::from_be_bytes([a, b, c, d])
            .checked_shr(PartPower::MAX - ring.part_power().get())
            .unwrap_or(0) as usize;
        let [regions, zones, ips] = ring.domains.known;
        let marks = |size: usize| vec![false; size];
        let mut handoffs = Self {
            ring,
            start,
            step: (ring.partitions() as usize / 65_536).max(1),
            pass: 0,
            part: start,
            wrapped: false,
            met: Vec::new(),
            found: Vec::new(),
            taken: 0,
            ahead: 1,
            used: [marks(regions), marks(zones), marks(ips), marks(ring.devices().len())],
            count: [0; 4],
        };
        for id in ring.primary_ids(partition) {
            handoffs.mark(id);
        }
        handoffs
    }

    /// The numbers of a device's region, zone and address, and its own.
    fn numbers(&self, id: DeviceId) -> Option<[u32; 4]> {
        let [region, zone, ip] = *self.ring.domains.of.get(id as usize)?;
        Some([region, zone, ip, id])
    }

    fn mark(&mut self, id: DeviceId) {
        let Some(numbers) = self.numbers(id) else { return };
        for ((used, count), number) in self.used.iter_mut().zip(&mut self.count).zip(numbers) {
            if let Some(mark) = used.get_mut(number as usize).filter(|mark| !**mark) {
                *mark = true;
                *count += 1;
            }
        }
    }

    fn is_used(&self, kind: usize, number: u32) -> bool {
        self.used.get(kind).and_then(|used| used.get(number as usize)).copied().unwrap_or(true)
    }

    fn pass_is_over(&self) -> bool {
        self.count.get(self.pass) == self.ring.domains.used.get(self.pass)
    }

    fn suits(&self, id: DeviceId) -> bool {
        if self.is_used(ANY_DEVICE, id) {
            return false;
        }
        self.pass == ANY_DEVICE
            || self
                .numbers(id)
                .and_then(|numbers| numbers.get(self.pass).copied())
                .is_some_and(|number| !self.is_used(self.pass, number))
    }

    fn begin_pass(&mut self) {
        self.pass += 1;
        self.part = self.start;
        self.wrapped = false;
        self.found.clear();
        self.taken = 0;
        self.ahead = 1;
    }

    /// Looks through the next partitions of the walk; `false` past its end.
    fn look_on(&mut self) -> bool {
        let ring = self.ring;
        let parts = ring.partitions() as usize;
        if !self.wrapped && self.part >= parts {
            self.wrapped = true;
            // A step of one wraps to 1 - 0 = 1 in Swift's formula only when the remainder is 0, and
            // `step - 0` skips partition 0 then; kept, so that the order is the same.
            self.part = self.step - ((parts - self.start) % self.step);
        }
        let end = if self.wrapped { self.start } else { parts };
        if self.part >= end {
            return false;
        }
        self.found.clear();
        self.taken = 0;
        let ahead = (end - self.part).div_ceil(self.step).min(self.ahead);
        // First all ids, a row at a time, so that the memory is not waited for one by one.
        let rows = ring.rows().len();
        self.met.clear();
        self.met.resize(ahead * rows, NO_DEVICE);
        for (number, row) in ring.rows().iter().enumerate() {
            let ids = row.get(self.part..).unwrap_or_default().iter().step_by(self.step);
            for (place, id) in self.met.iter_mut().skip(number).step_by(rows).zip(ids) {
                *place = *id;
            }
        }
        let used = self.used.last().map(Vec::as_slice).unwrap_or_default();
        let any = self.pass == ANY_DEVICE;
        for id in &self.met {
            let unused = used.get(*id as usize) == Some(&false);
            if unused && (any || self.suits(*id)) {
                self.found.push(*id);
            }
        }
        self.part += ahead * self.step;
        self.ahead = (2 * self.ahead).min(AHEAD_MAX);
        true
    }
}

impl<'a> Iterator for Handoffs<'a> {
    type Item = &'a Device;

    fn next(&mut self) -> Option<&'a Device> {
        while self.pass <= ANY_DEVICE {
            if self.pass_is_over() {
                self.begin_pass();
                continue;
            }
            while let Some(id) = self.found.get(self.taken).copied() {
                self.taken += 1;
                // A device that suited may have been found twice, or together with another of its domain.
                if self.suits(id)
                    && let Some(device) = self.ring.device(id)
                {
                    self.mark(id);
                    return Some(device);
                }
            }
            if !self.look_on() {
                self.begin_pass();
            }
        }
        None
    }
}

//! The deterministic order after the primaries.
//!
//! Source: `swift/common/ring/ring.py`, `get_more_nodes`. Four passes over all partitions from a
//! pseudo-random start: a region not used so far, then a zone, then an address, then any device.
//! Each pass ends early once nothing of its kind is left.

use std::collections::HashSet;

use crate::device::{Device, DeviceId};
use crate::ring::Ring;

/// Iterator over the handoffs of one partition.
#[derive(Debug)]
pub struct Handoffs<'a> {
    ring: &'a Ring,
    start: usize,
    step: usize,
    /// Which pass: 0 region, 1 zone, 2 address, 3 device, 4 done.
    pass: u8,
    /// Position in the walk of this pass, and the replica row there.
    position: usize,
    row: usize,
    used: HashSet<DeviceId>,
    regions: HashSet<u32>,
    zones: HashSet<(u32, u32)>,
    ips: HashSet<(u32, u32, &'a str)>,
}

impl<'a> Handoffs<'a> {
    pub(crate) fn new(ring: &'a Ring, partition: u32) -> Self {
        let digest = md5::compute(partition.to_string()).0;
        let [a, b, c, d, ..] = digest;
        let start = u32::from_be_bytes([a, b, c, d])
            .checked_shr(32 - ring.part_power())
            .unwrap_or(0) as usize;
        let step = (ring.partitions() as usize / 65_536).max(1);
        let mut handoffs = Self {
            ring,
            start,
            step,
            pass: 0,
            position: 0,
            row: 0,
            used: HashSet::new(),
            regions: HashSet::new(),
            zones: HashSet::new(),
            ips: HashSet::new(),
        };
        for device in ring.primaries(partition) {
            handoffs.mark(device);
        }
        handoffs
    }

    fn mark(&mut self, device: &'a Device) {
        self.used.insert(device.id);
        self.regions.insert(device.region);
        self.zones.insert((device.region, device.zone));
        self.ips.insert((device.region, device.zone, &device.ip));
    }

    /// The n-th partition of the walk, or `None` past its end.
    fn partition_at(&self, position: usize) -> Option<usize> {
        let parts = self.ring.partitions() as usize;
        let ahead = (parts - self.start).div_ceil(self.step);
        if position < ahead {
            return Some(self.start + position * self.step);
        }
        let wrapped = self.step - ((parts - self.start) % self.step);
        // A step of one wraps to 1 - 0 = 1 in Swift's formula only when the remainder is 0, and
        // `step - 0` skips partition 0 then; kept, so that the order is the same.
        let part = wrapped + (position - ahead) * self.step;
        (part < self.start).then_some(part)
    }

    fn pass_is_over(&self) -> bool {
        match self.pass {
            0 => self.regions.len() == self.ring.regions,
            1 => self.zones.len() == self.ring.zones,
            2 => self.ips.len() == self.ring.ips,
            _ => self.used.len() == self.ring.devices_used,
        }
    }

    fn suits(&self, device: &Device) -> bool {
        !self.used.contains(&device.id)
            && match self.pass {
                0 => !self.regions.contains(&device.region),
                1 => !self.zones.contains(&(device.region, device.zone)),
                2 => !self.ips.contains(&(device.region, device.zone, device.ip.as_str())),
                _ => true,
            }
    }
}

impl<'a> Iterator for Handoffs<'a> {
    type Item = &'a Device;

    fn next(&mut self) -> Option<&'a Device> {
        while self.pass < 4 {
            let part = if self.pass_is_over() { None } else { self.partition_at(self.position) };
            let Some(part) = part else {
                self.pass += 1;
                self.position = 0;
                self.row = 0;
                continue;
            };
            let Some(row) = self.ring.rows().get(self.row) else {
                self.row = 0;
                self.position += 1;
                continue;
            };
            self.row += 1;
            if let Some(device) = row.get(part).and_then(|id| self.ring.device(*id))
                && self.suits(device)
            {
                self.mark(device);
                return Some(device);
            }
        }
        None
    }
}

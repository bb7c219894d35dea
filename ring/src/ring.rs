//! The ring as servers use it: flat tables, loaded once, never changed.

use std::collections::BTreeSet;

use apus_cluster::{HashConf, PathHash};

use crate::device::{Device, DeviceId};
use crate::format::UncheckedRing;
use crate::handoffs::Handoffs;

/// "No device" in the table of assignments.
pub(crate) const NO_DEVICE: DeviceId = DeviceId::MAX;

/// A believed ring.
#[derive(Debug, Clone)]
pub struct Ring {
    devices: Vec<Option<Device>>,
    rows: Vec<Vec<DeviceId>>,
    part_power: u32,
    next_part_power: Option<u32>,
    replica_count: f64,
    version: u64,
    pub(crate) regions: usize,
    pub(crate) zones: usize,
    pub(crate) ips: usize,
    pub(crate) devices_used: usize,
}

impl Ring {
    /// Checks what a file said: lengths of rows, and that every id names a device.
    ///
    /// # Errors
    /// Text that says which row and partition is wrong.
    pub fn check(raw: UncheckedRing) -> Result<Self, String> {
        if raw.part_power > 32 {
            return Err(format!("part power {} is larger than 32", raw.part_power));
        }
        let parts = 1usize << raw.part_power;
        if raw.rows.is_empty() {
            return Err("ring has no replicas".to_owned());
        }
        let last = raw.rows.len() - 1;
        let mut used = BTreeSet::new();
        for (index, row) in raw.rows.iter().enumerate() {
            if row.len() > parts || (index != last && row.len() != parts) {
                return Err(format!(
                    "replica {index} has {} partitions, expected {parts}",
                    row.len()
                ));
            }
            for (part, id) in row.iter().enumerate() {
                let device = usize::try_from(*id).ok().and_then(|id| raw.devices.get(id));
                if *id != NO_DEVICE && !matches!(device, Some(Some(_))) {
                    return Err(format!("replica {index}, partition {part}: no device {id}"));
                }
                if *id != NO_DEVICE {
                    used.insert(*id);
                }
            }
        }
        let device = |id: &DeviceId| {
            usize::try_from(*id).ok().and_then(|id| raw.devices.get(id)).and_then(Option::as_ref)
        };
        let tiers = |level: u8| {
            used.iter()
                .filter_map(device)
                .map(|device| match level {
                    0 => (device.region, 0, ""),
                    1 => (device.region, device.zone, ""),
                    _ => (device.region, device.zone, device.ip.as_str()),
                })
                .collect::<BTreeSet<_>>()
                .len()
        };
        let (regions, zones, ips) = (tiers(0), tiers(1), tiers(2));
        let fraction = raw.rows.last().map_or(0, Vec::len) as f64 / parts as f64;
        Ok(Self {
            replica_count: last as f64 + fraction,
            regions,
            zones,
            ips,
            devices_used: used.len(),
            devices: raw.devices,
            rows: raw.rows,
            part_power: raw.part_power,
            next_part_power: raw.next_part_power,
            version: raw.version,
        })
    }

    /// 2^this is the number of partitions.
    pub fn part_power(&self) -> u32 {
        self.part_power
    }

    /// The part power that an increase is under way to.
    pub fn next_part_power(&self) -> Option<u32> {
        self.next_part_power
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u32 {
        self.rows.first().map_or(0, |row| u32::try_from(row.len()).unwrap_or(u32::MAX))
    }

    /// Replicas, possibly fractional.
    pub fn replica_count(&self) -> f64 {
        self.replica_count
    }

    /// The builder's version that wrote the ring; 0 when the file does not say.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All devices by id, with holes.
    pub fn devices(&self) -> &[Option<Device>] {
        &self.devices
    }

    /// Rows of device ids, one per replica; the last may be short.
    pub fn rows(&self) -> &[Vec<DeviceId>] {
        &self.rows
    }

    pub(crate) fn device(&self, id: DeviceId) -> Option<&Device> {
        usize::try_from(id).ok().and_then(|id| self.devices.get(id)).and_then(Option::as_ref)
    }

    /// The partition of a hashed name.
    pub fn partition(&self, hash: &PathHash) -> u32 {
        hash.partition(self.part_power)
    }

    /// The partition of the path made of `parts`.
    pub fn partition_of(&self, conf: &HashConf, parts: &[&str]) -> u32 {
        self.partition(&conf.hash(parts))
    }

    /// The devices that own a partition, each once, in the order of the rows.
    pub fn primaries(&self, partition: u32) -> Vec<&Device> {
        let part = partition as usize;
        let mut primaries: Vec<&Device> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            if let Some(device) = row.get(part).and_then(|id| self.device(*id))
                && !primaries.iter().any(|known| known.id == device.id)
            {
                primaries.push(device);
            }
        }
        primaries
    }

    /// The devices to use when primaries fail, in the order every node agrees on.
    pub fn handoffs(&self, partition: u32) -> Handoffs<'_> {
        Handoffs::new(self, partition)
    }
}

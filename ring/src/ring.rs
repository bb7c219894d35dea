//! The ring of a server: flat tables, loaded once and never changed.

use std::collections::HashMap;

use apus_cluster::{HashConf, PartPower, PathHash};

use crate::device::{Device, DeviceId};
use crate::error::RingError;
use crate::format::UncheckedRing;
use crate::handoffs::Handoffs;

/// "No device" in the table of assignments.
pub(crate) const NO_DEVICE: DeviceId = DeviceId::MAX;

/// A checked ring.
#[derive(Debug, Clone)]
pub struct Ring {
    devices: Vec<Option<Device>>,
    rows: Vec<Vec<DeviceId>>,
    part_power: PartPower,
    next_part_power: Option<PartPower>,
    replica_count: f64,
    version: u64,
    pub(crate) domains: Domains,
}

/// The failure domains of devices as small numbers, so that a walk over handoffs marks what it
/// used in flat tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Domains {
    /// Numbers of region, zone and address, by device id.
    pub(crate) of: Vec<[u32; 3]>,
    /// How many regions, zones and addresses there are.
    pub(crate) known: [usize; 3],
    /// How many of them, and how many devices, hold partitions.
    pub(crate) used: [usize; 4],
}

impl Domains {
    fn new(devices: &[Option<Device>], used: &[bool]) -> Self {
        let mut domains = Self { of: vec![[0; 3]; devices.len()], ..Self::default() };
        let mut numbers: HashMap<(usize, u32, u32, &str), u32> = HashMap::new();
        let mut in_use: [Vec<bool>; 3] = Default::default();
        for (id, device) in devices.iter().enumerate() {
            let (Some(device), Some(of)) = (device, domains.of.get_mut(id)) else { continue };
            let holds = used.get(id).copied().unwrap_or(false);
            let keys = [
                (0, device.region, 0, ""),
                (1, device.region, device.zone, ""),
                (2, device.region, device.zone, device.ip.as_str()),
            ];
            for (level, key) in keys.into_iter().enumerate() {
                let (Some(known), Some(marks), Some(number)) =
                    (domains.known.get_mut(level), in_use.get_mut(level), of.get_mut(level))
                else {
                    continue;
                };
                *number = *numbers.entry(key).or_insert_with(|| {
                    *known += 1;
                    marks.push(false);
                    (*known - 1) as u32
                });
                if let Some(mark) = marks.get_mut(*number as usize) {
                    *mark |= holds;
                }
            }
        }
        let [regions, zones, ips] =
            in_use.map(|marks| marks.into_iter().filter(|mark| *mark).count());
        domains.used = [regions, zones, ips, used.iter().filter(|used| **used).count()];
        domains
    }
}

impl Ring {
    /// The ring in the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, RingError> {
        crate::format::decode(bytes).and_then(Self::check)
    }

    /// Checks the content of a file: lengths of rows, and that every id names a device.
    ///
    /// # Errors
    /// Text that says which row and partition is wrong.
    pub fn check(raw: UncheckedRing) -> Result<Self, RingError> {
        let power = |power: u32| {
            let large = || RingError::from(format!("part power {power} is larger than 32"));
            PartPower::new(power).ok_or_else(large)
        };
        let part_power = power(raw.part_power)?;
        let next_part_power = raw.next_part_power.map(power).transpose()?;
        let parts = 1usize << part_power.get();
        if raw.rows.is_empty() {
            return Err("ring has no replicas".into());
        }
        let last = raw.rows.len() - 1;
        let known: Vec<bool> = raw.devices.iter().map(Option::is_some).collect();
        let mut used = vec![false; known.len()];
        for (index, row) in raw.rows.iter().enumerate() {
            if row.len() > parts || (index != last && row.len() != parts) {
                return Err(format!(
                    "replica {index} has {} partitions, expected {parts}",
                    row.len()
                )
                .into());
            }
            for (part, id) in row.iter().enumerate() {
                match used.get_mut(*id as usize) {
                    Some(true) => {}
                    Some(mark) if known.get(*id as usize) == Some(&true) => *mark = true,
                    _ if *id == NO_DEVICE => {}
                    _ => {
                        return Err(
                            format!("replica {index}, partition {part}: no device {id}").into()
                        );
                    }
                }
            }
        }
        let domains = Domains::new(&raw.devices, &used);
        let fraction = raw.rows.last().map_or(0, Vec::len) as f64 / parts as f64;
        Ok(Self {
            replica_count: last as f64 + fraction,
            domains,
            devices: raw.devices,
            rows: raw.rows,
            part_power,
            next_part_power,
            version: raw.version,
        })
    }

    /// The power of the number of partitions.
    pub fn part_power(&self) -> PartPower {
        self.part_power
    }

    /// The part power that an increase is under way to.
    pub fn next_part_power(&self) -> Option<PartPower> {
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
        self.part_power.partition(hash).0
    }

    /// The partition of the path made of `parts`.
    pub fn partition_of(&self, conf: &HashConf, parts: &[&str]) -> u32 {
        self.partition(&conf.hash(parts))
    }

    /// The ids of a partition's devices by row, without checks for one that comes twice: the
    /// shortest way to a partition's places.
    pub fn primary_ids(&self, partition: u32) -> impl Iterator<Item = DeviceId> + '_ {
        self.primary_ids_at(partition as usize).filter(|id| *id != NO_DEVICE)
    }

    pub(crate) fn primary_ids_at(&self, part: usize) -> impl Iterator<Item = DeviceId> + '_ {
        self.rows.iter().filter_map(move |row| row.get(part).copied())
    }

    /// The devices that own a partition, each once, in the order of the rows.
    pub fn primaries(&self, partition: u32) -> Vec<&Device> {
        let mut primaries = Vec::with_capacity(self.rows.len());
        primaries.extend(self.primary_devices(partition));
        primaries
    }

    /// The same without a vector.
    pub fn primary_devices(&self, partition: u32) -> impl Iterator<Item = &Device> + '_ {
        let part = partition as usize;
        let ids = self.primary_ids_at(part).enumerate();
        // Ids are compared, not devices: those are far away in memory.
        let once = ids.filter(move |(row, id)| {
            !self.primary_ids_at(part).take(*row).any(|known| known == *id)
        });
        once.filter_map(|(_, id)| self.device(id))
    }

    /// The devices to use when primaries fail, in the order every node agrees on.
    pub fn handoffs(&self, partition: u32) -> Handoffs<'_> {
        Handoffs::new(self, partition)
    }
}

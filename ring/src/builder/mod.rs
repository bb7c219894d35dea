//! Ring builders: devices, settings and history of one builder file.
//!
//! Terms, checks and messages are those of `swift-ring-builder` (`swift/common/ring/builder.py`); the
//! placement algorithm is described in [`rebalance`].

mod balance;
mod cooperative;
mod dispersion;
pub mod file;
pub mod lock;
mod overload;
mod placement;
mod power;
mod rebalance;
mod settings;
mod validate;

pub use balance::Balance;
pub use cooperative::rebalance_together;
pub use dispersion::{DispersionGraph, Tier, TierReport};
pub use placement::{Placed, place};
pub use rebalance::Rebalanced;

use crate::device::{Device, DeviceId};
use crate::error::BuilderError;
use crate::format::UncheckedRing;
use crate::ring::{NO_DEVICE, Ring};

/// A device with the builder's own figures.
#[derive(Debug, Clone, PartialEq)]
pub struct BuilderDevice {
    /// The device as ring files have it.
    pub device: Device,
    /// Partition replicas it holds.
    pub parts: u64,
    /// Partition replicas it lacks (or has too many, negative), as of the last rebalance.
    pub parts_wanted: i64,
}

/// Settings, devices and assignments of one builder file.
#[derive(Debug, Clone, PartialEq)]
pub struct RingBuilder {
    /// 2^this partitions.
    pub part_power: u32,
    /// Replicas, possibly fractional.
    pub replicas: f64,
    /// Hours for which a partition stays after one of its replicas moved.
    pub min_part_hours: u64,
    /// How far a device may be filled over its weight for the sake of dispersion (0.1 = 10 %).
    pub overload: f64,
    /// Devices by id, with holes.
    pub devices: Vec<Option<BuilderDevice>>,
    /// Whether devices changed since the last rebalance.
    pub devices_changed: bool,
    /// Counts every change.
    pub version: u64,
    /// Random id of the builder.
    pub id: Option<String>,
    /// Device ids of each replica; empty before the first rebalance.
    pub rows: Vec<Vec<DeviceId>>,
    /// Hours since each partition moved, as of `last_moves_epoch`; 255 is "long ago".
    pub last_moves: Vec<u8>,
    /// Reference time of `last_moves`, in seconds since 1970.
    pub last_moves_epoch: u64,
    /// Where the next rebalance starts to gather.
    pub last_gather_start: u32,
    /// Devices that leave at the next rebalance.
    pub removed: Vec<DeviceId>,
    /// Dispersion (percent) as of the last rebalance.
    pub dispersion: f64,
    /// Whether the dispersion was ever counted; it is unknown after `write_builder`.
    pub dispersion_is_known: bool,
    /// The figures behind the dispersion; empty when they must be counted again.
    pub dispersion_graph: DispersionGraph,
    /// The part power that an increase is under way to.
    pub next_part_power: Option<u32>,
    /// Bytes of device ids in files, when set; see [`RingBuilder::id_width`].
    pub id_width: Option<usize>,
}

/// Properties of a new device; the builder assigns its id.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDevice {
    /// Region.
    pub region: u32,
    /// Zone.
    pub zone: u32,
    /// Address.
    pub ip: String,
    /// Port.
    pub port: u16,
    /// Replication address.
    pub replication_ip: Option<String>,
    /// Replication port.
    pub replication_port: Option<u16>,
    /// Directory name.
    pub device: String,
    /// Weight.
    pub weight: f64,
    /// Remark.
    pub meta: String,
}

impl RingBuilder {
    /// A new builder.
    ///
    /// # Errors
    /// The part power is over 32, or there is less than one replica.
    pub fn new(part_power: u32, replicas: f64, min_part_hours: u64) -> Result<Self, BuilderError> {
        if part_power > 32 {
            return Err(format!("part_power must be at most 32 (was {part_power})").into());
        }
        if replicas.is_nan() || replicas < 1.0 {
            return Err(format!("replicas must be at least 1 (was {replicas:.6})").into());
        }
        Ok(Self {
            part_power,
            replicas,
            min_part_hours,
            overload: 0.0,
            devices: Vec::new(),
            devices_changed: false,
            version: 0,
            id: None,
            rows: Vec::new(),
            last_moves: Vec::new(),
            last_moves_epoch: 0,
            last_gather_start: 0,
            removed: Vec::new(),
            dispersion: 0.0,
            dispersion_is_known: true,
            dispersion_graph: DispersionGraph::new(),
            next_part_power: None,
            id_width: None,
        })
    }

    /// Number of partitions.
    pub fn partitions(&self) -> usize {
        1usize << self.part_power
    }

    /// Devices that exist.
    pub fn devices(&self) -> impl Iterator<Item = &BuilderDevice> {
        self.devices.iter().flatten()
    }

    /// One device.
    pub fn device(&self, id: DeviceId) -> Option<&BuilderDevice> {
        self.devices.get(id as usize).and_then(Option::as_ref)
    }

    /// One device, to change it.
    pub fn device_mut(&mut self, id: DeviceId) -> Option<&mut BuilderDevice> {
        self.devices.get_mut(id as usize).and_then(Option::as_mut)
    }

    /// Adds a device and returns its id: the first free one, as in Swift.
    pub fn add(&mut self, new: NewDevice) -> DeviceId {
        let at = self.devices.iter().position(Option::is_none).unwrap_or(self.devices.len());
        let id = DeviceId::try_from(at).unwrap_or(NO_DEVICE - 1);
        let NewDevice {
            region,
            zone,
            ip,
            port,
            replication_ip,
            replication_port,
            device,
            weight,
            meta,
        } = new;
        let device = Device {
            id,
            region,
            zone,
            replication_ip: Some(replication_ip.unwrap_or_else(|| ip.clone())),
            replication_port: Some(replication_port.unwrap_or(port)),
            ip,
            port,
            device,
            weight,
            meta,
        };
        let device = Some(BuilderDevice { device, parts: 0, parts_wanted: 0 });
        match self.devices.get_mut(at) {
            Some(hole) => *hole = device,
            None => self.devices.push(device),
        }
        self.changed();
        id
    }

    fn changed(&mut self) {
        self.devices_changed = true;
        self.version += 1;
    }

    /// Changes a device's weight.
    ///
    /// # Errors
    /// The device does not exist or is marked for removal, or the weight is negative.
    pub fn set_weight(&mut self, id: DeviceId, weight: f64) -> Result<(), BuilderError> {
        if self.removed.contains(&id) {
            return Err(format!(
                "Can not set weight of dev_id {id} because it is marked for removal"
            )
            .into());
        }
        if weight.is_nan() || weight < 0.0 {
            return Err(format!("weight {weight}: expected a number not below 0").into());
        }
        self.device_mut(id).ok_or_else(|| format!("no device {id}"))?.device.weight = weight;
        self.changed();
        Ok(())
    }

    /// Marks a device to leave at the next rebalance.
    ///
    /// # Errors
    /// The device does not exist.
    pub fn remove(&mut self, id: DeviceId) -> Result<(), BuilderError> {
        let device = self.device_mut(id).ok_or_else(|| format!("no device {id}"))?;
        device.device.weight = 0.0;
        if !self.removed.contains(&id) {
            self.removed.push(id);
        }
        self.changed();
        Ok(())
    }

    /// Raises the version for a change that does not affect the shares of devices.
    pub fn touch(&mut self) {
        self.version += 1;
    }

    /// The current ring, checked.
    ///
    /// # Errors
    /// The builder was never rebalanced.
    pub fn ring(&self) -> Result<Ring, BuilderError> {
        if self.rows.is_empty() {
            return Err("the ring was never rebalanced".into());
        }
        Ok(Ring::check(self.ring_data())?)
    }

    /// The current ring, to be written; without rows before the first rebalance.
    pub fn ring_data(&self) -> UncheckedRing {
        let ring_device = |device: &BuilderDevice| device.device.clone();
        UncheckedRing {
            devices: self.devices.iter().map(|slot| slot.as_ref().map(ring_device)).collect(),
            rows: self.rows.clone(),
            part_power: self.part_power,
            // Swift writes it only together with partitions.
            next_part_power: self.next_part_power.filter(|_| !self.rows.is_empty()),
            version: self.version,
            id_width: self.id_width(),
        }
    }

    /// Devices that hold a partition, by replica.
    pub fn part_devices(&self, part: usize) -> impl Iterator<Item = DeviceId> + '_ {
        self.rows.iter().filter_map(move |row| row.get(part).copied())
    }
}

#[cfg(test)]
mod tests;

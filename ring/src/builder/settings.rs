//! Settings of a builder and of its devices that placement follows at the next rebalance.
//!
//! What counts as a change of devices, and what raises the version, is as Swift's builder has it.

use super::RingBuilder;
use crate::device::{Device, DeviceId};
use crate::error::BuilderError;

/// The id of each width that stands for "no device".
fn ids_of_two_bytes() -> usize {
    usize::from(u16::MAX)
}

impl RingBuilder {
    fn change(
        &mut self,
        id: DeviceId,
        what: &str,
        change: impl FnOnce(&mut Device),
    ) -> Result<(), BuilderError> {
        if self.removed.contains(&id) {
            return Err(format!(
                "Can not set {what} of dev_id {id} because it is marked for removal"
            )
            .into());
        }
        change(&mut self.device_mut(id).ok_or_else(|| format!("no device {id}"))?.device);
        self.changed();
        Ok(())
    }

    /// Moves a device to another region.
    ///
    /// # Errors
    /// When the device is gone or leaving.
    pub fn set_region(&mut self, id: DeviceId, region: u32) -> Result<(), BuilderError> {
        self.change(id, "region", |device| device.region = region)
    }

    /// Moves a device to another zone.
    ///
    /// # Errors
    /// When the device is gone or leaving.
    pub fn set_zone(&mut self, id: DeviceId, zone: u32) -> Result<(), BuilderError> {
        self.change(id, "zone", |device| device.zone = zone)
    }

    /// Changes the replica count, which must be at least 1.
    pub fn set_replicas(&mut self, replicas: f64) {
        let slots = |replicas: f64| (self.partitions() as f64 * replicas) as u64;
        self.devices_changed |= slots(self.replicas) != slots(replicas);
        self.replicas = replicas;
    }

    /// Bytes that a device id takes in files: 2 or 4.
    pub fn id_width(&self) -> usize {
        let needed = if self.devices.len() <= ids_of_two_bytes() { 2 } else { 4 };
        match self.id_width {
            Some(width) if !self.rows.is_empty() => width.max(needed),
            _ => needed,
        }
    }

    /// Sets the bytes of a device id in files; without partitions it stays what is needed.
    ///
    /// # Errors
    /// When the ids do not fit.
    pub fn set_id_width(&mut self, width: usize) -> Result<(), BuilderError> {
        if width == 2 && self.devices.len() > ids_of_two_bytes() {
            return Err("device ids do not fit 2 bytes".into());
        }
        if !self.rows.is_empty() {
            self.id_width = Some(width);
        }
        Ok(())
    }

    /// Forgets the ids of devices that left behind the last one, and narrows ids as Swift does:
    /// only when half of the narrower width is enough, lest the width goes to and fro.
    pub fn close_gaps(&mut self) {
        while matches!(self.devices.last(), Some(None)) {
            self.devices.pop();
        }
        if self.id_width.is_some() && self.devices.len() < ids_of_two_bytes() / 2 {
            self.id_width = Some(2);
        }
    }

    /// Adds the whole hours that passed to the time since each partition moved.
    pub fn age_moves_to(&mut self, now_seconds: u64) {
        if self.last_moves.len() != self.partitions() {
            self.last_moves = vec![u8::MAX; self.partitions()];
        }
        let hours = now_seconds.saturating_sub(self.last_moves_epoch) / 3600;
        if hours == 0 {
            return;
        }
        let hours = u8::try_from(hours).unwrap_or(u8::MAX);
        for age in &mut self.last_moves {
            *age = age.saturating_add(hours);
        }
        self.last_moves_epoch = now_seconds;
    }

    /// Seconds until partitions that moved at the last rebalance may move again, in Swift's
    /// reckoning: since the rebalance, whatever it moved.
    pub fn seconds_until_rebalance(&self, now_seconds: u64) -> u64 {
        let passed = now_seconds.saturating_sub(self.last_moves_epoch);
        self.min_part_hours.saturating_mul(3600).saturating_sub(passed)
    }
}

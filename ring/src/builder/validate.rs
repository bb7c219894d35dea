//! Checks what a builder holds before anybody relies on it.
//!
//! Words are Swift's (`swift/common/ring/builder.py`, `validate`).

use super::RingBuilder;
use crate::error::BuilderError;
use crate::ring::NO_DEVICE;

impl RingBuilder {
    /// Checks that every partition has its replicas on devices that exist, none twice on one, and
    /// that the builder's counts are right.
    ///
    /// # Errors
    /// What is wrong, in Swift's words.
    pub fn validate(&self) -> Result<(), BuilderError> {
        if self.rows.is_empty() {
            return Err("_replica2part2dev empty; did you forget to rebalance?".into());
        }
        let counted: u64 = self.devices().map(|device| device.parts).sum();
        let mapped: u64 = self.rows.iter().map(|row| row.len() as u64).sum();
        if counted != mapped {
            return Err(format!(
                "All partitions are not double accounted for: {counted} != {mapped}"
            )
            .into());
        }
        let parts = self.partitions();
        let replicas = self.replicas.ceil() as usize;
        for (replica, row) in self.rows.iter().enumerate() {
            if row.len() < parts && replica + 1 < replicas {
                return Err(format!(
                    "The partition assignments of replica {replica} were shorter than expected \
                     ({} < {parts}) - this should only happen for the last replica",
                    row.len()
                )
                .into());
            }
            for (part, id) in row.iter().enumerate() {
                if *id == NO_DEVICE || self.device(*id).is_none() {
                    return Err(format!(
                        "Partition {part}, replica {replica} was not allocated to a device."
                    )
                    .into());
                }
            }
        }
        let mut held = vec![0u64; self.devices.len()];
        for part in 0..parts {
            let mut ids = Vec::with_capacity(self.rows.len());
            for id in self.part_devices(part) {
                if ids.contains(&id) {
                    let ids: Vec<_> = self.part_devices(part).collect();
                    return Err(format!(
                        "The partition {part} has been assigned to duplicate devices {ids:?}"
                    )
                    .into());
                }
                ids.push(id);
                if let Some(held) = held.get_mut(id as usize) {
                    *held += 1;
                }
            }
        }
        for device in self.devices() {
            let held = held.get(device.device.id as usize).copied().unwrap_or(0);
            if held != device.parts {
                return Err(format!(
                    "Device {} has {held} partitions assigned, the builder counts {}",
                    device.device.id, device.parts
                )
                .into());
            }
        }
        Ok(())
    }
}

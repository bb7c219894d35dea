//! How well partitions follow weights, and replicas failure domains.

use std::collections::HashMap;

use super::RingBuilder;

/// Greatest deviation of a device from its share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// In percent; 999.99 stands for a device without weight that still holds partitions.
    pub percent: f64,
}

/// Replicas that share a failure domain although another has room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dispersion {
    /// Percent of partition replicas that are placed worse than need be.
    pub percent: f64,
}

/// Swift's figure for a device that holds partitions without weight.
const BALANCE_MAX: f64 = 999.99;

impl RingBuilder {
    /// Share of one device in partition replicas by its weight.
    pub fn target_parts(&self, weight: f64) -> f64 {
        let total: f64 = self.devices().map(|device| device.device.weight).sum();
        if total <= 0.0 {
            return 0.0;
        }
        self.partitions() as f64 * self.replicas * weight / total
    }

    /// Deviation of one device in percent.
    pub fn device_balance(&self, parts: u64, weight: f64) -> f64 {
        let target = self.target_parts(weight);
        if target <= 0.0 {
            return if parts > 0 { BALANCE_MAX } else { 0.0 };
        }
        100.0 * parts as f64 / target - 100.0
    }

    /// The worst deviation.
    pub fn balance(&self) -> Balance {
        let percent = self
            .devices()
            .filter(|device| !self.removed.contains(&device.device.id) || device.parts > 0)
            .map(|device| self.device_balance(device.parts, device.device.weight).abs())
            .fold(0.0, f64::max);
        Balance { percent }
    }

    /// Replicas of each partition that stand in one region, zone or node beyond the number that
    /// an even spread over those with weight would put there.
    pub fn dispersion(&self) -> Dispersion {
        if self.rows.is_empty() {
            return Dispersion { percent: 0.0 };
        }
        let tiers = self.tiers();
        let mut worse = 0u64;
        let mut total = 0u64;
        for part in 0..self.partitions() {
            let devices: Vec<_> = self.part_devices(part).collect();
            total += devices.len() as u64;
            let mut counts: HashMap<usize, u32> = HashMap::new();
            for device in &devices {
                for tier in tiers.path(*device) {
                    *counts.entry(tier).or_default() += 1;
                }
            }
            worse += counts
                .iter()
                .map(|(tier, count)| {
                    u64::from(count.saturating_sub(tiers.replicas_max(*tier, devices.len())))
                })
                .max()
                .unwrap_or(0);
        }
        Dispersion { percent: 100.0 * worse as f64 / total.max(1) as f64 }
    }
}

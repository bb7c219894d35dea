//! How well partitions follow weights.

use super::RingBuilder;

/// Greatest deviation of a device from its share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// In percent; 999.99 stands for a device without weight that still holds partitions.
    pub percent: f64,
}

/// Swift's figure for a device that holds partitions without weight.
const BALANCE_MAX: f64 = 999.99;

/// Percent by which a device is off its share.
fn deviation(parts: u64, share: f64) -> f64 {
    // Without any weight the share would be NaN.
    if share > 0.0 {
        100.0 * parts as f64 / share - 100.0
    } else if parts > 0 {
        BALANCE_MAX
    } else {
        0.0
    }
}

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
        deviation(parts, self.target_parts(weight))
    }

    /// The worst deviation.
    pub fn balance(&self) -> Balance {
        let total: f64 = self.devices().map(|device| device.device.weight).sum();
        let parts = self.partitions() as f64 * self.replicas;
        let percent = self
            .devices()
            .map(|device| deviation(device.parts, parts * device.device.weight / total).abs())
            .fold(0.0, f64::max);
        Balance { percent }
    }
}

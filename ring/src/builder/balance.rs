//! How well partitions follow weights, and replicas failure domains.

use super::RingBuilder;
use super::rebalance::tiers::{LEVELS, Tiers};

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

/// Percent by which a device is off its share.
fn deviation(parts: u64, share: f64) -> f64 {
    // Without any weight at all the share is no number.
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

    /// Share of replicas that stand in one region, zone, server or device beyond the number that
    /// an even spread over those with weight would put there, each counted once, at the level
    /// where its partition is worst.
    ///
    /// Like Swift's builder, this looks only at partitions that have all replicas when the last
    /// one is fractional. Source: `_build_dispersion_graph`.
    pub fn dispersion(&self) -> Dispersion {
        let tiers = Tiers::new(self);
        let limits = tiers.limits(self.replicas);
        let mut paths: Vec<&[u32; LEVELS]> = Vec::with_capacity(self.rows.len());
        let mut worse = 0u64;
        for part in 0..self.rows.last().map_or(0, Vec::len) {
            paths.clear();
            let ids = self.rows.iter().filter_map(|row| row.get(part));
            paths.extend(ids.filter(|id| tiers.knows(**id)).map(|id| tiers.path(*id)));
            let over = |level: usize| -> u32 {
                let node = |path: &[u32; LEVELS]| path.get(level).copied().unwrap_or(0);
                let excess = paths.iter().enumerate().map(|(index, path)| {
                    let own = node(path);
                    let count = |paths: &[&[u32; LEVELS]]| {
                        paths.iter().filter(|path| node(path) == own).count() as u32
                    };
                    // Each node once: where its first replica stands.
                    if count(paths.get(..index).unwrap_or_default()) > 0 {
                        return 0;
                    }
                    count(&paths).saturating_sub(limits.get(own as usize).copied().unwrap_or(0))
                });
                excess.sum()
            };
            worse += u64::from((0..LEVELS).map(over).max().unwrap_or(0));
        }
        let total = self.partitions() as f64 * self.replicas;
        Dispersion { percent: 100.0 * worse as f64 / total }
    }
}

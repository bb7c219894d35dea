//! How far devices must be filled over their weight for the best dispersion.
//!
//! Source: `swift/common/ring/builder.py`, `get_required_overload`. Amounts are *replicanths*:
//! replicas of a partition, on average over all partitions.

use std::collections::{BTreeMap, HashMap};

use super::RingBuilder;
use super::dispersion::Tier;
use crate::device::DeviceId;
use crate::error::BuilderError;

/// Smaller differences are rounding.
const TINY: f64 = 1e-10;

/// What one child of a domain may take.
struct Child {
    tier: Tier,
    weighted: f64,
    least: f64,
    most: f64,
    devices: f64,
    placed: f64,
}

impl RingBuilder {
    /// Replicanths of each device by weight; none has more than one.
    fn weighted_replicanths(&self) -> Result<HashMap<DeviceId, f64>, BuilderError> {
        let total: f64 = self.devices().map(|device| device.device.weight).sum();
        if total <= 0.0 {
            return Err(EMPTY.into());
        }
        let weighted = self.devices().filter(|device| device.device.weight > 0.0);
        let mut shares: HashMap<DeviceId, f64> = weighted
            .map(|device| {
                let share = self.replicas * device.device.weight / total;
                (device.device.id, share.min(1.0))
            })
            .collect();
        loop {
            let remaining = self.replicas - shares.values().sum::<f64>();
            let room: f64 = shares.values().filter(|share| **share < 1.0).sum();
            if remaining < TINY || room <= 0.0 {
                return Ok(shares);
            }
            let factor = remaining / room + 1.0;
            for share in shares.values_mut().filter(|share| **share < 1.0) {
                *share = (*share * factor).min(1.0);
            }
        }
    }

    /// The least overload (0.1 = 10 %) with which replicas are dispersed as well as can be.
    ///
    /// # Errors
    /// No device has weight, or fewer devices have weight than there are replicas.
    pub fn required_overload(&self) -> Result<f64, BuilderError> {
        let weighted = self.weighted_replicanths()?;
        let spread = self.even_spread(|share| share);
        let mut children: BTreeMap<Option<Tier>, Vec<Tier>> = BTreeMap::new();
        for tier in spread.keys() {
            children.entry(tier.parent()).or_default().push(tier.clone());
        }
        let (mut weights, mut devices) = (BTreeMap::new(), BTreeMap::new());
        for device in self.devices().filter(|device| device.device.weight > 0.0) {
            let share = weighted.get(&device.device.id).copied().unwrap_or(0.0);
            for tier in Tier::of(&device.device) {
                *weights.entry(tier.clone()).or_insert(0.0) += share;
                *devices.entry(tier).or_insert(0.0) += 1.0;
            }
        }
        let all = weighted.len() as f64;
        if self.replicas > all {
            return Err(
                format!("More replicanths ({:?}) than devices ({all})", self.replicas).into()
            );
        }
        let mut worst = 0.0f64;
        let mut waiting = vec![(None, self.replicas)];
        while let Some((parent, replicanths)) = waiting.pop() {
            let Some(tiers) = children.get(&parent) else { continue };
            let mut placed: Vec<Child> = tiers
                .iter()
                .map(|tier| {
                    let share = spread.get(tier).copied().unwrap_or(0.0);
                    Child {
                        tier: tier.clone(),
                        weighted: weights.get(tier).copied().unwrap_or(0.0),
                        least: share.floor(),
                        most: share.ceil(),
                        devices: devices.get(tier).copied().unwrap_or(0.0),
                        placed: 0.0,
                    }
                })
                .collect();
            place(&mut placed, replicanths);
            for child in placed {
                if let Some(share) = child.tier.id.and_then(|id| weighted.get(&id)) {
                    worst = worst.max((child.placed - share) / share);
                }
                waiting.push((Some(child.tier), child.placed));
            }
        }
        Ok(worst)
    }
}

/// In Swift's words.
const EMPTY: &str = "There are no devices in this ring, or all devices have been deleted";

/// Spreads replicanths over the children of a domain by weight, within what dispersion asks for
/// and devices allow.
fn place(children: &mut [Child], replicanths: f64) {
    let mut chosen: Vec<usize> = (0..children.len()).collect();
    let mut remaining = replicanths;
    let mut is_limited = false;
    // Each turn fixes a child at a bound at least, or ends; rounding must not turn it for ever.
    for _ in 0..children.len() * 4 + 8 {
        let weight: f64 =
            chosen.iter().filter_map(|at| children.get(*at)).map(|child| child.weighted).sum();
        if weight <= 0.0 {
            return;
        }
        let by_weight = remaining / weight;
        for at in &chosen {
            let Some(child) = children.get_mut(*at) else { continue };
            let mut share = child.placed + child.weighted * by_weight;
            if share < child.least {
                share = child.least;
            } else if share > child.most && !is_limited {
                share = child.most;
            }
            child.placed = share.min(child.devices);
        }
        remaining = replicanths - children.iter().map(|child| child.placed).sum::<f64>();
        let choose = |keep: &dyn Fn(&Child) -> bool| -> Vec<usize> {
            let kept = children.iter().enumerate().filter(|(_, child)| keep(child));
            kept.map(|(at, _)| at).collect()
        };
        if remaining < -TINY {
            chosen = choose(&|child| child.placed > child.least);
        } else if remaining > TINY {
            chosen = choose(&|child| child.placed < child.devices.min(child.most));
            if chosen.is_empty() {
                is_limited = true;
                chosen = choose(&|child| child.placed < child.devices);
            }
        } else {
            return;
        }
    }
}

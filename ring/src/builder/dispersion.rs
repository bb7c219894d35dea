//! How replicas of partitions share failure domains: Swift's dispersion graph.
//!
//! Source: `swift/common/ring/builder.py`, `_build_dispersion_graph`. Other than Swift's, the
//! partitions that a fractional last replica leaves out are counted, too.

use std::collections::BTreeMap;

use super::RingBuilder;
use crate::device::{Device, DeviceId};
use crate::ring::NO_DEVICE;

/// A failure domain: a region, a zone of it, a node of that, or a device. Sorts before its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tier {
    /// Region.
    pub region: u32,
    /// Zone in the region.
    pub zone: Option<u32>,
    /// Address in the zone.
    pub ip: Option<String>,
    /// Device at the address.
    pub id: Option<DeviceId>,
}

impl Tier {
    /// The domains of a device, from its region down to itself.
    pub fn of(device: &Device) -> [Self; 4] {
        let (region, zone, ip) = (device.region, Some(device.zone), Some(device.ip.clone()));
        [
            Self { region, zone: None, ip: None, id: None },
            Self { region, zone, ip: None, id: None },
            Self { region, zone, ip: ip.clone(), id: None },
            Self { region, zone, ip, id: Some(device.id) },
        ]
    }

    /// 0 for a region, 1 for a zone, 2 for a node, 3 for a device.
    pub fn level(&self) -> usize {
        usize::from(self.zone.is_some())
            + usize::from(self.ip.is_some())
            + usize::from(self.id.is_some())
    }

    /// The domain around it; none for a region.
    pub fn parent(&self) -> Option<Self> {
        let mut parent = self.clone();
        match self.level() {
            0 => return None,
            1 => parent.zone = None,
            2 => parent.ip = None,
            _ => parent.id = None,
        }
        Some(parent)
    }

    /// `r1z2-10.0.0.1/sda`, as far as it goes. `device` names the device.
    pub fn name(&self, device: impl FnOnce(DeviceId) -> Option<String>) -> String {
        let mut name = format!("r{}", self.region);
        if let Some(zone) = self.zone {
            name.push_str(&format!("z{zone}"));
        }
        if let Some(ip) = &self.ip {
            name.push_str(&format!("-{ip}"));
        }
        if let Some(id) = self.id {
            name.push_str(&format!("/{}", device(id).unwrap_or_else(|| format!("IDd{id}"))));
        }
        name
    }
}

/// For each failure domain, how many partitions have 0, 1, 2 … replicas in it.
pub type DispersionGraph = BTreeMap<Tier, Vec<u64>>;

/// The report of one failure domain.
#[derive(Debug, Clone, PartialEq)]
pub struct TierReport {
    /// The domain.
    pub tier: Tier,
    /// Its name.
    pub name: String,
    /// Most replicas of a partition that should lie in it.
    pub replicas_max: u64,
    /// Partition replicas in it.
    pub placed: u64,
    /// Percent of those that are over the most.
    pub dispersion: f64,
    /// Partitions by their number of replicas in it.
    pub replicas: Vec<u64>,
}

impl RingBuilder {
    /// The name of a domain.
    pub fn tier_name(&self, tier: &Tier) -> String {
        tier.name(|id| self.device(id).map(|device| device.device.device.clone()))
    }

    /// Most replicas of a partition that an even spread over devices with weight puts into each
    /// domain.
    pub fn replicas_max_by_tier(&self) -> BTreeMap<Tier, u64> {
        let shares = self.even_spread(f64::ceil);
        shares.into_iter().map(|(tier, share)| (tier, share as u64)).collect()
    }

    /// The share of each domain when replicas are spread evenly, rounded at each step by `round`.
    pub(super) fn even_spread(&self, round: impl Fn(f64) -> f64) -> BTreeMap<Tier, f64> {
        let mut tiers: BTreeMap<Tier, f64> = BTreeMap::new();
        let weighted = self.devices().filter(|device| device.device.weight != 0.0);
        for tier in weighted.flat_map(|device| Tier::of(&device.device)) {
            tiers.insert(tier, 0.0);
        }
        let mut children: BTreeMap<Option<Tier>, usize> = BTreeMap::new();
        for tier in tiers.keys() {
            *children.entry(tier.parent()).or_default() += 1;
        }
        // Parents sort before their children.
        let all: Vec<Tier> = tiers.keys().cloned().collect();
        for tier in all {
            let parent = tier.parent();
            let above = match &parent {
                None => self.replicas,
                Some(parent) => tiers.get(parent).copied().unwrap_or(0.0),
            };
            let siblings = children.get(&parent).copied().unwrap_or(1).max(1);
            let mut share = round(above / siblings as f64);
            if tier.level() == 3 {
                share = share.min(1.0);
            }
            tiers.insert(tier, share);
        }
        tiers
    }

    /// Counts the graph and the dispersion again. The version stays the same.
    pub fn note_dispersion(&mut self) {
        let most = self.replicas_max_by_tier();
        let mut numbers: BTreeMap<Tier, usize> = BTreeMap::new();
        let mut paths: Vec<[usize; 4]> = vec![[0; 4]; self.devices.len()];
        let mut limits: Vec<u64> = Vec::new();
        for device in self.devices.iter().flatten() {
            for (level, tier) in Tier::of(&device.device).into_iter().enumerate() {
                let limit = most.get(&tier).copied().unwrap_or(0);
                let number = *numbers.entry(tier).or_insert_with(|| {
                    limits.push(limit);
                    limits.len() - 1
                });
                let path = paths.get_mut(device.device.id as usize);
                if let Some(slot) = path.and_then(|path| path.get_mut(level)) {
                    *slot = number;
                }
            }
        }
        let counts = self.rows.len() + 1;
        let mut graph: Vec<Vec<u64>> = vec![vec![0; counts]; limits.len()];
        let mut at_risk = 0u64;
        let mut held: Vec<(usize, usize, usize)> = Vec::new();
        for part in 0..self.rows.first().map_or(0, Vec::len) {
            held.clear();
            for id in self.part_devices(part).filter(|id| *id != NO_DEVICE) {
                let path = paths.get(id as usize).copied().unwrap_or_default();
                for (level, number) in path.into_iter().enumerate() {
                    match held.iter_mut().find(|(_, known, _)| *known == number) {
                        Some((_, _, count)) => *count += 1,
                        None => held.push((level, number, 1)),
                    }
                }
            }
            let mut risk = [0u64; 4];
            for (level, number, count) in &held {
                if let Some(cell) = graph.get_mut(*number).and_then(|row| row.get_mut(*count)) {
                    *cell += 1;
                }
                let limit = limits.get(*number).copied().unwrap_or(0);
                if let Some(risk) = risk.get_mut(*level) {
                    *risk += (*count as u64).saturating_sub(limit);
                }
            }
            at_risk += risk.into_iter().max().unwrap_or(0);
        }
        let parts = self.partitions() as u64;
        self.dispersion_graph = numbers
            .into_iter()
            .filter_map(|(tier, number)| Some((tier, graph.get(number)?.clone())))
            .filter(|(_, row)| row.iter().any(|count| *count > 0))
            .map(|(tier, mut row)| {
                let with: u64 = row.iter().sum();
                if let Some(without) = row.first_mut() {
                    *without = parts.saturating_sub(with);
                }
                (tier, row)
            })
            .collect();
        self.dispersion = 100.0 * at_risk as f64 / (parts as f64 * self.replicas);
        self.dispersion_is_known = true;
    }

    /// What the graph says of each domain, in order.
    pub fn dispersion_report(&self) -> Vec<TierReport> {
        let most = self.replicas_max_by_tier();
        let report = |(tier, replicas): (&Tier, &Vec<u64>)| {
            let replicas_max = most.get(tier).copied().unwrap_or(0);
            let counts = || (0u64..).zip(replicas.iter().copied());
            let over: u64 = counts().map(|(n, parts)| n.saturating_sub(replicas_max) * parts).sum();
            let placed: u64 = counts().map(|(n, parts)| n * parts).sum();
            TierReport {
                tier: tier.clone(),
                name: self.tier_name(tier),
                replicas_max,
                placed,
                dispersion: 100.0 * over as f64 / placed.max(1) as f64,
                replicas: replicas.clone(),
            }
        };
        self.dispersion_graph.iter().map(report).collect()
    }
}

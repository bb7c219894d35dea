//! Comparison of two rings: partition replicas that move, by failure domain.
//!
//! Where the bytes in use are known, bytes and time are computed as well.
//!
//! A replica that changes its device within a zone moves for the devices and not for the zone.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::builder::Tier;
use crate::format::UncheckedRing;
use crate::{Device, RingError};

/// How devices of two rings are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchBy {
    /// By id: both rings come from one builder, and no id was reused in between.
    Id,
    /// By address, port and name.
    Place,
}

/// Partition replicas of one failure domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Replicas before.
    pub before: u64,
    /// Replicas afterwards.
    pub after: u64,
    /// Replicas that it receives.
    pub into: u64,
    /// Replicas that it gives away.
    pub out: u64,
}

/// All moves from one ring to another.
#[derive(Debug, Default)]
pub struct Moves {
    /// Partitions of which a replica moves.
    pub partitions: u64,
    /// Replicas that get another device.
    pub replicas: u64,
    /// Partitions of which more than one replica moves.
    pub risky: u64,
    replicas_before: u64,
    tiers: BTreeMap<Tier, (String, Change)>,
}

/// Bytes in use, and the rate at which a device sends or receives, for estimates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Amounts {
    /// Bytes on all devices.
    pub used: Option<f64>,
    /// Bytes a second of one device.
    pub rate: Option<f64>,
}

/// The devices of both rings under common indexes.
struct Numbers {
    devices: Vec<Device>,
    old: Vec<usize>,
    new: Vec<usize>,
}

const NO_INDEX: usize = usize::MAX;

fn number(old: &UncheckedRing, new: &UncheckedRing, same: MatchBy) -> Numbers {
    let mut known: BTreeMap<(u32, String, u16, String), usize> = BTreeMap::new();
    let mut devices: Vec<Device> = Vec::new();
    let mut of = |ring: &UncheckedRing| -> Vec<usize> {
        ring.devices
            .iter()
            .map(|slot| {
                let Some(device) = slot else { return NO_INDEX };
                let key = match same {
                    MatchBy::Id => (device.id, String::new(), 0, String::new()),
                    MatchBy::Place => (0, device.ip.clone(), device.port, device.device.clone()),
                };
                let at = *known.entry(key).or_insert_with(|| {
                    devices.push(device.clone());
                    devices.len() - 1
                });
                // The newer ring's domain counts.
                if let Some(known) = devices.get_mut(at) {
                    known.clone_from(device);
                }
                at
            })
            .collect()
    };
    let (old, new) = (of(old), of(new));
    Numbers { devices, old, new }
}

/// Indexes of the devices that hold a partition.
fn holders(ring: &UncheckedRing, numbers: &[usize], part: usize, into: &mut Vec<usize>) {
    into.clear();
    let ids = ring.rows.iter().filter_map(|row| row.get(part));
    let known = ids.filter_map(|id| numbers.get(*id as usize).copied());
    into.extend(known.filter(|at| *at != NO_INDEX));
}

/// Counts moves by failure domain, with small indexes in place of tiers.
struct Counter {
    moves: Moves,
    /// Indexes of each device's domains.
    paths: Vec<[usize; 4]>,
    /// By index of the domain.
    changes: Vec<Change>,
    /// Replicas of one partition by domain, in the old and the new ring.
    counts: Vec<(usize, i64, i64)>,
}

impl Counter {
    fn new(devices: &[Device]) -> Self {
        // Without matching by id, the two rings may use one id for different devices.
        let tiers: Vec<[Tier; 4]> = (0u32..)
            .zip(devices)
            .map(|(at, device)| {
                let mut tiers = Tier::of(device);
                if let Some(tier) = tiers.last_mut() {
                    tier.id = Some(at);
                }
                tiers
            })
            .collect();
        let mut moves = Moves::default();
        for (device, tiers) in devices.iter().zip(&tiers) {
            for tier in tiers {
                let name = tier.name(|_| Some(device.device.clone()));
                moves.tiers.entry(tier.clone()).or_insert_with(|| (name, Change::default()));
            }
        }
        let index: BTreeMap<Tier, usize> =
            moves.tiers.keys().enumerate().map(|(at, tier)| (tier.clone(), at)).collect();
        let paths = tiers
            .into_iter()
            .map(|tiers| tiers.map(|tier| index.get(&tier).copied().unwrap_or(0)))
            .collect();
        let changes = vec![Change::default(); index.len()];
        Self { moves, paths, changes, counts: Vec::new() }
    }

    fn count_holders(&mut self, devices: &[usize], is_old: bool) {
        let Self { paths, counts, .. } = self;
        for at in devices.iter().filter_map(|device| paths.get(*device)).flatten() {
            let slot = match counts.iter().position(|(known, ..)| known == at) {
                Some(slot) => slot,
                None => {
                    counts.push((*at, 0, 0));
                    counts.len() - 1
                }
            };
            if let Some((_, old, new)) = counts.get_mut(slot) {
                *(if is_old { old } else { new }) += 1;
            }
        }
    }

    /// Counts one partition.
    fn add(&mut self, before: &[usize], after: &[usize]) {
        self.counts.clear();
        self.count_holders(before, true);
        self.count_holders(after, false);
        for (at, old, new) in &self.counts {
            if let Some(change) = self.changes.get_mut(*at) {
                change.before += old.unsigned_abs();
                change.after += new.unsigned_abs();
                change.into += (new - old).max(0).unsigned_abs();
                change.out += (old - new).max(0).unsigned_abs();
            }
        }
        let moved = after.iter().filter(|device| !before.contains(device)).count() as u64;
        self.moves.replicas_before += before.len() as u64;
        self.moves.replicas += moved;
        self.moves.partitions += u64::from(moved > 0);
        self.moves.risky += u64::from(moved > 1 && !before.is_empty());
    }

    fn into_moves(mut self) -> Moves {
        for ((_, change), counted) in self.moves.tiers.values_mut().zip(self.changes) {
            *change = counted;
        }
        self.moves
    }
}

/// Compares two rings. The new one may have a larger part power.
///
/// # Errors
/// The part powers do not allow a comparison.
pub fn compare(
    old: &UncheckedRing,
    new: &UncheckedRing,
    same: MatchBy,
) -> Result<Moves, RingError> {
    let doubling =
        new.part_power.checked_sub(old.part_power).filter(|by| *by <= 8).ok_or_else(|| {
            format!(
                "part powers are {} and {}: the second must be equal or larger",
                old.part_power, new.part_power
            )
        })?;
    let numbers = number(old, new, same);
    let mut counter = Counter::new(&numbers.devices);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for part in 0..1usize << new.part_power {
        holders(old, &numbers.old, part >> doubling, &mut before);
        holders(new, &numbers.new, part, &mut after);
        counter.add(&before, &after);
    }
    Ok(counter.into_moves())
}

impl Moves {
    /// Bytes of a partition replica.
    pub fn replica_bytes(&self, amounts: Amounts) -> Option<f64> {
        amounts.used.map(|used| used / self.replicas_before.max(1) as f64)
    }

    /// Seconds until the device with the most to do is done.
    pub fn seconds(&self, amounts: Amounts) -> Option<f64> {
        let (each, rate) = (self.replica_bytes(amounts)?, amounts.rate.filter(|rate| *rate > 0.0)?);
        let devices = self.tiers.iter().filter(|(tier, _)| tier.level() == 3);
        let most = devices.map(|(_, (_, change))| change.into.max(change.out)).max().unwrap_or(0);
        Some(most as f64 * each / rate)
    }

    /// Failure domains with their names, in order.
    pub fn tiers(&self) -> impl Iterator<Item = (&Tier, &str, Change)> {
        self.tiers.iter().map(|(tier, (name, change))| (tier, name.as_str(), *change))
    }

    /// All counts, with bytes and seconds where they are known, as JSON.
    pub fn json(&self, amounts: Amounts) -> Value {
        let each = self.replica_bytes(amounts);
        let bytes = |replicas: u64| each.map(|each| each * replicas as f64);
        let tier = |(tier, (name, change)): (&Tier, &(String, Change))| {
            let level = ["region", "zone", "node", "device"].get(tier.level()).copied();
            json!({
                "tier": level,
                "name": name,
                "before": change.before,
                "after": change.after,
                "in": change.into,
                "out": change.out,
                "bytes_in": bytes(change.into),
                "bytes_out": bytes(change.out),
            })
        };
        json!({
            "replicas": self.replicas,
            "partitions": self.partitions,
            "partitions_with_several": self.risky,
            "bytes": bytes(self.replicas),
            "seconds": self.seconds(amounts),
            "tiers": self.tiers.iter().map(tier).collect::<Value>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(part_power: u32, zones: &[u32], rows: &[&[u32]]) -> UncheckedRing {
        let device = |(id, zone): (u32, &u32)| {
            let device = Device::at("10.0.0.1:1", &format!("d{id}")).unwrap();
            Some(Device { id, zone: *zone, region: 1, ..device })
        };
        UncheckedRing {
            devices: (0u32..).zip(zones).map(device).collect(),
            rows: rows.iter().map(|row| row.to_vec()).collect(),
            part_power,
            next_part_power: None,
            version: 1,
            id_width: 2,
        }
    }

    fn change(moves: &Moves, name: &str) -> Change {
        let found = moves.tiers.values().find(|(known, _)| known == name);
        found.map(|(_, change)| *change).unwrap()
    }

    #[test]
    fn a_move_within_a_zone_does_not_count_for_the_zone() {
        let old = ring(1, &[1, 1, 2], &[&[0, 0], &[2, 2]]);
        let new = ring(1, &[1, 1, 2], &[&[1, 0], &[2, 2]]);
        let moves = compare(&old, &new, MatchBy::Id).unwrap();
        assert_eq!((moves.replicas, moves.partitions, moves.risky), (1, 1, 0));
        assert_eq!(change(&moves, "r1z1"), Change { before: 2, after: 2, into: 0, out: 0 });
        assert_eq!(
            change(&moves, "r1z1-10.0.0.1/d1"),
            Change { before: 0, after: 1, into: 1, out: 0 }
        );
        let amounts = Amounts { used: Some(400.0), rate: Some(50.0) };
        assert_eq!(
            (moves.replica_bytes(amounts), moves.seconds(amounts)),
            (Some(100.0), Some(2.0))
        );
    }

    #[test]
    fn doubled_partitions_do_not_move_and_halved_ones_are_refused() {
        let old = ring(1, &[1, 2], &[&[0, 1]]);
        let new = ring(2, &[1, 2], &[&[0, 0, 1, 1]]);
        assert_eq!(compare(&old, &new, MatchBy::Place).unwrap().replicas, 0);
        assert!(compare(&new, &old, MatchBy::Place).is_err());
    }

    #[test]
    fn two_replicas_of_one_partition_are_reported() {
        let old = ring(0, &[1, 2, 3, 4], &[&[0], &[1]]);
        let new = ring(0, &[1, 2, 3, 4], &[&[2], &[3]]);
        assert_eq!(compare(&old, &new, MatchBy::Id).unwrap().risky, 1);
    }
}

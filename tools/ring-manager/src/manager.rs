//! Decisions of the ring manager, and the files that they change.
//!
//! It contacts no node. [`Manager::recover`] completes the work of a process that died between two
//! writes: a drain is noted before weights change, and a builder is written before its ring, so
//! that partitions that moved are known to have moved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use apus_daemon::seed;
use apus_ring::builder::place;
use apus_ring::builder::{BuilderDevice, RingBuilder};
use apus_ring::format;
use apus_ring::moves::{Amounts, MatchBy, compare};
use apus_ring::search::format_device;
use apus_wire::rings::RingFile;
use serde::Serialize;
use serde_json::Value;

use super::builders::{Builders, Stamp, devices_of, kind_of};
use super::state::{Place, State};
use super::watch::Server;

/// Whether rebalances need approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// The operator approves each change.
    Ask,
    /// Rebalance as soon as `min_part_hours` allow.
    Automatic,
}

/// A ring that needs a rebalance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Pending {
    pub(super) ring: String,
    pub(super) new: Vec<String>,
    pub(super) draining: Vec<String>,
    pub(super) leaving: Vec<String>,
    /// Whether devices hold other numbers of partitions than their share.
    pub(super) is_uneven: bool,
    pub(super) is_approved: bool,
    /// Seconds until `min_part_hours` are over.
    pub(super) seconds_left: u64,
}

/// A ring that was rebalanced.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Stepped {
    pub(super) ring: String,
    pub(super) moved: u64,
}

/// The builders, the state, and the operations on them.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) builders: Builders,
    pub(super) policy: Policy,
    /// Builders that a rebalance would not improve: version and hour of the attempt.
    settled: BTreeMap<String, (u64, u64)>,
    /// Versions of ring files and builders that match: large files are not read again.
    in_order: BTreeMap<String, (Stamp, Stamp)>,
    /// MD5 of ring files by version.
    digests: BTreeMap<String, (Stamp, String)>,
}

/// The device at a place, if it does not leave.
pub(super) fn at<'a>(builder: &'a RingBuilder, place: &Place) -> Option<&'a BuilderDevice> {
    builder.devices().find(|known| {
        known.device.ip == place.ip
            && known.device.device == place.device
            && !builder.removed.contains(&known.device.id)
    })
}

/// The place of a device.
pub(super) fn place_of(device: &apus_ring::Device) -> Place {
    Place { ip: device.ip.clone(), device: device.device.clone() }
}

impl Manager {
    /// Reads the builders and the state of a directory.
    pub(super) fn open(folder: &Path, policy: Policy) -> Result<Self, String> {
        let builders = Builders::open(folder)?;
        Ok(Self {
            builders,
            policy,
            settled: BTreeMap::new(),
            in_order: BTreeMap::new(),
            digests: BTreeMap::new(),
        })
    }

    /// Completes the work of a process that died, and reads what other processes wrote.
    pub(super) fn recover(&mut self, now_seconds: u64) -> Result<(), String> {
        self.builders.refresh()?;
        let is_done = self.weights_due().is_empty()
            && !self.builders.state.drains.iter().any(|draining| draining.cancelled)
            && self.rings_behind().is_empty();
        if is_done {
            return Ok(());
        }
        let _lock = self.builders.lock()?;
        self.apply_drains(now_seconds)?;
        for ring in self.rings_behind() {
            self.builders.save_ring(&ring, now_seconds)?;
        }
        Ok(())
    }

    /// Rings whose files are older than their builders' last rebalance.
    fn rings_behind(&mut self) -> Vec<String> {
        let rings: Vec<String> = self.builders.all().map(|(ring, _)| ring.to_owned()).collect();
        let mut behind = Vec::new();
        for ring in rings {
            let stamps = self.builders.stamps(&ring);
            if stamps.is_some() && self.in_order.get(&ring) == stamps.as_ref() {
                continue;
            }
            if self.is_ring_behind(&ring) {
                behind.push(ring);
            } else if let Some(stamps) = stamps {
                self.in_order.insert(ring, stamps);
            }
        }
        behind
    }

    fn is_ring_behind(&self, ring: &str) -> bool {
        let builder = self.builders.get(ring).filter(|builder| !builder.rows.is_empty());
        let Some(builder) = builder else { return false };
        let bytes = std::fs::read(self.builders.ring_path(ring)).ok();
        match bytes.and_then(|bytes| format::decode(&bytes).ok()) {
            Some(known) => {
                known.rows != builder.rows
                    || (!builder.devices_changed && known.devices != builder.ring_data().devices)
            }
            None => true,
        }
    }

    /// Rings whose partitions are to move, as of the last [`Manager::recover`].
    pub(super) fn pending(&self, now_seconds: u64) -> Vec<Pending> {
        let pending = self.builders.all().filter_map(|(ring, builder)| {
            // The first rebalance, and an increase of the part power, are left to the operator.
            if builder.rows.is_empty() || builder.next_part_power.is_some() {
                return None;
            }
            let names = |is_one: &dyn Fn(&BuilderDevice) -> bool| -> Vec<String> {
                let all = builder.devices().filter(|known| is_one(known));
                all.map(|known| format_device(&known.device)).collect()
            };
            let leaves = |known: &BuilderDevice| builder.removed.contains(&known.device.id);
            let weight = |known: &BuilderDevice| known.device.weight;
            let tried = self.settled.get(ring) == Some(&(builder.version, now_seconds / 3600));
            let one = Pending {
                ring: ring.to_owned(),
                new: names(&|known| weight(known) > 0.0 && known.parts == 0),
                draining: names(&|known| weight(known) == 0.0 && known.parts > 0 && !leaves(known)),
                leaving: names(&leaves),
                is_uneven: builder.devices().any(|known| known.parts_wanted != 0),
                is_approved: self.policy == Policy::Automatic
                    || self.builders.state.approved.get(ring) == Some(&devices_of(builder)),
                seconds_left: builder.seconds_until_rebalance(now_seconds),
            };
            let is_wanted = builder.devices_changed
                || !one.leaving.is_empty()
                || !one.draining.is_empty()
                || one.is_uneven;
            (is_wanted && !tried).then_some(one)
        });
        pending.collect()
    }

    /// The moves of the next rebalance, by ring.
    pub(super) fn foresight(&self, now_seconds: u64) -> Result<Value, String> {
        let mut moves_by_ring = serde_json::Map::new();
        for pending in self.pending(now_seconds) {
            let Some(builder) = self.builders.get(&pending.ring) else { continue };
            let mut after = builder.clone();
            place(&mut after, now_seconds, 0)
                .map_err(|error| format!("{}: {error}", pending.ring))?;
            let moves = compare(&builder.ring_data(), &after.ring_data(), MatchBy::Id)
                .map_err(|error| error.to_string())?;
            moves_by_ring.insert(pending.ring, moves.json(Amounts::default()));
        }
        Ok(Value::Object(moves_by_ring))
    }

    /// Approves all pending changes, in as many steps as they take.
    pub(super) fn approve(&mut self, now_seconds: u64) -> Result<Vec<String>, String> {
        let _lock = self.builders.lock()?;
        let mut state = self.builders.state.clone();
        let rings: Vec<String> =
            self.pending(now_seconds).into_iter().map(|one| one.ring).collect();
        for ring in &rings {
            if let Some(builder) = self.builders.get(ring) {
                state.approved.insert(ring.clone(), devices_of(builder));
            }
        }
        self.builders.save_state(state)?;
        Ok(rings)
    }

    /// Rebalances the approved rings once each. At most one replica of a partition moves.
    pub(super) fn step(&mut self, now_seconds: u64) -> Result<Vec<Stepped>, String> {
        let _lock = self.builders.lock()?;
        let mut stepped = Vec::new();
        for pending in self.pending(now_seconds) {
            if !pending.is_approved || pending.seconds_left > 0 {
                continue;
            }
            let ring = pending.ring.as_str();
            let Some(mut builder) = self.builders.get(ring).cloned() else { continue };
            let (changed, last) = (builder.devices_changed, builder.balance().percent);
            let seed = u64::from_le_bytes(seed::bytes());
            let done = place(&mut builder, now_seconds, seed)
                .map_err(|error| format!("{ring}: {error}"))?;
            let is_needed = changed || done.removed > 0 || !pending.draining.is_empty();
            let is_better = done.moved > 0 && (last - done.balance).abs() >= 1.0;
            if !is_needed && !is_better {
                let version = self.builders.get(ring).map_or(0, |builder| builder.version);
                self.settled.insert(ring.to_owned(), (version, now_seconds / 3600));
                continue;
            }
            builder.validate().map_err(|error| format!("{ring}: {error}"))?;
            let (approved, moved) = (devices_of(&builder), done.moved);
            self.builders.save(ring, builder, now_seconds)?;
            self.builders.save_ring(ring, now_seconds)?;
            if self.policy == Policy::Ask {
                let mut state: State = self.builders.state.clone();
                state.approved.insert(ring.to_owned(), approved);
                self.builders.save_state(state)?;
            }
            stepped.push(Stepped { ring: ring.to_owned(), moved });
        }
        Ok(stepped)
    }

    /// The ring files to distribute.
    pub(super) fn ring_files(&self) -> Result<Vec<RingFile>, String> {
        let paths = self.builders.all().map(|(ring, _)| self.builders.ring_path(ring));
        paths.filter(|path| path.exists()).map(|path| RingFile::read(&path)).collect()
    }

    /// MD5 of the ring files, by name.
    pub(super) fn digests(&mut self) -> BTreeMap<String, String> {
        let rings: Vec<String> = self.builders.all().map(|(ring, _)| ring.to_owned()).collect();
        let mut digests = BTreeMap::new();
        for ring in rings {
            let Some((stamp, _)) = self.builders.stamps(&ring) else { continue };
            let digest = match self.digests.get(&ring) {
                Some((known, digest)) if *known == stamp => digest.clone(),
                _ => match std::fs::read(self.builders.ring_path(&ring)) {
                    Ok(bytes) => format!("{:x}", md5::compute(bytes)),
                    Err(_) => continue,
                },
            };
            self.digests.insert(ring.clone(), (stamp, digest.clone()));
            digests.insert(ring, digest);
        }
        digests
    }

    /// Servers with devices in the builders, and whether one of these has weight.
    pub(super) fn servers(&self) -> BTreeMap<Server, bool> {
        let mut servers = BTreeMap::new();
        for (ring, builder) in self.builders.all() {
            for known in builder.devices() {
                let (address, kind) = (known.device.address(), kind_of(ring).to_owned());
                *servers.entry(Server { address, kind }).or_insert(false) |=
                    known.device.weight > 0.0;
            }
        }
        servers
    }

    /// Devices with weight but without partitions: the server, and the name.
    pub(super) fn newcomers(&self) -> BTreeSet<(Server, String)> {
        let new = |known: &&BuilderDevice| known.device.weight > 0.0 && known.parts == 0;
        let of = |(ring, builder): (&str, &RingBuilder)| {
            let all = builder.devices().filter(new).map(|known| {
                let (address, kind) = (known.device.address(), kind_of(ring).to_owned());
                (Server { address, kind }, known.device.device.clone())
            });
            all.collect::<Vec<_>>()
        };
        self.builders.all().flat_map(of).collect()
    }

    /// The servers that have a device in some ring.
    pub(super) fn servers_of(&self, place: &Place) -> BTreeSet<Server> {
        let of = |(ring, builder): (&str, &RingBuilder)| {
            let (address, kind) = (at(builder, place)?.device.address(), kind_of(ring).to_owned());
            Some(Server { address, kind })
        };
        self.builders.all().filter_map(of).collect()
    }

    /// Partition replicas that a device holds by the builders.
    pub(super) fn parts_of(&self, place: &Place) -> u64 {
        let parts =
            |(_, builder): (&str, &RingBuilder)| at(builder, place).map_or(0, |one| one.parts);
        self.builders.all().map(parts).sum()
    }
}

#[cfg(test)]
mod tests;

//! Joins: adds the devices of a node to the builders.
//!
//! All checks come first, then the builders are written one by one. Devices that a builder has stay
//! as they are, so a join can be repeated.

use std::collections::{BTreeMap, BTreeSet};

use apus_ring::DeviceId;
use apus_ring::builder::RingBuilder;
use apus_ring::search::{DeviceSpec, bracketed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::builders::kind_of;
use super::manager::{Manager, at, place_of};
use super::state::Place;

/// Most devices of one join.
const DEVICES_MAX: usize = 1000;

/// A new device of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JoiningDevice {
    pub(crate) name: String,
    /// Proposed from the size when not given.
    pub(crate) weight: Option<f64>,
    /// In bytes.
    pub(crate) size: Option<u64>,
}

/// Request of a node that joins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Joining {
    pub(crate) ip: String,
    pub(crate) region: Option<u32>,
    pub(crate) zone: Option<u32>,
    /// By kind of server: `account`, `container`, `object`.
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) devices: Vec<JoiningDevice>,
    /// Policies of object rings; all when empty.
    #[serde(default)]
    pub(crate) policies: Vec<u32>,
    /// Write nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// Whether a device may have this name, which is a directory and a part of search values and paths.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-+.,:".contains(c))
}

fn rounded(weight: f64) -> f64 {
    (weight * 100.0).round() / 100.0
}

/// The weight of a byte in a ring, by the known sizes; `None` without any.
fn weight_of_a_byte(builder: &RingBuilder, sizes: &BTreeMap<Place, u64>) -> Option<f64> {
    let (mut weights, mut bytes) = (0.0, 0.0);
    for known in builder.devices().filter(|known| known.device.weight > 0.0) {
        if let Some(size) = sizes.get(&place_of(&known.device)).filter(|size| **size > 0) {
            weights += known.device.weight;
            bytes += *size as f64;
        }
    }
    (bytes > 0.0).then_some(weights / bytes)
}

/// A device of a node in one ring.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct RegisteredDevice {
    ring: String,
    device: String,
    id: DeviceId,
    weight: f64,
    /// Whether this join added it.
    added: bool,
}

/// Response to a join.
#[derive(Debug, Serialize)]
struct Registration {
    region: u32,
    zone: u32,
    devices: Vec<RegisteredDevice>,
}

/// The policy index of an object ring.
fn policy_of(ring: &str) -> u32 {
    ring.split_once('-').and_then(|(_, index)| index.parse().ok()).unwrap_or(0)
}

impl Joining {
    /// The normal form of the address, after checks of what does not depend on the rings.
    fn checked_ip(&self) -> Result<String, String> {
        let ip: std::net::IpAddr =
            self.ip.parse().map_err(|_| format!("ip {:?}: expected an IP address", self.ip))?;
        if self.devices.is_empty() || self.devices.len() > DEVICES_MAX {
            return Err(format!("devices: expected 1 to {DEVICES_MAX}"));
        }
        Ok(ip.to_string())
    }

    /// Whether the devices join a ring.
    fn includes(&self, ring: &str) -> bool {
        self.policies.is_empty()
            || kind_of(ring) != "object"
            || self.policies.contains(&policy_of(ring))
    }
}

/// A node that joins, and its failure domain.
struct JoiningNode<'a> {
    joining: &'a Joining,
    ip: String,
    region: u32,
    zone: u32,
    /// Known sizes of devices, in bytes.
    sizes: &'a BTreeMap<Place, u64>,
}

impl JoiningNode<'_> {
    fn place(&self, device: &JoiningDevice) -> Place {
        Place { ip: self.ip.clone(), device: device.name.clone() }
    }

    /// Adds a device to a builder, unless the builder has it.
    fn register(
        &self,
        ring: &str,
        builder: &mut RingBuilder,
        device: &JoiningDevice,
    ) -> Result<RegisteredDevice, String> {
        let kind = kind_of(ring);
        let port = *self.joining.ports.get(kind).ok_or_else(|| format!("ports: no {kind}"))?;
        let place = self.place(device);
        let entry = |id: DeviceId, weight: f64, added: bool| RegisteredDevice {
            ring: ring.to_owned(),
            device: device.name.clone(),
            id,
            weight,
            added,
        };
        if let Some(known) = at(builder, &place) {
            let known = &known.device;
            if known.port != port {
                return Err(format!(
                    "{ring}: {place} is in the ring at port {}, not {port}",
                    known.port
                ));
            }
            return Ok(entry(known.id, known.weight, false));
        }
        let weight = self.weight(ring, builder, device)?;
        if !is_name(&device.name) || !weight.is_finite() || weight <= 0.0 {
            return Err(format!(
                "{place} with weight {weight}: expected a name of letters, digits and -+.,: that starts with a letter or digit, and a weight above 0"
            ));
        }
        let (region, zone, ip) = (self.region, self.zone, bracketed(&place.ip));
        let spec = DeviceSpec::add(&format!("r{region}z{zone}-{ip}:{port}/{}", device.name))
            .map_err(|error| error.to_string())?;
        let new = DeviceSpec { weight: Some(weight), ..spec }.new_device();
        let id = builder.add(new.map_err(|error| error.to_string())?);
        Ok(entry(id, weight, true))
    }

    /// The given weight, or the one that the size of the device has in the ring.
    fn weight(
        &self,
        ring: &str,
        builder: &RingBuilder,
        device: &JoiningDevice,
    ) -> Result<f64, String> {
        let place = self.place(device);
        match (device.weight, device.size) {
            (Some(weight), _) => Ok(weight),
            (None, Some(size)) => {
                let each = weight_of_a_byte(builder, self.sizes).ok_or_else(|| {
                    format!("{ring}: no server reports the size of a device, so give the weight of {place} as PATH:WEIGHT")
                })?;
                Ok(rounded(size as f64 * each))
            }
            (None, None) => Err(format!("{place}: neither weight nor size")),
        }
    }
}

impl Manager {
    /// Adds the devices of a node to the builders; those that are there already stay as they are.
    /// `sizes`: known sizes of devices, in bytes.
    pub(super) fn join(
        &mut self,
        joining: &Joining,
        sizes: &BTreeMap<Place, u64>,
        now_seconds: u64,
    ) -> Result<Value, String> {
        let ip = joining.checked_ip()?;
        let _lock = self.builders.lock()?;
        let (region, zone) = self.domain(&ip, joining)?;
        let node = JoiningNode { joining, ip, region, zone, sizes };
        let rings: Vec<String> = self.builders.all().map(|(ring, _)| ring.to_owned()).collect();
        for policy in &joining.policies {
            if !rings.iter().any(|ring| kind_of(ring) == "object" && policy_of(ring) == *policy) {
                return Err(format!("policy {policy}: no builder of such a ring exists"));
            }
        }
        for device in &joining.devices {
            self.check_is_free(&node.place(device))?;
        }
        let (mut devices, mut changed) = (Vec::new(), Vec::new());
        for ring in rings.into_iter().filter(|ring| joining.includes(ring)) {
            let Some(mut builder) = self.builders.get(&ring).cloned() else { continue };
            let first = devices.len();
            for device in &joining.devices {
                devices.push(node.register(&ring, &mut builder, device)?);
            }
            if devices.iter().skip(first).any(|device| device.added) {
                changed.push((ring, builder));
            }
        }
        if !joining.dry_run {
            for (ring, builder) in changed {
                self.builders.save(&ring, builder, now_seconds)?;
            }
        }
        Ok(json!(Registration { region, zone, devices }))
    }

    /// Refuses a device that is being drained or leaves a ring.
    fn check_is_free(&self, place: &Place) -> Result<(), String> {
        let leaves = |builder: &RingBuilder| {
            let mut known = builder.devices().filter(|one| place_of(&one.device) == *place);
            known.any(|one| builder.removed.contains(&one.device.id))
        };
        if self.builders.state.drains.iter().any(|draining| draining.place == *place) {
            return Err(format!("{place} is being drained (apus drain --cancel ends that)"));
        }
        if self.builders.all().any(|(_, builder)| leaves(builder)) {
            return Err(format!("{place} leaves a ring: join again when it is rebalanced"));
        }
        Ok(())
    }

    /// Region and zone of a node: the given ones, those of its devices in the rings, or a new zone if
    /// every other node has its own.
    fn domain(&self, ip: &str, joining: &Joining) -> Result<(u32, u32), String> {
        let devices = || self.builders.all().flat_map(|(_, builder)| builder.devices());
        let known = devices().find(|known| known.device.ip == ip).map(|known| &known.device);
        let regions: BTreeSet<u32> = devices().map(|known| known.device.region).collect();
        let region = match (joining.region, known, regions.len()) {
            (Some(region), ..) => region,
            (None, Some(known), _) => known.region,
            (None, None, 0) => 1,
            (None, None, 1) => regions.first().copied().unwrap_or(1),
            _ => {
                return Err(
                    "region: the cluster has several regions, so --region is needed".to_owned()
                );
            }
        };
        if let Some(zone) = joining.zone.or(known.map(|known| known.zone)) {
            return Ok((region, zone));
        }
        let mut nodes: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
        for known in devices().filter(|known| known.device.region == region) {
            nodes.entry(known.device.zone).or_default().insert(&known.device.ip);
        }
        if nodes.values().any(|ips| ips.len() > 1) {
            return Err(
                "zone: zones of this region have several nodes, so --zone is needed".to_owned()
            );
        }
        Ok((region, nodes.keys().last().map_or(1, |zone| zone + 1)))
    }
}

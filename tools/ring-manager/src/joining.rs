//! A node's devices come into the builders: checked as a whole first, then written ring by ring.
//! What is there already stays as it is, so that a join may be repeated.

use std::collections::{BTreeMap, BTreeSet};

use apus_ring::builder::{NewDevice, RingBuilder};
use apus_ring::search::Wanted;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::builders::kind_of;
use super::manager::{Manager, at, place_of};
use super::state::Place;

/// Devices that one join may bring.
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

/// What a node wants to bring in.
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
    /// Nothing is written.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// Whether a device may have this name: a directory in another, a word in search values and paths.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-+.,:".contains(c))
}

fn rounded(weight: f64) -> f64 {
    (weight * 100.0).round() / 100.0
}

/// What a byte weighs in a ring, by the sizes that are known; `None` when none is.
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

/// An address as it stands before a port.
fn bracketed(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

impl Manager {
    /// Adds the devices of a node to the builders; those that are there already stay as they are.
    /// `sizes` of devices that are known, in bytes.
    pub(super) fn join(
        &mut self,
        joining: &Joining,
        sizes: &BTreeMap<Place, u64>,
        now_seconds: u64,
    ) -> Result<Value, String> {
        let ip: std::net::IpAddr = joining
            .ip
            .parse()
            .map_err(|_| format!("ip {:?}: expected an IP address", joining.ip))?;
        if joining.devices.is_empty() || joining.devices.len() > DEVICES_MAX {
            return Err(format!("devices: expected 1 to {DEVICES_MAX}"));
        }
        let _lock = self.builders.lock()?;
        let (region, zone) = self.domain(&ip.to_string(), joining)?;
        let rings: Vec<String> = self.builders.all().map(|(ring, _)| ring.to_owned()).collect();
        let index = |ring: &str| match ring.split_once('-') {
            Some((_, index)) => index.parse().unwrap_or(0),
            None => 0,
        };
        for policy in &joining.policies {
            if !rings.iter().any(|ring| kind_of(ring) == "object" && index(ring) == *policy) {
                return Err(format!("policy {policy}: there is no builder of such a ring"));
            }
        }
        for device in &joining.devices {
            let place = Place { ip: ip.to_string(), device: device.name.clone() };
            let leaves = |builder: &RingBuilder| {
                let mut known = builder.devices().filter(|one| place_of(&one.device) == place);
                known.any(|one| builder.removed.contains(&one.device.id))
            };
            if self.builders.state.drains.iter().any(|draining| draining.place == place) {
                return Err(format!("{place} is being drained (apus drain --cancel ends that)"));
            }
            if self.builders.all().any(|(_, builder)| leaves(builder)) {
                return Err(format!("{place} leaves a ring: join again when it is rebalanced"));
            }
        }
        let mut told = Vec::new();
        let mut changed = Vec::new();
        for ring in rings {
            let kind = kind_of(&ring);
            let is_wanted = joining.policies.is_empty()
                || kind != "object"
                || joining.policies.contains(&index(&ring));
            if !is_wanted {
                continue;
            }
            let port = *joining.ports.get(kind).ok_or_else(|| format!("ports: no {kind}"))?;
            let Some(mut builder) = self.builders.get(&ring).cloned() else { continue };
            let mut is_changed = false;
            for device in &joining.devices {
                let place = Place { ip: ip.to_string(), device: device.name.clone() };
                if let Some(known) = at(&builder, &place) {
                    if known.device.port != port {
                        return Err(format!(
                            "{ring}: {place} is there at port {}, and not {port}",
                            known.device.port
                        ));
                    }
                    let weight = known.device.weight;
                    told.push(json!({ "ring": ring, "device": device.name, "id": known.device.id, "weight": weight, "added": false }));
                    continue;
                }
                let weight = match (device.weight, device.size) {
                    (Some(weight), _) => weight,
                    (None, Some(size)) => {
                        let each = weight_of_a_byte(&builder, sizes).ok_or_else(|| {
                            format!("{ring}: no server tells the size of a device, so say {place}'s weight: PATH:WEIGHT")
                        })?;
                        rounded(size as f64 * each)
                    }
                    (None, None) => return Err(format!("{place}: neither weight nor size")),
                };
                if !is_name(&device.name) || !weight.is_finite() || weight <= 0.0 {
                    return Err(format!(
                        "{place} with weight {weight}: expected a name of letters, digits and -+.,: that begins with a letter or digit, and a weight above 0"
                    ));
                }
                let wanted = Wanted::add(&format!(
                    "r{region}z{zone}-{}:{port}/{}",
                    bracketed(&place.ip),
                    device.name
                ))?;
                let new: NewDevice = Wanted { weight: Some(weight), ..wanted }.new_device()?;
                let id = builder.add(new);
                is_changed = true;
                told.push(json!({ "ring": ring, "device": device.name, "id": id, "weight": weight, "added": true }));
            }
            if is_changed {
                changed.push((ring, builder));
            }
        }
        if !joining.dry_run {
            for (ring, builder) in changed {
                self.builders.save(&ring, builder, now_seconds)?;
            }
        }
        Ok(json!({ "region": region, "zone": zone, "devices": told }))
    }

    /// Region and zone of a node that is new: as said; where it is already; a zone of its own if
    /// each of the others has that.
    fn domain(&self, ip: &str, joining: &Joining) -> Result<(u32, u32), String> {
        let devices = || self.builders.all().flat_map(|(_, builder)| builder.devices());
        let known = devices().find(|known| known.device.ip == ip).map(|known| &known.device);
        let regions: BTreeSet<u32> = devices().map(|known| known.device.region).collect();
        let region = match (joining.region, known, regions.len()) {
            (Some(region), ..) => region,
            (None, Some(known), _) => known.region,
            (None, None, 0) => 1,
            (None, None, 1) => regions.first().copied().unwrap_or(1),
            _ => return Err("region: the cluster has several, say --region".to_owned()),
        };
        if let Some(zone) = joining.zone.or(known.map(|known| known.zone)) {
            return Ok((region, zone));
        }
        let mut nodes: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
        for known in devices().filter(|known| known.device.region == region) {
            nodes.entry(known.device.zone).or_default().insert(&known.device.ip);
        }
        if nodes.values().any(|ips| ips.len() > 1) {
            return Err("zone: zones of this region have several nodes, say --zone".to_owned());
        }
        Ok((region, nodes.keys().last().map_or(1, |zone| zone + 1)))
    }
}

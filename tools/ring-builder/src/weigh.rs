//! `ring-builder B weigh`: weights by the sizes of disks, as their servers report them.
//!
//! The scale is the current average weight of a byte, or `--unit`. Devices that are drained (weight
//! 0), leave the ring or did not respond keep their weight.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use apus_recon::Disk;
use apus_ring::DeviceId;
use apus_ring::builder::RingBuilder;
use apus_ring::search::format_device;
use clap::Parser;
use serde_json::{Value, json};

use super::options::parse;
use super::output::CommandError;
use super::progress::Progress;
use super::quantity::{bytes, show_bytes};
use super::session::Session;
use super::table::aligned;
use super::{CommandResult, Exit};

#[derive(Debug, Parser)]
#[command(no_binary_name = true, infer_long_args = true, args_override_self = true)]
struct Options {
    /// Set the proposed weights
    #[arg(long)]
    apply: bool,
    /// Bytes that weigh 1, such as 1GB; by default the current average
    #[arg(long, value_parser = bytes)]
    unit: Option<f64>,
    /// Keep weights that differ by less than this, in percent
    #[arg(long, default_value_t = 1.0)]
    tolerance: f64,
    /// Seconds to wait for a server
    #[arg(short, long, default_value_t = 5)]
    timeout: u64,
}

/// Weights and sizes of one device.
#[derive(Debug)]
struct Weighed {
    id: DeviceId,
    name: String,
    size: u64,
    used: u64,
    weight: f64,
    proposed: f64,
}

/// Sizes and usage of a ring's devices by id, and a line per failure.
fn known_disks(
    builder: &RingBuilder,
    timeout: Duration,
) -> Result<(BTreeMap<DeviceId, Disk>, Vec<String>), CommandError> {
    let devices = || builder.devices().map(|known| &known.device);
    let servers: BTreeSet<(String, String)> =
        devices().map(|device| (device.ip.clone(), device.address())).collect();
    let (disks, mut failures) = apus_recon::disks(servers, timeout)?;
    let mut by_place: BTreeMap<(String, String), Disk> = BTreeMap::new();
    for disk in disks {
        by_place.insert((disk.address.clone(), disk.device.clone()), disk);
    }
    let mut known = BTreeMap::new();
    for device in devices() {
        match by_place.remove(&(device.address(), device.device.clone())) {
            Some(disk) if disk.size > 0 => {
                known.insert(device.id, disk);
            }
            _ => failures.push(format!("{}: its size is not known", format_device(device))),
        }
    }
    Ok((known, failures))
}

/// Bytes on all devices of a ring, for `--used recon`.
pub(super) fn used_bytes(builder: &RingBuilder, timeout: Duration) -> Result<f64, CommandError> {
    let (known, failures) = known_disks(builder, timeout)?;
    if !failures.is_empty() {
        return Err(format!("--used recon: {}", failures.join("\n")).into());
    }
    Ok(known.values().map(|disk| disk.used as f64).sum())
}

/// A weight with as many digits as operators write.
fn rounded(weight: f64) -> f64 {
    (weight * 100.0).round() / 100.0
}

/// Current and proposed weights.
fn weigh_all(
    builder: &RingBuilder,
    disks: &BTreeMap<DeviceId, Disk>,
    unit: Option<f64>,
    tolerance: f64,
) -> Result<Vec<Weighed>, CommandError> {
    let is_kept = |id: DeviceId, weight: f64| weight <= 0.0 || builder.removed.contains(&id);
    let (mut weights, mut sizes) = (0.0, 0.0);
    for known in builder.devices() {
        let device = &known.device;
        if let Some(disk) = disks.get(&device.id).filter(|_| !is_kept(device.id, device.weight)) {
            weights += device.weight;
            sizes += disk.size as f64;
        }
    }
    let each = match unit {
        Some(unit) if unit > 0.0 => 1.0 / unit,
        Some(_) => return Err("--unit: expected more than 0 bytes".into()),
        None if sizes > 0.0 => weights / sizes,
        None => 0.0,
    };
    let weigh = |known: &apus_ring::builder::BuilderDevice| {
        let device = &known.device;
        let disk = disks.get(&device.id)?;
        let right = rounded(disk.size as f64 * each);
        let is_near = (right - device.weight).abs() * 100.0 < tolerance * device.weight;
        let keep = is_near || is_kept(device.id, device.weight);
        Some(Weighed {
            id: device.id,
            name: format_device(device),
            size: disk.size,
            used: disk.used,
            weight: device.weight,
            proposed: if keep { device.weight } else { right },
        })
    };
    Ok(builder.devices().filter_map(weigh).collect())
}

pub(super) fn weigh(session: &mut Session, arguments: &[String]) -> CommandResult {
    let options: Options = parse(arguments)?;
    let progress = Progress::spinner(&session.out, "asking servers");
    let known = known_disks(&session.builder, Duration::from_secs(options.timeout));
    progress.end();
    let (disks, failures) = known?;
    for failure in &failures {
        session.out.say(failure.clone());
    }
    if disks.is_empty() {
        return Err("No server reported the size of a device of this ring.".into());
    }
    let weighed = weigh_all(&session.builder, &disks, options.unit, options.tolerance)?;
    show(session, &weighed);
    if options.apply {
        let mut count = 0;
        for one in weighed.iter().filter(|one| one.weight != one.proposed) {
            session.builder.set_weight(one.id, one.proposed)?;
            count += 1;
        }
        session.save()?;
        session.out.show(format!("{count} weights are set. A rebalance makes them take effect."));
        session.out.set("applied", count);
    }
    Ok(if failures.is_empty() { Exit::Success } else { Exit::Warning })
}

fn show(session: &mut Session, weighed: &[Weighed]) {
    let used: f64 = weighed.iter().map(|one| one.used as f64).sum();
    let weights: f64 = weighed.iter().map(|one| one.proposed).sum();
    // When the data has moved, each device has its share by weight of what is there now.
    let later = |one: &Weighed| {
        100.0 * used * one.proposed / weights.max(f64::MIN_POSITIVE) / one.size as f64
    };
    let now = |one: &Weighed| 100.0 * one.used as f64 / one.size as f64;
    let head = ["Device", "size", "used", "then", "weight", "proposed"].map(str::to_owned);
    let rows: Vec<_> = weighed
        .iter()
        .map(|one| {
            [
                one.name.clone(),
                show_bytes(one.size as f64),
                format!("{:.2}%", now(one)),
                format!("{:.2}%", later(one)),
                format!("{:.2}", one.weight),
                match one.weight == one.proposed {
                    true => "as it is".to_owned(),
                    false => format!("{:.2}", one.proposed),
                },
            ]
        })
        .collect();
    for line in aligned(std::iter::once(&head).chain(&rows)) {
        session.out.show(line);
    }
    let entry = |one: &Weighed| {
        json!({
            "id": one.id,
            "size": one.size,
            "used": one.used,
            "percent_used": now(one),
            "percent_used_then": later(one),
            "weight": one.weight,
            "proposed": one.proposed,
        })
    };
    session.out.set("devices", weighed.iter().map(entry).collect::<Value>());
}

#[cfg(test)]
mod tests {
    use apus_ring::builder::NewDevice;

    use super::*;

    fn builder(weights: &[f64]) -> RingBuilder {
        let mut builder = RingBuilder::new(4, 1.0, 1).unwrap();
        for (number, weight) in weights.iter().enumerate() {
            builder.add(NewDevice {
                region: 1,
                zone: 1,
                ip: "10.0.0.1".to_owned(),
                port: 6200,
                replication_ip: None,
                replication_port: None,
                device: format!("d{number}"),
                weight: *weight,
                meta: String::new(),
            });
        }
        builder
    }

    fn disks(sizes: &[u64]) -> BTreeMap<DeviceId, Disk> {
        let disk = |(id, size): (u32, &u64)| {
            let (address, device) = (String::new(), String::new());
            (id, Disk { address, device, size: *size, used: size / 2 })
        };
        (0u32..).zip(sizes).map(disk).collect()
    }

    #[test]
    fn weights_follow_sizes_on_the_scale_that_is_there() {
        let weighed =
            weigh_all(&builder(&[100.0, 100.0]), &disks(&[1_000, 3_000]), None, 1.0).unwrap();
        let proposed: Vec<f64> = weighed.iter().map(|one| one.proposed).collect();
        assert_eq!(proposed, [50.0, 150.0]);
    }

    #[test]
    fn drained_leaving_and_nearly_right_devices_keep_their_weight() {
        let mut builder = builder(&[10.0, 0.0, 10.04, 10.0]);
        builder.remove(3).unwrap();
        let weighed =
            weigh_all(&builder, &disks(&[1_000, 1_000, 1_000, 9_000]), Some(100.0), 1.0).unwrap();
        assert!(weighed.iter().all(|one| one.proposed == one.weight), "{weighed:?}");
    }
}

//! The default command, which shows the builder, and `version`.

use std::collections::BTreeSet;

use apus_ring::builder::{BuilderDevice, RingBuilder};
use apus_ring::format;
use apus_ring::search::bracketed;
use serde_json::{Value, json};

use super::commands::RingFileContext;
use super::output::{CommandError, Output};
use super::session::Session;
use super::{CommandResult, Exit};

/// A device as JSON.
pub(super) fn device_json(builder: &RingBuilder, known: &BuilderDevice) -> Value {
    let BuilderDevice { device, parts, parts_wanted } = known;
    json!({
        "id": device.id,
        "region": device.region,
        "zone": device.zone,
        "ip": device.ip,
        "port": device.port,
        "replication_ip": device.replication_ip,
        "replication_port": device.replication_port,
        "device": device.device,
        "weight": device.weight,
        "meta": device.meta,
        "partitions": parts,
        "partitions_wanted": parts_wanted,
        "balance": builder.device_balance(*parts, device.weight),
        "leaving": builder.removed.contains(&device.id),
    })
}

/// A table with Swift's columns.
fn table(session: &mut Session, devices: &[BuilderDevice], is_empty: bool) {
    let replication = |known: &BuilderDevice| {
        let device = &known.device;
        let ip = device.replication_ip.clone().unwrap_or_else(|| device.ip.clone());
        (ip, device.replication_port.unwrap_or(device.port))
    };
    let widest = |least: usize, text: &dyn Fn(&BuilderDevice) -> usize| {
        devices.iter().map(text).max().unwrap_or(0).max(least)
    };
    let brackets = |found: bool| if found { 2 } else { 0 };
    let ip_width = widest(10, &|known| known.device.ip.len())
        + brackets(devices.iter().any(|known| known.device.ip.contains(':')));
    let port_width = widest(4, &|known| known.device.port.to_string().len());
    let rep_ip_width = widest(14, &|known| replication(known).0.len())
        + brackets(devices.iter().any(|known| replication(known).0.contains(':')));
    let rep_port_width = widest(4, &|known| replication(known).1.to_string().len());
    let weight_width = widest(6, &|known| format!("{:6.2}", known.device.weight).len());
    session.out.show(format!(
        "Devices:{:>5} {:>6} {:>4} {:>ip_width$}:{:<port_width$} {:>rep_ip_width$}:{:<rep_port_width$} {:>5} {:>weight_width$} {:>10} {:>7} {:>5} {}",
        "id", "region", "zone", "ip address", "port", "replication ip", "port", "name", "weight",
        "partitions", "balance", "flags", "meta"
    ));
    for known in devices {
        let device = &known.device;
        let (rep_ip, rep_port) = replication(known);
        let balance = match is_empty {
            true => 0.0,
            false => session.builder.device_balance(known.parts, device.weight),
        };
        let flags = if session.builder.removed.contains(&device.id) { "DEL" } else { "" };
        session.out.show(format!(
            "{:>13} {:>6} {:>4} {:>ip_width$}:{:<port_width$} {:>rep_ip_width$}:{:<rep_port_width$} {:>5} {:weight_width$.2} {:>10} {balance:7.2} {flags:>5} {}",
            device.id,
            device.region,
            device.zone,
            bracketed(&device.ip),
            device.port,
            bracketed(&rep_ip),
            rep_port,
            device.device,
            device.weight,
            known.parts,
            device.meta
        ));
    }
}

/// How the ring file compares with the builder.
fn ring_state(session: &Session) -> (&'static str, String) {
    let name = session.names.ring.display();
    let Ok(bytes) = std::fs::read(&session.names.ring) else {
        let text = format!("Ring file {name} not found, probably it hasn't been written yet");
        return ("not found", text);
    };
    match format::decode(&bytes) {
        Err(error) => ("invalid", format!("Ring file {name} is invalid: {error}")),
        Ok(mut ring) => {
            let own = session.builder.ring_data();
            ring.id_width = own.id_width;
            let state = if own == ring { "up-to-date" } else { "obsolete" };
            (state, format!("Ring file {name} is {state}"))
        }
    }
}

pub(super) fn default(session: &mut Session) -> CommandResult {
    let builder = &session.builder;
    let mut devices: Vec<BuilderDevice> = builder.devices().cloned().collect();
    devices.sort_by(|one, other| {
        let key = |known: &BuilderDevice| {
            let device = &known.device;
            (device.region, device.zone, device.ip.clone(), device.device.clone())
        };
        key(one).cmp(&key(other))
    });
    let count = |key: &dyn Fn(&BuilderDevice) -> (u32, u32)| {
        devices.iter().map(key).collect::<BTreeSet<_>>().len()
    };
    let regions = count(&|known| (known.device.region, 0));
    let zones = count(&|known| (known.device.region, known.device.zone));
    let is_empty = !devices.iter().any(|known| known.device.weight > 0.0);
    let balance = if is_empty { 0.0 } else { builder.balance().percent };
    let dispersion = match builder.dispersion_is_known {
        true => format!(", {:.2} dispersion", builder.dispersion),
        false => String::new(),
    };
    let id = builder.id.clone().unwrap_or_else(|| "(not assigned)".to_owned());
    let lines = [
        format!("{}, build version {}, id {id}", session.names.builder.display(), builder.version),
        format!(
            "{} partitions, {:.6} replicas, {regions} regions, {zones} zones, {} devices, {}-byte IDs, {balance:.2} balance{dispersion}",
            builder.partitions(),
            builder.replicas,
            devices.len(),
            builder.id_width(),
        ),
        format!(
            "The minimum number of hours before a partition can be reassigned is {} ({} remaining)",
            builder.min_part_hours,
            session.remaining()
        ),
        format!(
            "The overload factor is {:.2}% ({:.6})",
            builder.overload * 100.0,
            builder.overload
        ),
    ];
    let (state, text) = ring_state(session);
    facts(session, &devices, state);
    lines.into_iter().for_each(|line| session.out.show(line));
    session.out.show(text);
    table(session, &devices, is_empty);
    for line in increase(session, state) {
        session.out.say(line);
    }
    if is_empty {
        session.out.say("There are no devices in this ring, or all devices have been deleted");
    }
    Ok(Exit::Success)
}

fn facts(session: &mut Session, devices: &[BuilderDevice], ring: &str) {
    let builder = &session.builder;
    let known = builder.dispersion_is_known.then_some(builder.dispersion);
    let facts = [
        ("version", json!(builder.version)),
        ("id", json!(builder.id)),
        ("part_power", json!(builder.part_power)),
        ("next_part_power", json!(builder.next_part_power)),
        ("partitions", json!(builder.partitions())),
        ("replicas", json!(builder.replicas)),
        ("min_part_hours", json!(builder.min_part_hours)),
        ("seconds_remaining", json!(builder.seconds_until_rebalance(session.now_seconds))),
        ("overload", json!(builder.overload)),
        ("dev_id_bytes", json!(builder.id_width())),
        ("balance", json!(builder.balance().percent)),
        ("dispersion", json!(known)),
        ("ring", json!(ring)),
        ("devices", devices.iter().map(|known| device_json(builder, known)).collect()),
    ];
    for (key, value) in facts {
        session.out.set(key, value);
    }
}

/// What to do next while the part power is being increased.
fn increase(session: &Session, ring: &str) -> Vec<String> {
    let builder = &session.builder;
    let (now, mut lines) = (builder.part_power, Vec::new());
    match builder.next_part_power {
        Some(next) if next == now + 1 => lines.push(format!(
            "\nPreparing increase of partition power ({now} -> {next})\n\
             Run \"swift-object-relinker relink\" on all nodes before moving on to increase_partition_power."
        )),
        Some(next) if next == now => {
            lines.push(format!("\nIncreased partition power ({now} -> {next})"));
            if ring != "up-to-date" {
                lines.push(
                    "First run \"swift-ring-builder <builderfile> write_ring\" now and copy the updated .ring.gz file to all nodes."
                        .to_owned(),
                );
            }
            lines.push(
                "Run \"swift-object-relinker cleanup\" on all nodes before moving on to finish_increase_partition_power."
                    .to_owned(),
            );
        }
        _ => {}
    }
    lines
}

/// Shows the version of the ring file; the builder may be missing.
pub(super) fn version(context: &RingFileContext<'_>, out: &mut Output) -> CommandResult {
    let name = context.names.ring.display();
    let bytes = std::fs::read(&context.names.ring)
        .map_err(|error| CommandError::Uncaught(format!("{name}: {error}")))?;
    let format = format::version(&bytes)?;
    let ring = format::decode(&bytes)?;
    out.show(format!(
        "{name}: Serialization version: {format} ({}-byte IDs), build version: {}",
        ring.id_width, ring.version
    ));
    out.set("format_version", format);
    out.set("dev_id_bytes", ring.id_width);
    out.set("version", ring.version);
    Ok(Exit::Success)
}

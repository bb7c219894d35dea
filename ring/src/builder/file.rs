//! Builder files: encoding and decoding of Swift's pickled dictionary.
//!
//! Source: `swift/common/ring/builder.py`, `save` and `load`. Very old files hold a pickled
//! `RingBuilder` object, whose state is the same dictionary.

use apus_cluster::pickle::{self, Value};

use super::dispersion::{DispersionGraph, Tier};
use super::{BuilderDevice, RingBuilder};
use crate::device::{Device, DeviceId};
use crate::error::BuilderError;
use crate::ring::NO_DEVICE;

/// Reads a builder file.
///
/// # Errors
/// Text that names what is missing or wrong.
pub fn decode(bytes: &[u8]) -> Result<RingBuilder, BuilderError> {
    let mut dict = pickle::loads(bytes)?;
    let rows = dict.take("_replica2part2dev");
    let moves = dict.take("_last_part_moves");
    let need = |key: &str| dict.get(key).ok_or_else(|| format!("builder file has no {key:?}"));
    let unsigned = |key: &str| -> Result<u64, BuilderError> {
        need(key)?
            .as_int()
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| format!("builder file: {key:?} is not a whole number").into())
    };
    let float = |key: &str| -> Result<f64, BuilderError> {
        need(key)?.as_float().ok_or_else(|| format!("builder file: {key:?} is not a number").into())
    };
    let part_power = u32::try_from(unsigned("part_power")?).map_err(|_| "part_power too large")?;
    let mut builder =
        RingBuilder::new(part_power, float("replicas")?, unsigned("min_part_hours")?)?;
    for (index, device) in need("devs")?.items().unwrap_or_default().iter().enumerate() {
        builder.devices.push(match device {
            Value::None => None,
            device => {
                Some(read_device(device).map_err(|error| format!("device {index}: {error}"))?)
            }
        });
    }
    if let Some(Value::List(rows)) = rows {
        for row in rows {
            let Value::Array(code, mut row) = row else {
                return Err("builder file: a replica row is not an array".into());
            };
            // The highest number of the width stands for "no device".
            let (width, none) = match code {
                b'H' => (2, u32::from(u16::MAX)),
                b'I' | b'L' => (4, u32::MAX),
                _ => return Err("builder file: a replica row is not an array of device ids".into()),
            };
            builder.id_width = Some(width);
            row.iter_mut().filter(|id| **id == none).for_each(|id| *id = NO_DEVICE);
            builder.rows.push(row);
        }
    }
    let age = |age: i64| u8::try_from(age).unwrap_or(u8::MAX);
    match moves {
        Some(Value::Array(_, ages)) => {
            builder.last_moves = ages.iter().map(|hours| age(i64::from(*hours))).collect();
        }
        Some(Value::Bytes(ages)) => builder.last_moves = ages,
        // Swift writes a list after an increase of the part power.
        Some(Value::List(ages)) => {
            builder.last_moves = ages.iter().filter_map(Value::as_int).map(age).collect();
        }
        _ => {}
    }
    for removed in dict.get("_remove_devs").and_then(Value::items).unwrap_or_default() {
        if let Some(id) = removed.get("id").and_then(Value::as_int) {
            builder.removed.push(DeviceId::try_from(id).unwrap_or(NO_DEVICE));
        }
    }
    let optional =
        |key: &str| dict.get(key).and_then(Value::as_int).and_then(|n| u64::try_from(n).ok());
    builder.version = optional("version").unwrap_or(0);
    builder.overload = dict.get("overload").and_then(Value::as_float).unwrap_or(0.0);
    builder.devices_changed = optional("devs_changed").unwrap_or(0) != 0;
    builder.last_moves_epoch = optional("_last_part_moves_epoch").unwrap_or(0);
    builder.last_gather_start =
        optional("_last_part_gather_start").and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let dispersion = dict.get("dispersion").and_then(Value::as_float);
    builder.dispersion = dispersion.unwrap_or(0.0);
    builder.dispersion_is_known = dispersion.is_some();
    builder.dispersion_graph = dict.get("_dispersion_graph").map(read_graph).unwrap_or_default();
    builder.next_part_power = optional("next_part_power").and_then(|n| u32::try_from(n).ok());
    // A pickled object keeps it under the name of its field.
    builder.id = dict.get("id").or_else(|| dict.get("_id")).and_then(Value::to_text);
    Ok(builder)
}

/// A graph with an unknown part is dropped: it can be counted again.
fn read_graph(value: &Value) -> DispersionGraph {
    let read = |(key, row): &(Value, Value)| {
        let number = |at: usize| key.items()?.get(at)?.as_int().and_then(|n| u32::try_from(n).ok());
        let length = key.items()?.len();
        if !(1..=4).contains(&length) {
            return None;
        }
        let tier = Tier {
            region: number(0)?,
            zone: number(1),
            ip: key.items()?.get(2).and_then(Value::to_text),
            id: number(3),
        };
        let count = |value: &Value| value.as_int().and_then(|n| u64::try_from(n).ok());
        let row = row.items()?.iter().map(count).collect::<Option<Vec<u64>>>()?;
        (tier.level() + 1 == length).then_some((tier, row))
    };
    match value {
        Value::Dict(items) => items.iter().map(read).collect::<Option<_>>().unwrap_or_default(),
        _ => DispersionGraph::new(),
    }
}

fn write_graph(graph: &DispersionGraph) -> Value {
    let int = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let items = graph.iter().map(|(tier, row)| {
        let mut key = vec![int(tier.region.into())];
        key.extend(tier.zone.map(|zone| int(zone.into())));
        key.extend(tier.ip.clone().map(Value::Str));
        key.extend(tier.id.map(|id| int(id.into())));
        (Value::Tuple(key), Value::List(row.iter().map(|count| int(*count)).collect()))
    });
    Value::Dict(items.collect())
}

fn read_device(value: &Value) -> Result<BuilderDevice, BuilderError> {
    let text = |key: &str| value.get(key).and_then(Value::to_text);
    let number = |key: &str| value.get(key).and_then(Value::as_int);
    let need = |key: &str| number(key).ok_or_else(|| format!("no {key:?}"));
    let narrow = |key: &str| -> Result<u32, BuilderError> {
        u32::try_from(need(key)?).map_err(|_| format!("{key:?} out of range").into())
    };
    let port = |number: i64| u16::try_from(number).map_err(|_| format!("port {number}"));
    let ip = text("ip").ok_or("no \"ip\"")?;
    Ok(BuilderDevice {
        device: Device {
            id: narrow("id")?,
            region: number("region").map_or(Ok(1), |_| narrow("region"))?,
            zone: narrow("zone")?,
            port: port(need("port")?)?,
            device: text("device").ok_or("no \"device\"")?,
            weight: value.get("weight").and_then(Value::as_float).ok_or("no \"weight\"")?,
            meta: text("meta").unwrap_or_default(),
            replication_ip: Some(text("replication_ip").unwrap_or_else(|| ip.clone())),
            replication_port: Some(port(
                number("replication_port").map_or_else(|| need("port"), Ok)?,
            )?),
            ip,
        },
        parts: number("parts").and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        parts_wanted: number("parts_wanted").unwrap_or(0),
    })
}

/// Writes a builder file that Swift's own builder loads.
pub fn encode(builder: &RingBuilder) -> Vec<u8> {
    let text = |text: &str| Value::Str(text.to_owned());
    let int = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let device = |device: &BuilderDevice| {
        let BuilderDevice { device, parts, parts_wanted } = device;
        Value::Dict(vec![
            (text("id"), int(device.id.into())),
            (text("region"), int(device.region.into())),
            (text("zone"), int(device.zone.into())),
            (text("ip"), text(&device.ip)),
            (text("port"), int(device.port.into())),
            (text("device"), text(&device.device)),
            (text("weight"), Value::Float(device.weight)),
            (text("meta"), text(&device.meta)),
            (text("replication_ip"), text(device.replication_ip.as_ref().unwrap_or(&device.ip))),
            (text("replication_port"), int(device.replication_port.unwrap_or(device.port).into())),
            (text("parts"), int(*parts)),
            (text("parts_wanted"), Value::Int(*parts_wanted)),
        ])
    };
    let devices = builder.devices.iter().map(|slot| slot.as_ref().map_or(Value::None, device));
    let (code, none) = match builder.id_width() {
        2 => (b'H', u32::from(u16::MAX)),
        _ => (b'I', u32::MAX),
    };
    let id = |id: &DeviceId| if *id == NO_DEVICE { none } else { *id };
    let rows = builder.rows.iter().map(|row| Value::Array(code, row.iter().map(id).collect()));
    let removed = builder.removed.iter().filter_map(|id| builder.device(*id)).map(device);
    let moves = if builder.rows.is_empty() {
        Value::None
    } else {
        Value::Array(b'B', builder.last_moves.iter().map(|age| u32::from(*age)).collect())
    };
    pickle::dumps(&Value::Dict(vec![
        (text("part_power"), int(builder.part_power.into())),
        (
            text("next_part_power"),
            builder.next_part_power.map_or(Value::None, |power| int(power.into())),
        ),
        (text("replicas"), Value::Float(builder.replicas)),
        (text("min_part_hours"), int(builder.min_part_hours)),
        (text("parts"), int(builder.partitions() as u64)),
        (text("devs"), Value::List(devices.collect())),
        (text("devs_changed"), Value::Bool(builder.devices_changed)),
        (text("dev_id_bytes"), int(builder.id_width() as u64)),
        (text("version"), int(builder.version)),
        (text("overload"), Value::Float(builder.overload)),
        (
            text("_replica2part2dev"),
            if builder.rows.is_empty() { Value::None } else { Value::List(rows.collect()) },
        ),
        (text("_last_part_moves_epoch"), int(builder.last_moves_epoch)),
        (text("_last_part_moves"), moves),
        (text("_last_part_gather_start"), int(builder.last_gather_start.into())),
        (text("_dispersion_graph"), write_graph(&builder.dispersion_graph)),
        (
            text("dispersion"),
            match builder.dispersion_is_known {
                true => Value::Float(builder.dispersion),
                false => Value::None,
            },
        ),
        (text("_remove_devs"), Value::List(removed.collect())),
        (text("id"), builder.id.as_deref().map_or(Value::None, text)),
    ]))
}

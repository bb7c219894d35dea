//! Commands that only tell.

use std::collections::BTreeMap;

use apus_ring::builder::BuilderDevice;
use apus_ring::{Ring, format};
use serde_json::{Value, json};

use super::search::Wanted;
use super::{Done, Exit, Session};

/// `H:MM:SS`, as Python shows a timedelta.
pub(super) fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day, {clock}"),
        days => format!("{days} days, {clock}"),
    }
}

fn device_json(session: &Session, device: &BuilderDevice) -> Value {
    let BuilderDevice { device, parts, .. } = device;
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
        "balance": session.builder.device_balance(*parts, device.weight),
        "leaving": session.builder.removed.contains(&device.id),
    })
}

fn table(session: &Session, devices: &[&BuilderDevice]) {
    let address = |device: &BuilderDevice| device.device.address();
    let replication = |device: &BuilderDevice| {
        let ip = device.device.replication_ip.as_ref().unwrap_or(&device.device.ip);
        format!("{ip}:{}", device.device.replication_port.unwrap_or(device.device.port))
    };
    let width = |least: usize, text: &dyn Fn(&BuilderDevice) -> String| {
        devices.iter().map(|device| text(device).len()).max().unwrap_or(0).max(least)
    };
    let address_width = width("ip address:port".len(), &address);
    let replication_width = width("replication ip:port".len(), &replication);
    let name_width = width("name".len(), &|device| device.device.device.clone());
    println!(
        "Devices:   id region zone {:>address_width$} {:>replication_width$}  {:<name_width$} weight partitions balance flags meta",
        "ip address:port", "replication ip:port", "name"
    );
    for device in devices {
        let balance = session.builder.device_balance(device.parts, device.device.weight);
        let leaving = session.builder.removed.contains(&device.device.id);
        println!(
            "        {:>5} {:>6} {:>4} {:>address_width$} {:>replication_width$}  {:<name_width$} {:>6.2} {:>10} {balance:>7.2} {:>5} {}",
            device.device.id,
            device.device.region,
            device.device.zone,
            address(device),
            replication(device),
            device.device.device,
            device.device.weight,
            device.parts,
            if leaving { "DEL" } else { "" },
            device.device.meta
        );
    }
}

pub(super) fn default(session: &Session) -> Done {
    let builder = &session.builder;
    let mut devices: Vec<&BuilderDevice> = builder.devices().collect();
    devices.sort_by_key(|known| {
        let device = &known.device;
        (device.region, device.zone, device.ip.clone(), device.device.clone())
    });
    if session.json {
        let devices: Vec<Value> =
            devices.iter().map(|device| device_json(session, device)).collect();
        let report = json!({
            "version": builder.version,
            "id": builder.id,
            "partitions": builder.partitions(),
            "replicas": builder.replicas,
            "min_part_hours": builder.min_part_hours,
            "overload": builder.overload,
            "balance": builder.balance().percent,
            "dispersion": builder.dispersion,
            "devices": devices,
        });
        println!("{report}");
        return Ok(Exit::Success);
    }
    let count = |key: &dyn Fn(&BuilderDevice) -> (u32, u32)| {
        devices.iter().map(|device| key(device)).collect::<std::collections::BTreeSet<_>>().len()
    };
    println!(
        "{}, build version {}, id {}",
        session.builder_file.display(),
        builder.version,
        builder.id.as_deref().unwrap_or("(not assigned)")
    );
    println!(
        "{} partitions, {:.6} replicas, {} regions, {} zones, {} devices, 2-byte IDs, {:.2} balance, {:.2} dispersion",
        builder.partitions(),
        builder.replicas,
        count(&|device| (device.device.region, 0)),
        count(&|device| (device.device.region, device.device.zone)),
        devices.len(),
        builder.balance().percent,
        builder.dispersion
    );
    println!(
        "The minimum number of hours before a partition can be reassigned is {} ({} remaining)",
        builder.min_part_hours,
        duration(builder.min_part_seconds_left(session.now_seconds))
    );
    println!("The overload factor is {:.2}% ({:.6})", builder.overload * 100.0, builder.overload);
    let name = session.ring_file.display();
    match std::fs::read(&session.ring_file) {
        Err(_) => println!("Ring file {name} not found, probably it hasn't been written yet"),
        Ok(bytes) => match format::decode(&bytes).and_then(Ring::check) {
            Err(error) => println!("Ring file {name} is invalid: {error}"),
            Ok(ring) => {
                let same = builder
                    .ring()
                    .is_ok_and(|own| own.rows() == ring.rows() && own.devices() == ring.devices());
                println!("Ring file {name} is {}", if same { "up-to-date" } else { "obsolete" });
            }
        },
    }
    table(session, &devices);
    Ok(Exit::Success)
}

fn find<'a>(session: &'a Session, arguments: &[String]) -> Result<Vec<&'a BuilderDevice>, String> {
    if arguments.is_empty() {
        return Err("a <search-value> is missing".to_owned());
    }
    let mut found: BTreeMap<u32, &BuilderDevice> = BTreeMap::new();
    if arguments.first().is_some_and(|word| word.starts_with("--")) {
        let (wanted, _) = Wanted::from_options(arguments)?;
        found.extend(wanted.find(&session.builder).into_iter().map(|d| (d.device.id, d)));
    } else {
        for search in arguments {
            let matches = Wanted::parse(search)?.find(&session.builder);
            found.extend(matches.into_iter().map(|device| (device.device.id, device)));
        }
    }
    if found.is_empty() {
        return Err("No matching devices found".to_owned());
    }
    Ok(found.into_values().collect())
}

pub(super) fn search(session: &Session, arguments: &[String]) -> Done {
    let found = find(session, arguments)?;
    if session.json {
        let found: Vec<Value> = found.iter().map(|device| device_json(session, device)).collect();
        println!("{}", Value::Array(found));
    } else {
        table(session, &found);
    }
    Ok(Exit::Success)
}

pub(super) fn list_parts(session: &Session, arguments: &[String]) -> Done {
    if session.builder.rows.is_empty() {
        return Err(format!(
            "Specified builder file \"{}\" is not rebalanced yet. Please rebalance first.",
            session.builder_file.display()
        ));
    }
    let ids: Vec<u32> = find(session, arguments)?.iter().map(|device| device.device.id).collect();
    let mut parts: Vec<(usize, usize)> = (0..session.builder.partitions())
        .map(|part| {
            let held = session.builder.part_devices(part).filter(|id| ids.contains(id)).count();
            (part, held)
        })
        .filter(|(_, held)| *held > 0)
        .collect();
    parts.sort_by_key(|(part, held)| (std::cmp::Reverse(*held), *part));
    if session.json {
        println!("{}", json!(parts));
        return Ok(Exit::Success);
    }
    println!("Partition   Matches");
    for (part, held) in parts {
        println!("{part:9}   {held:7}");
    }
    Ok(Exit::Success)
}

pub(super) fn validate(session: &Session) -> Done {
    if session.builder.rows.is_empty() {
        return Err("The ring was never rebalanced.".to_owned());
    }
    match session.builder.validate() {
        Ok(()) => Ok(Exit::Success),
        Err(error) => {
            println!("{error}");
            Ok(Exit::Error)
        }
    }
}

pub(super) fn dispersion(session: &Session) -> Done {
    if session.builder.rows.is_empty() {
        return Err("The ring was never rebalanced.".to_owned());
    }
    let (dispersion, balance) =
        (session.builder.dispersion().percent, session.builder.balance().percent);
    if session.json {
        println!("{}", json!({ "dispersion": dispersion, "balance": balance }));
    } else {
        println!(
            "Dispersion is {dispersion:.6}, Balance is {balance:.6}, Overload is {:.2}%",
            session.builder.overload * 100.0
        );
    }
    Ok(if dispersion > 0.0 { Exit::Warning } else { Exit::Success })
}

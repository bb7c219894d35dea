//! Commands that change a builder or write a ring.

use apus_daemon::seed;
use apus_ring::builder::RingBuilder;

use super::search::{Wanted, format_device};
use super::{Done, Exit, Session};

const RULE: &str =
    "-------------------------------------------------------------------------------";

fn number<T: std::str::FromStr>(text: Option<&String>, name: &str) -> Result<T, String> {
    let text = text.ok_or_else(|| format!("<{name}> is missing"))?;
    text.parse().map_err(|_| format!("<{name}> {text:?}: expected a number"))
}

pub(super) fn create(arguments: &[String]) -> Result<RingBuilder, String> {
    let mut builder = RingBuilder::new(
        number(arguments.first(), "part_power")?,
        number(arguments.get(1), "replicas")?,
        number(arguments.get(2), "min_part_hours")?,
    )?;
    builder.id = Some(seed::hex::<16>());
    Ok(builder)
}

pub(super) fn add(session: &mut Session, arguments: &[String]) -> Done {
    const UNCHANGED: &str = "The on-disk ring builder is unchanged.";
    let mut new = Vec::new();
    if arguments.first().is_some_and(|word| word.starts_with('-')) {
        let (wanted, weight) = Wanted::from_options(arguments)?;
        let weight = weight.ok_or("Required argument -w/--weight not specified.")?;
        new.push(wanted.new_device(weight)?);
    } else {
        if arguments.is_empty() || !arguments.len().is_multiple_of(2) {
            return Err("add needs pairs of <device> and <weight>".to_owned());
        }
        for pair in arguments.chunks(2) {
            let [text, weight] = pair else { continue };
            let weight = weight
                .parse()
                .map_err(|_| format!("Invalid weight value: {weight}\n{UNCHANGED}"))?;
            let wanted = Wanted::parse(text)
                .map_err(|_| format!("Invalid add value: {text}\n{UNCHANGED}"))?;
            new.push(wanted.new_device(weight).map_err(|error| format!("{error}\n{UNCHANGED}"))?);
        }
    }
    for device in new {
        let known = session.builder.devices().find(|known| {
            (&known.device.ip, known.device.port, &known.device.device)
                == (&device.ip, device.port, &device.device)
        });
        if let Some(known) = known {
            return Err(format!(
                "Device {} already uses {}:{}/{}.\n{UNCHANGED}\n",
                known.device.id, device.ip, device.port, device.device
            ));
        }
        let weight = device.weight;
        let id = session.builder.add(device);
        if let Some(added) = session.builder.device(id) {
            println!("Device {} with {weight:?} weight got id {id}", format_device(&added.device));
        }
    }
    session.save().map(|()| Exit::Success)
}

/// Pairs of search value and another word; every search must find something.
fn each_match(
    session: &mut Session,
    arguments: &[String],
    mut change: impl FnMut(&mut Session, u32, &str) -> Result<(), String>,
) -> Done {
    if arguments.is_empty() || !arguments.len().is_multiple_of(2) {
        return Err("expected pairs of <search-value> and a value".to_owned());
    }
    for pair in arguments.chunks(2) {
        let [search, value] = pair else { continue };
        let found = ids(session, search)?;
        for id in found {
            change(session, id, value)?;
        }
    }
    session.save().map(|()| Exit::Success)
}

fn ids(session: &Session, search: &str) -> Result<Vec<u32>, String> {
    let found = Wanted::parse(search)?.find(&session.builder);
    if found.is_empty() {
        return Err(format!(
            "Search value \"{search}\" matched 0 devices.\nThe on-disk ring builder is unchanged."
        ));
    }
    Ok(found.iter().map(|device| device.device.id).collect())
}

pub(super) fn set_weight(session: &mut Session, arguments: &[String]) -> Done {
    each_match(session, arguments, |session, id, value| {
        let weight: f64 = value.parse().map_err(|_| format!("Invalid weight value: {value}"))?;
        session.builder.set_weight(id, weight)?;
        if let Some(device) = session.builder.device(id) {
            println!("{} weight set to {weight:?}", format_device(&device.device));
        }
        Ok(())
    })
}

pub(super) fn set_info(session: &mut Session, arguments: &[String]) -> Done {
    each_match(session, arguments, |session, id, value| {
        let change = Wanted::parse(value)?;
        let Some(device) = session.builder.device_mut(id) else { return Ok(()) };
        let before = format_device(&device.device);
        change.apply(&mut device.device);
        println!("Device {before} is now {}", format_device(&device.device));
        session.builder.devices_changed = true;
        session.builder.touch();
        Ok(())
    })
}

pub(super) fn remove(session: &mut Session, arguments: &[String]) -> Done {
    if arguments.is_empty() {
        return Err("remove needs a <search-value>".to_owned());
    }
    for search in arguments {
        for id in ids(session, search)? {
            session.builder.remove(id)?;
            if let Some(device) = session.builder.device(id) {
                println!(
                    "{} marked for removal and will be removed next rebalance.",
                    format_device(&device.device)
                );
            }
        }
    }
    session.save().map(|()| Exit::Success)
}

/// `1` or `2` after `--format-version`; 1 as Swift, so that older readers go on.
fn format_version(arguments: &[String]) -> Result<u8, String> {
    let at = arguments.iter().position(|word| word == "--format-version");
    match at.map(|at| arguments.get(at + 1).map(String::as_str)) {
        None | Some(Some("1")) => Ok(1),
        Some(Some("2")) => Ok(2),
        Some(other) => Err(format!("--format-version {other:?}: expected 1 or 2")),
    }
}

pub(super) fn write_ring(session: &Session, arguments: &[String]) -> Done {
    let version = format_version(arguments)?;
    if session.builder.rows.is_empty() {
        println!("Writing a ring with no devices is not possible: rebalance first.");
        return Ok(Exit::Error);
    }
    if session.builder.devices_changed {
        println!("Warning: devices changed since the last rebalance.");
    }
    session.save_ring(version)?;
    Ok(if session.builder.devices_changed { Exit::Warning } else { Exit::Success })
}

/// A number from any text, so that a word is as good a seed.
fn seed_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub(super) fn rebalance(session: &mut Session, arguments: &[String]) -> Done {
    let version = format_version(arguments)?;
    let has = |name: &str| arguments.iter().any(|word| word == name);
    let force = has("--force") || has("-f");
    let seed = arguments
        .iter()
        .position(|word| word == "--seed" || word == "-s")
        .and_then(|at| arguments.get(at + 1));
    let seed = seed.map_or_else(|| u64::from_le_bytes(seed::bytes()), |text| seed_of(text));
    let builder = &mut session.builder;
    let (changed, before) = (builder.devices_changed, builder.balance().percent);
    let (left, dispersion_before) =
        (builder.min_part_seconds_left(session.now_seconds), builder.dispersion);
    let report = builder.rebalance(session.now_seconds, seed).and_then(|report| {
        builder.validate()?;
        Ok(report)
    });
    let report = report.map_err(|error| {
        format!(
            "{RULE}\nAn error has occurred during ring validation. Common\ncauses of failure are rings that are empty or do not\nhave enough devices to accommodate the replica count.\nOriginal exception message:\n {error}\n{RULE}"
        )
    })?;
    if report.moved == 0 && report.removed == 0 && !force {
        println!("No partitions could be reassigned.");
        if left > 0 {
            println!(
                "The time between rebalances must be at least min_part_hours: {} hours ({} remaining)",
                builder.min_part_hours,
                super::report::duration(left)
            );
        } else {
            println!("There is no need to do so at this time");
        }
        return Ok(Exit::Warning);
    }
    let balance = builder.balance().percent;
    let improved =
        (before - balance).abs() >= 1.0 || (dispersion_before - builder.dispersion).abs() >= 1.0;
    if !force && !changed && !improved && report.removed == 0 {
        println!("Cowardly refusing to save rebalance as it did not change at least 1%.");
        return Ok(Exit::Warning);
    }
    let share = 100.0 * report.moved as f64 / builder.partitions() as f64;
    println!(
        "Reassigned {} ({share:.2}%) partitions. Balance is now {balance:.2}.  Dispersion is now {:.2}",
        report.moved, builder.dispersion
    );
    let mut exit = Exit::Success;
    if builder.dispersion > 0.0 {
        println!(
            "{RULE}\nNOTE: Dispersion of {:.6} indicates some parts are not\n      optimally dispersed.\n\n      You may want to adjust some device weights, increase\n      the overload or review the dispersion report.\n{RULE}",
            builder.dispersion
        );
        exit = Exit::Warning;
    } else if balance > 5.0 && balance / 100.0 > builder.overload {
        println!(
            "{RULE}\nNOTE: Balance of {balance:.2} indicates you should push this \n      ring, wait at least {} hours, and rebalance/repush.\n{RULE}",
            builder.min_part_hours
        );
        exit = Exit::Warning;
    }
    session.save_ring(version)?;
    session.save()?;
    Ok(exit)
}

pub(super) fn set_min_part_hours(session: &mut Session, arguments: &[String]) -> Done {
    session.builder.min_part_hours = number(arguments.first(), "hours")?;
    session.builder.touch();
    println!(
        "The minimum number of hours before a partition can be reassigned is now set to {}",
        session.builder.min_part_hours
    );
    session.save().map(|()| Exit::Success)
}

pub(super) fn set_replicas(session: &mut Session, arguments: &[String]) -> Done {
    let replicas: f64 = number(arguments.first(), "replicas")?;
    if replicas.is_nan() || replicas < 1.0 {
        return Err("New replica count must be at least 1.".to_owned());
    }
    session.builder.replicas = replicas;
    session.builder.devices_changed = true;
    session.builder.touch();
    println!(
        "The replica count is now {replicas:.6}.\nThe change will take effect after the next rebalance."
    );
    session.save().map(|()| Exit::Success)
}

pub(super) fn set_overload(session: &mut Session, arguments: &[String]) -> Done {
    let text = arguments.first().ok_or("<overload> is missing")?;
    let invalid = || format!("Invalid overload value: '{text}'");
    let overload: f64 = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map_err(|_| invalid())? / 100.0,
        None => text.parse().map_err(|_| invalid())?,
    };
    if overload.is_nan() || overload < 0.0 {
        return Err("Overload must be non-negative.".to_owned());
    }
    session.builder.overload = overload;
    session.builder.devices_changed = true;
    session.builder.touch();
    println!(
        "The overload factor is now {:.2}% ({overload:.6})\nThe change will take effect after the next rebalance.",
        overload * 100.0
    );
    session.save().map(|()| Exit::Success)
}

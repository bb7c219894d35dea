//! Commands on devices: search, list_parts, add, set_weight, set_region, set_zone, set_info,
//! remove.

use std::collections::HashSet;
use std::io::Write;

use apus_ring::python;
use apus_ring::search::{DeviceSpec, format_device};
use apus_ring::{BuilderError, DeviceId, SyntaxError};
use serde_json::{Value, json};

use super::options::{DeviceOptions, parse};
use super::output::CommandError;
use super::session::Session;
use super::show::device_json;
use super::{CommandResult, Exit, usage};

const UNCHANGED: &str = "The on-disk ring builder is unchanged.";

fn found(session: &Session, spec: &DeviceSpec) -> Vec<DeviceId> {
    spec.find(&session.builder).iter().map(|device| device.device.id).collect()
}

/// The devices of search values, or of options when `allow` says so.
fn chosen(
    session: &Session,
    command: &str,
    options: &DeviceOptions,
    many: bool,
) -> Result<Vec<DeviceId>, CommandError> {
    if options.words.is_empty() {
        return Ok(found(session, &options.spec()?));
    }
    if options.by_options() || (!many && options.words.len() != 1) {
        return Err(usage(command));
    }
    let mut ids = Vec::new();
    for word in &options.words {
        ids.extend(found(session, &DeviceSpec::search(word)?));
    }
    Ok(ids)
}

pub(super) fn search(session: &mut Session, arguments: &[String]) -> CommandResult {
    if arguments.is_empty() {
        return Err(usage("search"));
    }
    let options: DeviceOptions = parse(arguments)?;
    let ids = chosen(session, "search", &options, false)?;
    if ids.is_empty() {
        return Err("No matching devices found".into());
    }
    session.out.show(
        "Devices:    id  region  zone      ip address  port  replication ip  replication port      \
         name weight partitions balance meta",
    );
    let mut entries = Vec::new();
    for id in ids {
        let Some(known) = session.builder.device(id) else { continue };
        let device = &known.device;
        let line = format!(
            "         {:>5} {:>7} {:>5} {:>15} {:>5} {:>15} {:>17} {:>9} {:6.2} {:>10} {:7.2} {}",
            device.id,
            device.region,
            device.zone,
            device.ip,
            device.port,
            device.replication_ip.as_ref().unwrap_or(&device.ip),
            device.replication_port.unwrap_or(device.port),
            device.device,
            device.weight,
            known.parts,
            session.builder.device_balance(known.parts, device.weight),
            device.meta
        );
        entries.push(device_json(&session.builder, known));
        session.out.show(line);
    }
    session.out.set("devices", entries);
    Ok(Exit::Success)
}

pub(super) fn list_parts(session: &mut Session, arguments: &[String]) -> CommandResult {
    if arguments.is_empty() {
        return Err(usage("list_parts"));
    }
    not_rebalanced(session)?;
    let options: DeviceOptions = parse(arguments)?;
    let ids: HashSet<DeviceId> =
        chosen(session, "list_parts", &options, true)?.into_iter().collect();
    let mut counts = vec![0usize; session.builder.partitions()];
    // Equal counts are in the order of replicas, then partitions.
    let mut order = Vec::new();
    for row in &session.builder.rows {
        for ((part, id), count) in row.iter().enumerate().zip(&mut counts) {
            if ids.contains(id) {
                if *count == 0 {
                    order.push(part);
                }
                *count += 1;
            }
        }
    }
    if order.is_empty() {
        return Err("No matching devices found".into());
    }
    let mut parts: Vec<(usize, usize)> =
        order.into_iter().map(|part| (part, counts.get(part).copied().unwrap_or(0))).collect();
    parts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    session.out.show("Partition   Matches");
    for (part, count) in &parts {
        session.out.show(format!("{part:9}   {count:7}"));
    }
    session.out.set("partitions", json!(parts));
    Ok(Exit::Success)
}

/// Refuses commands that need partitions.
pub(super) fn not_rebalanced(session: &Session) -> Result<(), CommandError> {
    if session.builder.rows.is_empty() {
        return Err(CommandError::Message(format!(
            "Specified builder file \"{}\" is not rebalanced yet. Please rebalance first.",
            session.names.builder.display()
        )));
    }
    Ok(())
}

/// Refuses changes of devices during an increase of the part power.
fn no_increase(session: &Session, what: &str) -> Result<(), CommandError> {
    if session.builder.next_part_power.is_some() {
        return Err(CommandError::Message(format!(
            "Partition power increase in progress. You need \n\
             to finish the increase first before {what} devices."
        )));
    }
    Ok(())
}

pub(super) fn add(session: &mut Session, arguments: &[String]) -> CommandResult {
    if arguments.len() < 2 {
        return Err(usage("add"));
    }
    no_increase(session, "adding")?;
    let options: DeviceOptions = parse(arguments)?;
    let mut new = Vec::new();
    let refuse = |error: SyntaxError| CommandError::Message(format!("{error}\n{UNCHANGED}"));
    if options.words.is_empty() {
        new.push(options.spec().and_then(DeviceSpec::new_device).map_err(refuse)?);
    } else {
        if options.by_options() || !options.words.len().is_multiple_of(2) {
            return Err(usage("add"));
        }
        for pair in options.words.chunks(2) {
            let [text, weight] = pair else { continue };
            let mut spec = DeviceSpec::add(text).map_err(refuse)?;
            if spec.region.is_none() {
                session.out.warn(&format!(
                    "WARNING: No region specified for {text}. Defaulting to region 1.\n"
                ));
                spec.region = Some(1);
            }
            let weight = python::float(weight).map_err(refuse)?;
            if weight < 0.0 {
                return Err(refuse(format!("Invalid weight value: {text}").into()));
            }
            spec.weight = Some(weight);
            new.push(spec.new_device().map_err(refuse)?);
        }
    }
    let mut entries = Vec::new();
    for device in new {
        let known = session.builder.devices().find(|known| {
            (&known.device.ip, known.device.port, &known.device.device)
                == (&device.ip, device.port, &device.device)
        });
        if let Some(known) = known {
            return Err(CommandError::Message(format!(
                "Device {} already uses {}:{}/{}.\n{UNCHANGED}\n",
                known.device.id, device.ip, device.port, device.device
            )));
        }
        let weight = python::show(device.weight);
        let id = session.builder.add(device);
        if let Some(added) = session.builder.device(id) {
            let name = format_device(&added.device);
            session.out.say(format!("Device {name} with {weight} weight got id {id}"));
            entries.push(json!(id));
        }
    }
    session.out.set("added", entries);
    session.save()?;
    Ok(Exit::Success)
}

/// Refuses an empty selection, and asks for confirmation of several devices.
fn check(
    session: &mut Session,
    ids: &[DeviceId],
    yes: bool,
    question: &str,
    abort: &str,
) -> Result<(), CommandError> {
    if ids.is_empty() {
        return Err(CommandError::Message(format!("Search value matched 0 devices.\n{UNCHANGED}")));
    }
    if ids.len() == 1 {
        return Ok(());
    }
    session.out.say("Matched more than one device:");
    for id in ids {
        if let Some(device) = session.builder.device(*id) {
            let name = format_device(&device.device);
            session.out.say(format!("    {name}"));
        }
    }
    if yes || confirmed(session, question) { Ok(()) } else { Err(abort.into()) }
}

/// Asks on the terminal; only `y` is a yes.
fn confirmed(session: &Session, question: &str) -> bool {
    let question = format!("{question} (y/N) ");
    // Standard output may hold JSON.
    let asked = match session.out.is_json() {
        true => write!(std::io::stderr(), "{question}").and_then(|()| std::io::stderr().flush()),
        false => write!(std::io::stdout(), "{question}").and_then(|()| std::io::stdout().flush()),
    };
    let mut answer = String::new();
    asked.and_then(|()| std::io::stdin().read_line(&mut answer)).is_ok()
        && answer.trim_end_matches(['\n', '\r']) == "y"
}

fn changed(session: &mut Session, ids: impl IntoIterator<Item = DeviceId>) {
    let builder = &session.builder;
    let entries: Vec<Value> = ids
        .into_iter()
        .filter_map(|id| builder.device(id))
        .map(|device| device_json(builder, device))
        .collect();
    session.out.set("changed", entries);
}

/// A property that a command sets on devices.
struct Setting<T> {
    command: &'static str,
    name: &'static str,
    parse: fn(&str) -> Result<T, SyntaxError>,
    set: fn(&mut Session, DeviceId, &T) -> Result<(), BuilderError>,
    show: fn(&T) -> String,
}

fn set<T>(session: &mut Session, arguments: &[String], setting: &Setting<T>) -> CommandResult {
    if arguments.len() < 2 {
        return Err(usage(setting.command));
    }
    let options: DeviceOptions = parse(arguments)?;
    let mut all = Vec::new();
    let mut give =
        |session: &mut Session, ids: &[DeviceId], value: &T| -> Result<(), CommandError> {
            let question = format!(
                "Are you sure you want to update the {} for these {} devices?",
                setting.name,
                ids.len()
            );
            check(session, ids, options.yes, &question, "Aborting device modifications")?;
            for id in ids {
                (setting.set)(session, *id, value)?;
                if let Some(device) = session.builder.device(*id) {
                    let name = format_device(&device.device);
                    let value = (setting.show)(value);
                    session.out.say(format!("{name} {} set to {value}", setting.name));
                    all.push(*id);
                }
            }
            Ok(())
        };
    if options.by_options() {
        let [value] = options.words.as_slice() else { return Err(usage(setting.command)) };
        let ids = found(session, &options.spec()?);
        let value = (setting.parse)(value)?;
        give(session, &ids, &value)?;
    } else {
        if options.words.is_empty() || !options.words.len().is_multiple_of(2) {
            return Err(usage(setting.command));
        }
        for pair in options.words.chunks(2) {
            let [search, value] = pair else { continue };
            let ids = found(session, &DeviceSpec::search(search)?);
            let value = (setting.parse)(value)?;
            give(session, &ids, &value)?;
        }
    }
    changed(session, all);
    session.save()?;
    Ok(Exit::Success)
}

pub(super) fn set_weight(session: &mut Session, arguments: &[String]) -> CommandResult {
    let setting = Setting {
        command: "set_weight",
        name: "weight",
        parse: python::float,
        set: |session, id, weight| session.builder.set_weight(id, *weight),
        show: |weight| python::show(*weight),
    };
    set(session, arguments, &setting)
}

fn domain(text: &str) -> Result<u32, SyntaxError> {
    let number = python::int(text)?;
    u32::try_from(number).map_err(|_| format!("{number}: expected a number not below 0").into())
}

pub(super) fn set_region(session: &mut Session, arguments: &[String]) -> CommandResult {
    let setting = Setting {
        command: "set_region",
        name: "region",
        parse: domain,
        set: |session, id, region| session.builder.set_region(id, *region),
        show: u32::to_string,
    };
    set(session, arguments, &setting)
}

pub(super) fn set_zone(session: &mut Session, arguments: &[String]) -> CommandResult {
    let setting = Setting {
        command: "set_zone",
        name: "zone",
        parse: domain,
        set: |session, id, zone| session.builder.set_zone(id, *zone),
        show: u32::to_string,
    };
    set(session, arguments, &setting)
}

pub(super) fn set_info(session: &mut Session, arguments: &[String]) -> CommandResult {
    if arguments.len() < 2 {
        return Err(usage("set_info"));
    }
    let options: DeviceOptions = parse(arguments)?;
    let mut all = Vec::new();
    if options.by_options() {
        let (ids, change) = (found(session, &options.spec()?), options.change()?);
        set_info_of(session, &ids, &change, options.yes)?;
        all.extend(ids);
    } else {
        if options.words.is_empty() || !options.words.len().is_multiple_of(2) {
            return Err(usage("set_info"));
        }
        for pair in options.words.chunks(2) {
            let [search, change] = pair else { continue };
            let ids = found(session, &DeviceSpec::search(search)?);
            set_info_of(session, &ids, &DeviceSpec::change(change)?, options.yes)?;
            all.extend(ids);
        }
    }
    changed(session, all);
    session.save()?;
    Ok(Exit::Success)
}

fn set_info_of(
    session: &mut Session,
    ids: &[DeviceId],
    change: &DeviceSpec,
    yes: bool,
) -> Result<(), CommandError> {
    let question =
        format!("Are you sure you want to update the info for these {} devices?", ids.len());
    check(session, ids, yes, &question, "Aborting device modifications")?;
    for id in ids {
        let Some(known) = session.builder.device(*id) else { continue };
        let before = format_device(&known.device);
        let mut device = known.device.clone();
        change.apply(&mut device)?;
        let other = session.builder.devices().map(|known| &known.device).find(|other| {
            other.id != *id
                && (&other.ip, other.port, &other.device)
                    == (&device.ip, device.port, &device.device)
        });
        if let Some(other) = other {
            return Err(CommandError::Message(format!(
                "Device {} already uses {}:{}/{}.",
                other.id, other.ip, other.port, other.device
            )));
        }
        session.out.say(format!("Device {before} is now {}", format_device(&device)));
        if let Some(known) = session.builder.device_mut(*id) {
            known.device = device;
        }
    }
    Ok(())
}

pub(super) fn remove(session: &mut Session, arguments: &[String]) -> CommandResult {
    if arguments.is_empty() {
        return Err(usage("remove"));
    }
    no_increase(session, "removing")?;
    let options: DeviceOptions = parse(arguments)?;
    let ids = chosen(session, "remove", &options, true)?;
    let question = format!("Are you sure you want to remove these {} devices?", ids.len());
    check(session, &ids, options.yes, &question, "Aborting device removals")?;
    for id in &ids {
        session.builder.remove(*id)?;
        if let Some(device) = session.builder.device(*id) {
            let name = format_device(&device.device);
            session
                .out
                .say(format!("{name} marked for removal and will be removed next rebalance."));
        }
    }
    changed(session, ids);
    session.save()?;
    Ok(Exit::Success)
}

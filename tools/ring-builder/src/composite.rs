//! `ring-composer`: one ring of several builders, each of regions of its own.
//!
//! Source: `swift/common/ring/composite_builder.py` and `swift/cli/ringcomposer.py`. The order of
//! the builders is that of the replicas in the ring, so the composite file remembers it and a
//! later composition is refused when it differs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apus_disk::DirectoryLock;
use apus_ring::builder::{RingBuilder, lock};
use apus_ring::format::{self, UncheckedRing};
use apus_ring::moves::MatchBy;
use clap::{Parser, Subcommand};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use super::dry_run::{DryRun, nothing_written};
use super::output::{CommandError, Output};
use super::session::{BuilderReadError, folder, put, read_builder};
use super::{Exit, diff};

/// A tool for building a composite ring file from other existing ring builder files. The component
/// ring builders must all have the same partition power. Each device must only be used in a single
/// component builder. Each region must only be used in a single component builder.
#[derive(Debug, Parser)]
#[command(name = "ring-composer", max_term_width = 100)]
struct Options {
    /// Name of composite builder file
    composite_builder_file: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show composite ring builder metadata
    Show,
    /// Compose composite ring
    Compose {
        /// Paths to component ring builder files to include in composite ring; those of the last
        /// time when there are none
        builder_files: Vec<PathBuf>,
        /// Name of output ring file
        #[arg(long)]
        output: PathBuf,
        /// Force new composite ring file to be written
        #[arg(long)]
        force: bool,
        /// Format of the ring file
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        format_version: u8,
    },
    /// Rebalance the component builders, a partition in one of them at a time; compose then
    /// makes the ring of them
    Rebalance(super::cooperative::Options),
}

/// One builder of a composition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Component {
    pub(super) id: String,
    version: u64,
    replicas: f64,
    pub(super) file: PathBuf,
}

/// What a composite builder file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Composite {
    pub(super) components: Vec<Component>,
    version: u64,
}

impl Composite {
    /// Reads a composite builder file.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        const BAD: &str = "File does not contain valid composite ring data";
        let value: Value = serde_json::from_slice(bytes).map_err(|_| BAD.to_owned())?;
        (|| {
            let files = value.get("component_builder_files")?;
            let mut components = Vec::new();
            for entry in value.get("components")?.as_array()? {
                let id = entry.get("id")?.as_str()?.to_owned();
                components.push(Component {
                    version: entry.get("version")?.as_u64()?,
                    replicas: entry.get("replicas")?.as_f64()?,
                    file: PathBuf::from(files.get(&id)?.as_str()?),
                    id,
                });
            }
            Some(Self { components, version: value.get("version")?.as_u64()? })
        })()
        .ok_or_else(|| BAD.into())
    }

    fn to_json(&self) -> Map<String, Value> {
        let files: Map<String, Value> = self
            .components
            .iter()
            .map(|component| (component.id.clone(), json!(component.file)))
            .collect();
        let component = |component: &Component| {
            json!({
                "id": component.id,
                "version": component.version,
                "replicas": component.replicas,
            })
        };
        Map::from_iter([
            ("components".to_owned(), self.components.iter().map(component).collect()),
            ("component_builder_files".to_owned(), Value::Object(files)),
            ("version".to_owned(), json!(self.version)),
        ])
    }

    fn encode(&self, path: &Path) -> Result<Vec<u8>, CommandError> {
        let mut all = self.to_json();
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        all.insert("saved_path".to_owned(), json!(path));
        all.insert("serialization_version".to_owned(), json!(1));
        serde_json::to_vec(&all).map_err(|error| error.to_string().into())
    }

    /// Refuses other builders, or another order, than those of the last time. Returns whether one
    /// has changed.
    pub(super) fn check_against(&self, new: &[Component]) -> Result<bool, CommandError> {
        let mut errors = Vec::new();
        let mut is_newer = false;
        for (index, old) in self.components.iter().enumerate() {
            let Some(new) = new.get(index) else {
                errors.push(format!("Missing builder at index {index}"));
                continue;
            };
            let mut refuse = |reason: String| {
                errors.push(format!("Invalid builder change at index {index}: {reason}"));
            };
            if old.replicas != new.replicas {
                let (old, new) = (old.replicas, new.replicas);
                refuse(format!("Attribute mismatch for replicas: {old:?} != {new:?}"));
            } else if old.id != new.id {
                refuse(format!("Attribute mismatch for id: '{}' != '{}'", old.id, new.id));
            } else if new.version < old.version {
                refuse(format!("Older builder version: {} < {}", new.version, old.version));
            } else {
                is_newer |= old.version < new.version;
            }
        }
        for (index, extra) in new.iter().enumerate().skip(self.components.len()) {
            errors.push(format!(
                "Unexpected extra builder at index {index}: {}",
                extra.file.display()
            ));
        }
        if errors.is_empty() { Ok(is_newer) } else { Err(errors.join("\n").into()) }
    }
}

/// Reads component builders.
pub(super) fn load(files: &[PathBuf]) -> Result<(Vec<RingBuilder>, Vec<Component>), CommandError> {
    if files.len() < 2 {
        return Err("Two or more component builders are required.".into());
    }
    let (mut builders, mut components) = (Vec::new(), Vec::new());
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        let builder = read_builder(file).map_err(|error| match error {
            BuilderReadError::Missing(text) | BuilderReadError::Bad(text) => text,
        })?;
        let id = builder.id.clone().ok_or_else(|| {
            format!(
                "CommandError with builder at index {index}: id attribute has not been initialised by \
                 calling save()"
            )
        })?;
        ids.entry(id.clone()).or_default().push(index.to_string());
        components.push(Component {
            id,
            version: builder.version,
            replicas: builder.replicas,
            file: std::path::absolute(file).map_err(|error| error.to_string())?,
        });
        builders.push(builder);
    }
    let repeated: Vec<String> = ids
        .iter()
        .filter(|(_, indexes)| indexes.len() > 1)
        .map(|(id, indexes)| format!("Builder id '{id}' used at indexes {}", indexes.join(", ")))
        .collect();
    if repeated.is_empty() { Ok((builders, components)) } else { Err(repeated.join("\n").into()) }
}

/// Refuses builders that cannot be composed.
fn check_together(builders: &[RingBuilder]) -> Result<(), CommandError> {
    let powers: BTreeSet<u32> = builders.iter().map(|builder| builder.part_power).collect();
    if powers.len() > 1 {
        return Err(format!(
            "All builders must have same value for 'part_power'; found {powers:?}"
        )
        .into());
    }
    let mut errors = Vec::new();
    for (index, builder) in builders.iter().enumerate() {
        if builder.replicas.fract() != 0.0 {
            let replicas = builder.replicas;
            errors.push(format!("Non integer replica count {replicas} found at index {index}"));
        }
        if builder.devices_changed {
            errors.push(format!("Builder needs rebalance to apply changes at index {index}"));
        }
        if builder.rows.is_empty() {
            errors.push(format!("Builder was never rebalanced at index {index}"));
        }
    }
    if !errors.is_empty() {
        return Err(format!("CommandError with builders.\n{}", errors.join("\n  ")).into());
    }
    let (mut regions, mut devices) = (BTreeMap::new(), BTreeMap::new());
    for (index, builder) in builders.iter().enumerate() {
        for device in builder.devices().map(|known| &known.device) {
            if *regions.entry(device.region).or_insert(index) != index {
                return Err("MatchBy region found in different rings".into());
            }
            let key = (device.ip.clone(), device.port, device.device.clone());
            let first = *devices.entry(key).or_insert(index);
            if first != index {
                return Err(format!(
                    "Duplicate ip/port/device combination {}/{}/{} found in builders at indexes \
                     {first} and {index}",
                    device.ip, device.port, device.device
                )
                .into());
            }
        }
    }
    Ok(())
}

/// The rows of all builders, one after another; ids of later builders follow those of earlier.
pub(super) fn joined(builders: &[RingBuilder]) -> UncheckedRing {
    let total: usize = builders.iter().map(|builder| builder.devices.len()).sum();
    let mut ring = UncheckedRing {
        devices: Vec::with_capacity(total),
        rows: Vec::new(),
        part_power: builders.first().map_or(0, |builder| builder.part_power),
        next_part_power: None,
        version: 0,
        id_width: if total < usize::from(u16::MAX) { 2 } else { 4 },
    };
    for builder in builders {
        let offset = u32::try_from(ring.devices.len()).unwrap_or(u32::MAX);
        let data = builder.ring_data();
        let shift = |id: u32| id.saturating_add(offset);
        let rows = data.rows.into_iter();
        ring.rows.extend(rows.map(|row| row.into_iter().map(shift).collect::<Vec<_>>()));
        ring.devices.extend(data.devices.into_iter().map(|slot| {
            slot.map(|mut device| {
                device.id = shift(device.id);
                device
            })
        }));
    }
    ring
}

/// Reads a composite builder file.
fn read(path: &Path) -> Result<Composite, CommandError> {
    let bytes = std::fs::read(path)
        .map_err(|error| CommandError::from(format!("{}: {error}", path.display())));
    bytes.and_then(|bytes| Composite::decode(&bytes)).map_err(|error| {
        CommandError::from(format!(
            "An error occurred while loading the composite builder file.\n\
             Original exception message:\n{error}"
        ))
    })
}

fn read_if_any(path: &Path) -> Result<Composite, CommandError> {
    if path.exists() { read(path) } else { Ok(Composite::default()) }
}

/// Locks the directories of all these files, in an order that all processes share.
pub(super) fn lock_folders<'a>(
    files: impl Iterator<Item = &'a PathBuf>,
) -> Result<Vec<DirectoryLock>, CommandError> {
    let known = |file: &'a PathBuf| {
        let folder = folder(file);
        folder
            .canonicalize()
            .map_err(|error| CommandError::from(format!("{}: {error}", folder.display())))
    };
    let folders: BTreeSet<PathBuf> = files.map(known).collect::<Result<_, CommandError>>()?;
    folders.iter().map(|folder| Ok(lock::take(folder)?)).collect()
}

fn run(options: &Options, dry: &DryRun, out: &mut Output) -> Result<Exit, CommandError> {
    let path = &options.composite_builder_file;
    match &options.command {
        Command::Show if dry.dry_run => Err("--dry-run: show changes nothing".into()),
        Command::Show => {
            let composite = read(path)?.to_json();
            if out.is_json() {
                composite.into_iter().for_each(|(key, value)| out.set(&key, value));
                return Ok(Exit::Success);
            }
            let mut text = Vec::new();
            let formatter = PrettyFormatter::with_indent(b"    ");
            let mut serializer = Serializer::with_formatter(&mut text, formatter);
            Value::Object(composite)
                .serialize(&mut serializer)
                .map_err(|error| error.to_string())?;
            out.say(String::from_utf8_lossy(&text));
            Ok(Exit::Success)
        }
        Command::Compose { builder_files, output, force, format_version } => {
            let files = [path].into_iter().filter(|_| !dry.dry_run);
            let _locks = lock_folders(files)?;
            let old = read_if_any(path)?;
            let (new, builders) = compose(&old, builder_files, *force).map_err(|error| {
                format!(
                    "An error occurred while composing the ring.\n\
                     Original exception message:\n{error}"
                )
            })?;
            let ring = joined(&builders);
            if dry.dry_run {
                nothing_written(out);
                let before = diff::read(output).unwrap_or_else(|_| joined(&[]));
                show_ring_moves(dry, out, &builders, &before, &ring)?;
                return Ok(Exit::Success);
            }
            put(output, &format::encode(&ring, *format_version)?)?;
            put(path, &new.encode(path)?)?;
            Ok(Exit::Success)
        }
        Command::Rebalance(options) => {
            let old = read_if_any(path)?;
            super::cooperative::rebalance(&old, path, options, dry, out)
        }
    }
}

/// Shows what moves from one composite ring to another.
pub(super) fn show_ring_moves(
    dry: &DryRun,
    out: &mut Output,
    builders: &[RingBuilder],
    old: &UncheckedRing,
    new: &UncheckedRing,
) -> Result<(), CommandError> {
    if old.rows.is_empty() {
        out.show("No ring exists yet: every assignment would be new.");
        return Ok(());
    }
    // Ids depend on the sizes of the components, so devices are matched by place.
    dry.show_moves(out, builders, [old, new], MatchBy::Place)
}

fn compose(
    old: &Composite,
    files: &[PathBuf],
    force: bool,
) -> Result<(Composite, Vec<RingBuilder>), CommandError> {
    let known: Vec<PathBuf> = old.components.iter().map(|known| known.file.clone()).collect();
    let (builders, components) = load(if files.is_empty() { &known } else { files })?;
    if !old.components.is_empty() && !force && !old.check_against(&components)? {
        return Err("None of the component builders has been modified since the existing \
                    composite ring was built."
            .into());
    }
    check_together(&builders)?;
    Ok((Composite { components, version: old.version + 1 }, builders))
}

/// Runs one command line (without the program's name). Errors are printed on standard error, as
/// `swift-ring-composer` does.
pub(super) fn main(arguments: &[String], json: bool) -> ExitCode {
    let mut out = Output::new(json);
    let (dry, arguments) = match DryRun::take(arguments) {
        Ok(taken) => taken,
        Err(error) => return out.end(Err(error)).into(),
    };
    let words = std::iter::once("ring-composer".to_owned()).chain(arguments);
    let options = match Options::try_parse_from(words) {
        Ok(options) => options,
        Err(error) => {
            // A pipe that is closed early is not an error.
            let _ = error.print();
            return if error.use_stderr() { Exit::Error.into() } else { ExitCode::SUCCESS };
        }
    };
    let done = run(&options, &dry, &mut out).map_err(|error| {
        if json {
            return CommandError::Message(error.to_string());
        }
        eprintln!("{error}");
        CommandError::Printed
    });
    out.end(done).into()
}

//! The directory of builder files, rings and the manager's state.
//!
//! Files are read when they change, and written one at a time under the lock of `ring-builder`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use apus_disk::{DirectoryLock, write_durably};
use apus_ring::builder::{RingBuilder, file, lock};
use apus_ring::format;

use super::FILE_MODE;
use super::state::{self, State};

/// Inode, size, and time of the last change: identifies a version of a file.
pub(super) type Stamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// The kind of server that a ring is for: `object` of `object-1`.
pub(super) fn kind_of(ring: &str) -> &str {
    ring.split('-').next().unwrap_or(ring)
}

/// Whether a file of this name holds a ring of the cluster: `account`, `container`, `object` or
/// `object-N`.
fn is_ring(name: &str) -> bool {
    let policy = name.strip_prefix("object-").and_then(|index| index.parse::<u32>().ok());
    matches!(name, "account" | "container" | "object") || policy.is_some_and(|index| index > 0)
}

/// The input of a rebalance as a text: devices with places and weights, and the replicas. Two
/// builders with the same text want the same placement.
pub(super) fn devices_of(builder: &RingBuilder) -> String {
    let mut text = format!("replicas {} overload {}", builder.replicas, builder.overload);
    for known in builder.devices() {
        let device = &known.device;
        let leaves = builder.removed.contains(&device.id);
        let weight = if leaves { "leaves".to_owned() } else { device.weight.to_string() };
        text.push_str(&format!(
            "; r{}z{}-{}/{} {weight}",
            device.region, device.zone, device.ip, device.device
        ));
    }
    text
}

/// The directory.
#[derive(Debug)]
pub(super) struct Builders {
    folder: PathBuf,
    known: BTreeMap<String, (Stamp, RingBuilder)>,
    pub(super) state: State,
    /// For tests: the process fails after this number of writes.
    #[cfg(test)]
    pub(super) writes_left: Option<u32>,
}

impl Builders {
    /// Reads everything.
    pub(super) fn open(folder: &Path) -> Result<Self, String> {
        let path = folder.join(state::FILE);
        let state = match std::fs::read(&path) {
            Ok(bytes) => State::decode(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error.to_string()),
        };
        let state = state.map_err(|error| format!("{}: {error}", path.display()))?;
        let mut builders = Self {
            folder: folder.to_owned(),
            known: BTreeMap::new(),
            state,
            #[cfg(test)]
            writes_left: None,
        };
        builders.refresh()?;
        if builders.known.is_empty() {
            return Err(format!("{}: no builder files in it", folder.display()));
        }
        Ok(builders)
    }

    /// Reads the builders that changed.
    pub(super) fn refresh(&mut self) -> Result<(), String> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", self.folder.display());
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(&self.folder).map_err(|error| named(&error))? {
            let path = entry.map_err(|error| named(&error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(ring) = name.strip_suffix(".builder").filter(|name| is_ring(name)) else {
                continue;
            };
            let Some(stamp) = stamp(&path) else { continue };
            let builder = match self.known.remove(ring) {
                Some((known, builder)) if known == stamp => builder,
                _ => {
                    let at = |error: String| format!("{}: {error}", path.display());
                    let bytes = std::fs::read(&path).map_err(|error| at(error.to_string()))?;
                    file::decode(&bytes).map_err(|error| at(error.to_string()))?
                }
            };
            found.insert(ring.to_owned(), (stamp, builder));
        }
        self.known = found;
        Ok(())
    }

    /// The builders by ring, as last read.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &RingBuilder)> {
        self.known.iter().map(|(name, (_, builder))| (name.as_str(), builder))
    }

    /// One of them.
    pub(super) fn get(&self, ring: &str) -> Option<&RingBuilder> {
        self.known.get(ring).map(|(_, builder)| builder)
    }

    /// Takes the lock, which keeps other processes from writing, and reads what changed.
    pub(super) fn lock(&mut self) -> Result<DirectoryLock, String> {
        let lock = lock::take(&self.folder).map_err(|error| error.to_string())?;
        self.refresh()?;
        Ok(lock)
    }

    /// Which versions of a ring file and of its builder are there.
    pub(super) fn stamps(&self, ring: &str) -> Option<(Stamp, Stamp)> {
        Some((stamp(&self.ring_path(ring))?, self.known.get(ring)?.0))
    }

    pub(super) fn ring_path(&self, ring: &str) -> PathBuf {
        self.folder.join(format!("{ring}.ring.gz"))
    }

    fn put(&mut self, path: &Path, bytes: &[u8]) -> Result<(), String> {
        #[cfg(test)]
        if let Some(left) = &mut self.writes_left {
            *left = left.checked_sub(1).ok_or("the process died")?;
        }
        write_durably(path, bytes, FILE_MODE).map_err(|error| error.to_string())
    }

    fn keep_copy(&mut self, path: &Path, bytes: &[u8], now_seconds: u64) -> Result<(), String> {
        let backups = self.folder.join("backups");
        std::fs::create_dir_all(&backups)
            .map_err(|error| format!("{}: {error}", backups.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.put(&backups.join(format!("{now_seconds}.{name}")), bytes)
    }

    /// Writes a builder and a dated copy of it. Under the lock only.
    pub(super) fn save(
        &mut self,
        ring: &str,
        builder: RingBuilder,
        now_seconds: u64,
    ) -> Result<(), String> {
        let path = self.folder.join(format!("{ring}.builder"));
        let bytes = file::encode(&builder);
        self.keep_copy(&path, &bytes, now_seconds)?;
        self.put(&path, &bytes)?;
        if let Some(stamp) = stamp(&path) {
            self.known.insert(ring.to_owned(), (stamp, builder));
        }
        Ok(())
    }

    /// Writes the ring of a builder as it was saved, and a dated copy, in the format that the file
    /// has. Under the lock only.
    pub(super) fn save_ring(&mut self, ring: &str, now_seconds: u64) -> Result<(), String> {
        let path = self.ring_path(ring);
        let Some(builder) = self.get(ring) else { return Ok(()) };
        let version = std::fs::read(&path).map_or(1, |bytes| {
            format::version(&bytes).ok().and_then(|version| version.try_into().ok()).unwrap_or(1)
        });
        let bytes =
            format::encode(&builder.ring_data(), version).map_err(|error| error.to_string())?;
        self.keep_copy(&path, &bytes, now_seconds)?;
        self.put(&path, &bytes)
    }

    /// Writes the state; what is kept in memory is what the file says.
    pub(super) fn save_state(&mut self, state: State) -> Result<(), String> {
        if state == self.state {
            return Ok(());
        }
        let path = self.folder.join(state::FILE);
        self.put(&path, &state.encode()?)?;
        self.state = state;
        Ok(())
    }
}

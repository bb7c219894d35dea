//! The files of a builder: finding, reading, and writing them durably.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use apus_ring::builder::{RingBuilder, file};
use apus_ring::format::{self, UncheckedRing};
use apus_ring::python;

use super::composite;
use super::output::{Output, Problem};

/// Names of the files that a first argument stands for.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) builder: PathBuf,
    pub(super) ring: PathBuf,
}

impl Names {
    /// The builder `x.builder` belongs to the ring `x.ring.gz`; either may be given.
    pub(super) fn of(given: &str) -> Self {
        let ring = |stem: &str| PathBuf::from(format!("{stem}.ring.gz"));
        if let Some(stem) = given.strip_suffix(".ring.gz") {
            return Self { builder: PathBuf::from(format!("{stem}.builder")), ring: ring(stem) };
        }
        let stem = given.strip_suffix(".builder").unwrap_or(given);
        Self { builder: PathBuf::from(given), ring: ring(stem) }
    }
}

/// The folder of a file.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Why a builder could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is not there, or not ours to read.
    Missing(String),
    Bad(String),
}

/// Reads a builder file; the errors are Swift's.
pub(super) fn read_builder(path: &Path) -> Result<RingBuilder, Unread> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Unread::Missing(format!("Ring Builder file does not exist: {shown}"))
        }
        ErrorKind::PermissionDenied => {
            Unread::Missing(format!("Ring Builder file cannot be accessed: {shown}"))
        }
        _ => Unread::Bad(format!("Problem occurred while reading builder file: {shown}. {error}")),
    })?;
    file::decode(&bytes).map_err(|error| {
        let hint = match composite::Composite::decode(&bytes) {
            Ok(_) => " (it appears to be a composite ring builder file?)".to_owned(),
            Err(_) => format!("\n{error}"),
        };
        Unread::Bad(format!("Ring Builder file is invalid: {shown}{hint}"))
    })
}

/// What a command works on.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) names: Names,
    pub(super) builder: RingBuilder,
    pub(super) out: Output,
    pub(super) now_seconds: u64,
    /// Nothing is written.
    pub(super) dry_run: bool,
}

/// Servers, which are other users, read rings.
const FILE_MODE: u32 = 0o644;

/// Writes a file that appears whole, and is there when this returns.
pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<(), String> {
    apus_disk::write_durably(path, bytes, FILE_MODE).map_err(|error| error.to_string())
}

impl Session {
    /// Writes the builder.
    pub(super) fn save(&self) -> Result<(), Problem> {
        self.write(&self.names.builder, &file::encode(&self.builder), false)
    }

    /// Writes the builder, and a dated copy of it.
    pub(super) fn save_with_backup(&self) -> Result<(), Problem> {
        self.write(&self.names.builder, &file::encode(&self.builder), true)
    }

    /// Writes the ring, and a dated copy of it.
    pub(super) fn save_ring(&self, ring: &UncheckedRing, version: u8) -> Result<(), Problem> {
        self.write(&self.names.ring, &format::encode(ring, version)?, true)
    }

    fn write(&self, path: &Path, bytes: &[u8], backup: bool) -> Result<(), Problem> {
        if self.dry_run {
            return Ok(());
        }
        if backup {
            let backups = folder(path).join("backups");
            std::fs::create_dir_all(&backups)
                .map_err(|error| format!("{}: {error}", backups.display()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            put(&backups.join(format!("{}.{name}", self.now_seconds)), bytes)?;
        }
        Ok(put(path, bytes)?)
    }

    /// `1:23:45`, the time until partitions may move again.
    pub(super) fn remaining(&self) -> String {
        python::duration(self.builder.seconds_until_rebalance(self.now_seconds))
    }
}

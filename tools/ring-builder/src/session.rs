//! The files of a builder: names, reading and durable writing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use apus_ring::builder::{RingBuilder, file};
use apus_ring::format::{self, UncheckedRing};
use apus_ring::python;

use super::composite;
use super::output::{CommandError, Output};

/// The files that a first argument stands for.
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

/// A builder that cannot be read.
#[derive(Debug)]
pub(super) enum BuilderReadError {
    /// The file does not exist, or access is denied.
    Missing(String),
    Bad(String),
}

/// Reads a builder file; the errors are Swift's.
pub(super) fn read_builder(path: &Path) -> Result<RingBuilder, BuilderReadError> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            BuilderReadError::Missing(format!("Ring Builder file does not exist: {shown}"))
        }
        ErrorKind::PermissionDenied => {
            BuilderReadError::Missing(format!("Ring Builder file cannot be accessed: {shown}"))
        }
        _ => BuilderReadError::Bad(format!(
            "CommandError occurred while reading builder file: {shown}. {error}"
        )),
    })?;
    file::decode(&bytes).map_err(|error| {
        let hint = match composite::Composite::decode(&bytes) {
            Ok(_) => " (it appears to be a composite ring builder file?)".to_owned(),
            Err(_) => format!("\n{error}"),
        };
        BuilderReadError::Bad(format!("Ring Builder file is invalid: {shown}{hint}"))
    })
}

/// Builder, files and output of a command.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) names: Names,
    pub(super) builder: RingBuilder,
    pub(super) out: Output,
    pub(super) now_seconds: u64,
    /// Write nothing.
    pub(super) dry_run: bool,
}

/// Servers, which are other users, read rings.
const FILE_MODE: u32 = 0o644;

/// Replaces a file durably.
pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    Ok(apus_disk::write_durably(path, bytes, FILE_MODE)?)
}

impl Session {
    /// Writes the builder.
    pub(super) fn save(&self) -> Result<(), CommandError> {
        self.write(&self.names.builder, &file::encode(&self.builder), false)
    }

    /// Writes the builder, and a dated copy of it.
    pub(super) fn save_with_backup(&self) -> Result<(), CommandError> {
        self.write(&self.names.builder, &file::encode(&self.builder), true)
    }

    /// Writes the ring, and a dated copy of it.
    pub(super) fn save_ring(&self, ring: &UncheckedRing, version: u8) -> Result<(), CommandError> {
        self.write(&self.names.ring, &format::encode(ring, version)?, true)
    }

    fn write(&self, path: &Path, bytes: &[u8], backup: bool) -> Result<(), CommandError> {
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
        put(path, bytes)
    }

    /// Time until partitions may move again, such as `1:23:45`.
    pub(super) fn remaining(&self) -> String {
        python::duration(self.builder.seconds_until_rebalance(self.now_seconds))
    }
}

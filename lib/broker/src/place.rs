//! Where a database lies: `<devices>/<device>/<kind>/<partition>/<suffix>/<hash>/<hash>.db`.

use std::io;
use std::path::{Path, PathBuf};

use apus_cluster::PathHash;
use apus_disk::names;

/// The devices of a server.
#[derive(Debug, Clone)]
pub struct Devices {
    root: PathBuf,
    mount_check: bool,
}

/// The device is missing or not mounted: answer 507 and touch nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoDevice;

impl Devices {
    /// Devices below `root`; with `mount_check` each must be a mount point.
    pub fn new(root: &Path, mount_check: bool) -> Self {
        Self { root: root.to_owned(), mount_check }
    }

    /// The directory of a device.
    ///
    /// # Errors
    /// [`NoDevice`].
    pub fn device(&self, name: &str) -> Result<PathBuf, NoDevice> {
        let path = self.root.join(name);
        let there = if self.mount_check { apus_disk::is_mount(&path) } else { path.is_dir() };
        if there { Ok(path) } else { Err(NoDevice) }
    }

    /// All device directories that are there.
    pub fn all(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.root);
        let names = entries.into_iter().flatten().filter_map(Result::ok);
        names.filter_map(|entry| self.device(entry.file_name().to_str()?).ok()).collect()
    }
}

/// Walks the databases of a kind on a device, until `found` (file and partition) wants no more.
///
/// # Errors
/// As the operating system says.
pub fn each_database(
    device: &Path,
    kind: &str,
    mut found: impl FnMut(PathBuf, u32) -> bool,
) -> io::Result<()> {
    let root = device.join(kind);
    for partition in names(&root)? {
        let Ok(number) = partition.parse() else { continue };
        let partition = root.join(partition);
        for suffix in names(&partition)? {
            let suffix = partition.join(suffix);
            for hash in names(&suffix)? {
                let file = suffix.join(&hash).join(format!("{hash}.db"));
                if file.is_file() && !found(file, number) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// The file of a database below its device.
pub fn database_path(device: &Path, kind: &str, partition: u32, hash: &PathHash) -> PathBuf {
    device
        .join(kind)
        .join(partition.to_string())
        .join(hash.suffix_dir())
        .join(hash.to_string())
        .join(format!("{hash}.db"))
}

//! Paths of databases: `<devices>/<device>/<kind>/<partition>/<suffix>/<hash>/<hash>.db`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::PathHash;
use apus_daemon::PassContext;
use apus_disk::names;
use tokio::sync::mpsc;

use crate::mark::FileMark;

/// Databases that were found and are not yet received.
const WINDOW: usize = 64;

/// The devices of a server.
#[derive(Debug, Clone)]
pub struct Devices {
    root: PathBuf,
    mount_check: bool,
}

/// The device is missing or not mounted: the response is 507.
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

    /// All device directories that exist.
    pub fn all(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.root);
        let names = entries.into_iter().flatten().filter_map(Result::ok);
        names.filter_map(|entry| self.device(entry.file_name().to_str()?).ok()).collect()
    }
}

/// A database on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The device's name.
    pub device: String,
    /// Its file.
    pub path: PathBuf,
    /// Its partition.
    pub partition: u32,
    /// The mark of its files when it was found.
    pub mark: Option<FileMark>,
}

/// The databases of a kind on all devices, found while others are in use. Writes nothing.
#[derive(Debug)]
pub struct Databases(mpsc::Receiver<Located>);

impl Databases {
    /// Begins to find those in the scope of `cx`, for a daemon. A directory that cannot be read is
    /// logged and left out. Must be called on a Tokio runtime.
    pub fn find(
        devices: &Devices,
        kind: &'static str,
        cx: &PassContext,
        daemon: &'static str,
    ) -> Self {
        let (sender, found) = mpsc::channel(WINDOW);
        let (devices, scope, clock) = (devices.clone(), cx.scope.clone(), Arc::clone(&cx.clock));
        // No client waits for a pass, so the shared pool may walk the directories.
        apus_daemon::task::spawn_blocking(move || {
            for path in devices.all() {
                let device = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if !scope.has_device(&device) {
                    continue;
                }
                let mut found = |path: PathBuf, partition| {
                    let mark = FileMark::of(&path, clock.now());
                    let database = Located { device: device.clone(), path, partition, mark };
                    !scope.has_partition(partition) || sender.blocking_send(database).is_ok()
                };
                if let Err(error) = each_database(&path, kind, &mut found) {
                    tracing::warn!(%error, device, daemon, "Failed to find the databases of a device");
                }
            }
        });
        Self(found)
    }

    /// The next one; `None` when there are no more.
    pub async fn next(&mut self) -> Option<Located> {
        self.0.recv().await
    }
}

/// Walks the databases of a kind on a device, until `found` (file and partition) returns false.
fn each_database(
    device: &Path,
    kind: &str,
    found: &mut dyn FnMut(PathBuf, u32) -> bool,
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

/// The path with a suffix: `.db-wal`, `.db.pending`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
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

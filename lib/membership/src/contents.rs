//! Counts of the contents of a device, which show whether it may be pulled.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Most directory entries of one count.
const ENTRIES_MAX: u64 = 200_000;

/// Contents of a device. Where `is_more` is set these are lower bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceContents {
    /// Whether there is such a directory.
    pub is_there: bool,
    /// Partitions with anything but hash files and locks, of all kinds.
    pub partitions: u64,
    /// Files of objects: data, metadata, tombstones.
    pub object_files: u64,
    /// Account databases.
    pub accounts: u64,
    /// Container databases.
    pub containers: u64,
    /// Updates that wait for container servers.
    pub async_pending: u64,
    /// Of files of objects and databases.
    pub bytes: u64,
    /// There are more entries than were counted.
    pub is_more: bool,
}

impl DeviceContents {
    /// Whether nothing is left that belongs to the cluster.
    pub fn is_empty(&self) -> bool {
        self.is_there
            && !self.is_more
            && [
                self.partitions,
                self.object_files,
                self.accounts,
                self.containers,
                self.async_pending,
            ] == [0; 5]
    }

    /// The larger of two counts of the same device by two servers.
    pub fn most(self, other: &Self) -> Self {
        Self {
            is_there: self.is_there || other.is_there,
            partitions: self.partitions.max(other.partitions),
            object_files: self.object_files.max(other.object_files),
            accounts: self.accounts.max(other.accounts),
            containers: self.containers.max(other.containers),
            async_pending: self.async_pending.max(other.async_pending),
            bytes: self.bytes.max(other.bytes),
            is_more: self.is_more || other.is_more,
        }
    }
}

impl std::fmt::Display for DeviceContents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} partitions, {} files of objects, {} accounts, {} containers, {} waiting rows, {} bytes{}",
            self.partitions,
            self.object_files,
            self.accounts,
            self.containers,
            self.async_pending,
            self.bytes,
            if self.is_more { ", and more" } else { "" }
        )
    }
}

/// Kind of a directory at the top of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Objects,
    Accounts,
    Containers,
    AsyncPending,
}

fn kind(name: &str) -> Option<Kind> {
    let base = match name.split_once('-') {
        Some((base, index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => base,
        Some(_) => return None,
        None => name,
    };
    match base {
        "objects" => Some(Kind::Objects),
        "async_pending" => Some(Kind::AsyncPending),
        _ if base != name => None,
        "accounts" => Some(Kind::Accounts),
        "containers" => Some(Kind::Containers),
        _ => None,
    }
}

struct Count {
    contents: DeviceContents,
    entries: u64,
}

impl Count {
    /// Names below a directory with whether they are directories; none when it is gone.
    fn list(&mut self, path: &Path) -> Vec<(String, bool)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).into_iter().flatten() {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                self.contents.is_more = true;
                break;
            }
            let Ok(entry) = entry else {
                self.contents.is_more = true;
                continue;
            };
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            found.push((entry.file_name().to_string_lossy().into_owned(), is_directory));
        }
        found
    }

    fn file(&mut self, kind: Kind, path: &Path, name: &str) {
        let end = name.rsplit('.').next().unwrap_or_default();
        let counter = match (kind, end) {
            (Kind::Objects, "data" | "meta" | "ts" | "durable") => &mut self.contents.object_files,
            (Kind::Accounts, "db") => &mut self.contents.accounts,
            (Kind::Containers, "db") => &mut self.contents.containers,
            (Kind::AsyncPending, _) => &mut self.contents.async_pending,
            _ => return,
        };
        *counter += 1;
        let size = std::fs::symlink_metadata(path.join(name)).map_or(0, |found| found.len());
        self.contents.bytes = self.contents.bytes.saturating_add(size);
    }

    fn files(&mut self, kind: Kind, path: &Path, depth: u32) {
        for (name, is_directory) in self.list(path) {
            match (is_directory, depth) {
                (true, 1..) => self.files(kind, &path.join(name), depth - 1),
                (true, 0) => {}
                (false, _) => self.file(kind, path, &name),
            }
        }
    }

    fn top(&mut self, kind: Kind, path: &Path) {
        if kind == Kind::AsyncPending {
            return self.files(kind, path, 1);
        }
        for (name, is_directory) in self.list(path) {
            if !is_directory || !name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let (before, partition) = (self.contents, path.join(name));
            self.files(kind, &partition, 2);
            let found = |contents: &DeviceContents| {
                (contents.object_files, contents.accounts, contents.containers)
            };
            self.contents.partitions += u64::from(found(&before) != found(&self.contents));
        }
    }
}

/// Whether a directory and its parent are on different file systems.
fn is_mount(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::symlink_metadata(path).ok().map(|found| found.dev());
    device(path).is_some() && device(path) != device(path.parent().unwrap_or(path))
}

/// Counts the contents of the device at `path`. A device that must be mounted and is not counts as
/// absent. Blocks.
pub(crate) fn of_device(path: &Path, mount_check: bool) -> DeviceContents {
    let is_there = path.is_dir() && (!mount_check || is_mount(path));
    let mut count =
        Count { contents: DeviceContents { is_there, ..DeviceContents::default() }, entries: 0 };
    for (name, is_directory) in count.list(path) {
        if let Some(kind) = kind(&name).filter(|_| is_directory) {
            count.top(kind, &path.join(name));
        }
    }
    count.contents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_cluster_is_counted_and_empty_partitions_are_not() {
        let root = std::env::temp_dir().join(format!("apus-contents-{}", std::process::id()));
        let put = |name: &str, bytes: &[u8]| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        assert!(!of_device(&root, false).is_empty(), "what is not there is not known to be empty");
        put("objects/1/hashes.pkl", b"x");
        put("objects/1/.lock", b"");
        put("tmp/x", b"x");
        assert!(of_device(&root, false).is_empty());
        assert!(!of_device(&root, true).is_empty(), "nothing is mounted there");
        put("objects/2/abc/00ab/1.00000.data", b"12345");
        put("objects-1/7/abc/00ab/1.00000.ts", b"");
        put("containers/3/abc/00ab/00ab.db", b"123");
        put("containers/3/abc/00ab/00ab.db-wal", b"123");
        put("async_pending-1/abc/00ab-1", b"1");
        let found = of_device(&root, false);
        let expected = DeviceContents {
            is_there: true,
            partitions: 3,
            object_files: 2,
            containers: 1,
            async_pending: 1,
            bytes: 9,
            ..DeviceContents::default()
        };
        assert_eq!(found, expected);
        std::fs::remove_dir_all(&root).unwrap();
    }
}

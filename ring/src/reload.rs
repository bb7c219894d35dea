//! A ring that follows its file. A damaged new file keeps the old ring in use.
//!
//! A new ring reaches the nodes of a cluster one after another. The previous ring is therefore kept
//! for a while, and a request that must reach every holder asks the primaries of both.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::error::RingError;
use crate::ring::Ring;

/// The newest valid ring of one file, shared by all parts of the process.
#[derive(Debug)]
pub struct SharedRing {
    path: PathBuf,
    ring: ArcSwap<Ring>,
    /// The previous ring, and when it expires.
    former: ArcSwapOption<(Arc<Ring>, Instant)>,
    overlap: Duration,
    /// Stamp of the file that was last read. Locked while the file is read, so that an older file
    /// never replaces a newer one.
    stamp: Mutex<Option<FileStamp>>,
}

/// Identity of a file: two versions may have the same modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl SharedRing {
    /// Reads the file.
    ///
    /// # Errors
    /// The path of the file, and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, RingError> {
        let stamp = stamp(path);
        let ring = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            ring: ArcSwap::from_pointee(ring),
            former: ArcSwapOption::empty(),
            overlap: Duration::ZERO,
            stamp: Mutex::new(stamp),
        })
    }

    /// Keeps the previous ring for some time after each change.
    #[must_use]
    pub fn remembering(self, overlap: Duration) -> Self {
        Self { overlap, ..self }
    }

    /// The previous ring, as long as other nodes may still use it.
    pub fn former(&self) -> Option<Arc<Ring>> {
        let former = self.former.load();
        let (ring, until) = former.as_deref()?;
        (Instant::now() < *until).then(|| ring.clone())
    }

    /// Sets the previous ring, with its remaining time, if its assignments differ.
    pub fn remember(&self, former: Ring, rest: Duration) {
        if former.rows() != self.ring.load().rows() {
            self.former.store(Some(Arc::new((Arc::new(former), Instant::now() + rest))));
        }
    }

    /// The current ring.
    pub fn get(&self) -> arc_swap::Guard<Arc<Ring>> {
        self.ring.load()
    }

    /// The file it comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again if it changed. Returns `true` when a new ring is in use.
    ///
    /// # Errors
    /// The new file is invalid. The old ring stays in use, and this file is not tried again.
    pub fn refresh(&self) -> Result<bool, RingError> {
        let mut known = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.path);
        if *known == now || now.is_none() {
            return Ok(false);
        }
        *known = now;
        let (new, old) = (read(&self.path)?, self.ring.load_full());
        // A new weight or address of a device alone moves nothing.
        if new.rows() != old.rows() {
            let until = Instant::now() + self.overlap;
            self.former.store(Some(Arc::new((old, until))));
        }
        self.ring.store(Arc::new(new));
        Ok(true)
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    let found = std::fs::metadata(path).ok()?;
    let modified = (found.mtime(), found.mtime_nsec());
    Some(FileStamp { inode: found.ino(), length: found.len(), modified })
}

fn read(path: &Path) -> Result<Ring, RingError> {
    let bytes =
        std::fs::read(path).map_err(|source| RingError::Read { path: path.to_owned(), source })?;
    Ring::decode(&bytes).map_err(|error| error.in_file(path))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_bad_new_file_keeps_the_old_ring() {
        let directory = std::env::temp_dir().join(format!("apus-reload-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("object.ring.gz");
        let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/ring");
        std::fs::copy(format!("{vectors}/saio.ring.gz"), &path).unwrap();
        let shared = SharedRing::load(&path).unwrap();
        assert!(!shared.refresh().unwrap());
        std::fs::write(&path, b"not a ring").unwrap();
        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(shared.refresh().unwrap_err().to_string().contains("object.ring.gz"));
        assert_eq!(shared.get().partitions(), 1024);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_replaced_file_of_the_same_time_is_noticed() {
        let directory = std::env::temp_dir().join(format!("apus-tick-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/ring");
        let put = |name: &str| {
            let (path, ring) = (directory.join(name), directory.join("object.ring.gz"));
            std::fs::copy(format!("{vectors}/{name}.ring.gz"), &path).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            std::fs::rename(path, &ring).unwrap();
            ring
        };
        let shared = SharedRing::load(&put("saio")).unwrap();
        put("two-regions");
        assert!(shared.refresh().unwrap());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_previous_ring_is_kept_for_its_time_and_only_when_something_moved() {
        let directory = std::env::temp_dir().join(format!("apus-former-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("object.ring.gz");
        let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/ring");
        let mut seconds = 0;
        let mut put = |name: &str| {
            seconds += 5;
            std::fs::copy(format!("{vectors}/{name}.ring.gz"), &path).unwrap();
            let later = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        };
        put("saio");
        let shared = SharedRing::load(&path).unwrap().remembering(Duration::from_secs(60));
        let forgetful = SharedRing::load(&path).unwrap();
        put("saio");
        assert!(shared.refresh().unwrap());
        assert!(shared.former().is_none(), "nothing moved");
        put("two-regions");
        assert!(shared.refresh().unwrap() && forgetful.refresh().unwrap());
        let former = shared.former().unwrap();
        assert_ne!(former.rows(), shared.get().rows());
        assert_eq!(former.partitions(), 1024);
        assert!(forgetful.former().is_none(), "its time is over");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

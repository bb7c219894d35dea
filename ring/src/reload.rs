//! A ring that is reread when its file changes. A bad new file keeps the old ring.
//!
//! A new ring reaches the nodes of a cluster one after another. So the one before is remembered for
//! a while: who must meet everybody else asks the primaries of both.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::ring::Ring;

/// The newest good ring of one file, shared by everybody in the process.
#[derive(Debug)]
pub struct SharedRing {
    path: PathBuf,
    ring: ArcSwap<Ring>,
    /// The ring before, and until when it counts.
    former: ArcSwapOption<(Arc<Ring>, Instant)>,
    overlap: Duration,
    /// Of the file that was last looked at. Whoever rereads holds it, so that an older file never
    /// takes the place of a newer one.
    seen: Mutex<Option<Seen>>,
}

/// Tells one file from another: two of them may come within one tick of the file system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl SharedRing {
    /// Reads the file.
    ///
    /// # Errors
    /// Text that names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let seen = seen(path);
        let ring = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            ring: ArcSwap::from_pointee(ring),
            former: ArcSwapOption::empty(),
            overlap: Duration::ZERO,
            seen: Mutex::new(seen),
        })
    }

    /// Remembers the ring before for some time after each change.
    #[must_use]
    pub fn remembering(self, overlap: Duration) -> Self {
        Self { overlap, ..self }
    }

    /// The ring before, as long as others may still go by it.
    pub fn former(&self) -> Option<Arc<Ring>> {
        let former = self.former.load();
        let (ring, until) = former.as_deref()?;
        (Instant::now() < *until).then(|| ring.clone())
    }

    /// Takes a ring as the one before, for so long, if this one has moved something.
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

    /// Rereads the file if it changed since it was last looked at. `Ok(true)` when a new ring is
    /// in force.
    ///
    /// # Errors
    /// What is wrong with the new file; the old ring stays, and the same file is not tried again.
    pub fn refresh(&self) -> Result<bool, String> {
        let mut known = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = seen(&self.path);
        if *known == now || now.is_none() {
            return Ok(false);
        }
        *known = now;
        let (new, old) = (read(&self.path)?, self.ring.load_full());
        // Another weight or address of a device moves nothing.
        if new.rows() != old.rows() {
            let until = Instant::now() + self.overlap;
            self.former.store(Some(Arc::new((old, until))));
        }
        self.ring.store(Arc::new(new));
        Ok(true)
    }
}

fn seen(path: &Path) -> Option<Seen> {
    let found = std::fs::metadata(path).ok()?;
    let modified = (found.mtime(), found.mtime_nsec());
    Some(Seen { inode: found.ino(), length: found.len(), modified })
}

fn read(path: &Path) -> Result<Ring, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ring::decode(&bytes).map_err(|error| format!("{}: {error}", path.display()))
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
        assert_eq!(shared.refresh(), Ok(false));
        std::fs::write(&path, b"not a ring").unwrap();
        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(shared.refresh().unwrap_err().contains("object.ring.gz"));
        assert_eq!(shared.get().partitions(), 1024);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_file_of_the_same_time_in_place_of_another_is_seen() {
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
        assert_eq!(shared.refresh(), Ok(true));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_ring_before_is_remembered_for_its_time_and_only_when_something_moved() {
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
        assert_eq!(shared.refresh(), Ok(true));
        assert!(shared.former().is_none(), "nothing moved");
        put("two-regions");
        assert_eq!((shared.refresh(), forgetful.refresh()), (Ok(true), Ok(true)));
        let former = shared.former().unwrap();
        assert_ne!(former.rows(), shared.get().rows());
        assert_eq!(former.partitions(), 1024);
        assert!(forgetful.former().is_none(), "its time is over");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

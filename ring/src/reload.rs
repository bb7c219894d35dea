//! A ring that is reread when its file changes. A bad new file keeps the old ring.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::format;
use crate::ring::Ring;

/// The newest good ring of one file, shared by everybody in the process.
#[derive(Debug)]
pub struct SharedRing {
    path: PathBuf,
    ring: ArcSwap<Ring>,
    modified: Mutex<Option<SystemTime>>,
}

impl SharedRing {
    /// Reads the file.
    ///
    /// # Errors
    /// Text that names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let modified = modified(path);
        let ring = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            ring: ArcSwap::from_pointee(ring),
            modified: Mutex::new(modified),
        })
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
        let now = modified(&self.path);
        {
            let mut known = self.modified.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if *known == now || now.is_none() {
                return Ok(false);
            }
            *known = now;
        }
        self.ring.store(Arc::new(read(&self.path)?));
        Ok(true)
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn read(path: &Path) -> Result<Ring, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    format::decode(&bytes)
        .and_then(Ring::check)
        .map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_new_file_keeps_the_old_ring() {
        let directory = std::env::temp_dir().join(format!("apus-reload-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("object.ring.gz");
        let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/ring");
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
}

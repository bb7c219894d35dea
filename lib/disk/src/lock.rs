//! Locks on directories.
//!
//! Swift locks a file in the directory with `flock`. A lock on the directory itself is for two
//! processes of one server.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use apus_fault::journal::{self, Change, Which};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// Time between two attempts to take a lock.
const POLL: Duration = Duration::from_millis(2);

/// A lock, exclusive or shared, held until dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Locks `directory/name` and waits up to `wait` for it. Blocks the thread: for device threads
    /// only.
    ///
    /// # Errors
    /// `WouldBlock` when another lock is held for that long.
    pub fn take(directory: &Path, name: &str, wait: Duration) -> io::Result<Self> {
        Self::lock(directory, name, wait, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes a shared lock, likewise.
    ///
    /// # Errors
    /// As [`DirectoryLock::take`].
    pub fn share(directory: &Path, name: &str, wait: Duration) -> io::Result<Self> {
        Self::lock(directory, name, wait, FlockOperation::NonBlockingLockShared)
    }

    fn lock(directory: &Path, name: &str, wait: Duration, how: FlockOperation) -> io::Result<Self> {
        let path = directory.join(name);
        let open = || {
            let opened = rustix::fs::open(
                &path,
                rustix::fs::OFlags::CREATE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            )?;
            journal::note(|| Change::Create(Which::Path(path.clone())));
            Ok::<_, Errno>(opened)
        };
        let mut file = open()?;
        let mut waited = Duration::ZERO;
        loop {
            match rustix::fs::flock(&file, how) {
                Ok(()) => {
                    // The previous holder may have removed the directory, and another process may
                    // have made it again. Then others do not lock this file.
                    let ours = rustix::fs::fstat(&file)?;
                    match rustix::fs::stat(&path) {
                        Ok(named) if named.st_ino == ours.st_ino => {
                            return Ok(Self { _file: file.into() });
                        }
                        _ => file = open()?,
                    }
                }
                Err(Errno::WOULDBLOCK) if waited < wait => {
                    std::thread::sleep(POLL);
                    waited += POLL;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A lock on a directory itself, exclusive or shared, held until dropped. It does not make a file,
/// and prevents the file system from being unmounted.
#[derive(Debug)]
pub struct RootLock {
    _directory: File,
}

impl RootLock {
    /// Takes an exclusive lock and waits up to `wait` for it. Blocks the thread.
    ///
    /// # Errors
    /// `WouldBlock` when another lock is held for that long.
    pub fn exclusive(directory: &Path, wait: Duration) -> io::Result<Self> {
        Self::take(directory, FlockOperation::NonBlockingLockExclusive, wait)
    }

    /// Takes a shared lock, likewise.
    ///
    /// # Errors
    /// As [`RootLock::exclusive`].
    pub fn shared(directory: &Path, wait: Duration) -> io::Result<Self> {
        Self::take(directory, FlockOperation::NonBlockingLockShared, wait)
    }

    fn take(directory: &Path, how: FlockOperation, wait: Duration) -> io::Result<Self> {
        let file = File::open(directory)?;
        let mut waited = Duration::ZERO;
        loop {
            match rustix::fs::flock(&file, how) {
                Ok(()) => return Ok(Self { _directory: file }),
                Err(Errno::WOULDBLOCK) if waited < wait => {
                    std::thread::sleep(POLL);
                    waited += POLL;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

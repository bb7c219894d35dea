//! Locks of devices, by role: `flock` on `<device>/.apus-locks/<role>`.
//!
//! The file has a record of the process that holds the lock.
//!
//! Swift's programs walk `objects*`, `accounts`, `containers`, `tmp`, `quarantined` and
//! `async_pending*` of a device and never open this directory. The kernel releases a lock with the
//! end of its process, however that comes.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// The directory of a device with its locks.
pub(crate) const FOLDER: &str = ".apus-locks";
/// Longest record that is read.
const RECORD_BYTES_MAX: u64 = 8192;

/// Description of a process in a lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockHolder {
    /// Process number.
    pub(crate) pid: u32,
    /// Its command, such as `apus object-server`.
    pub(crate) program: String,
    /// Its configuration directory or file.
    pub(crate) configuration: PathBuf,
    /// Its overseer's number and start time, when it is a worker.
    pub(crate) overseer: Option<String>,
}

impl LockHolder {
    /// The text of a lock file.
    pub(crate) fn encode(&self) -> String {
        let Self { pid, program, configuration, overseer } = self;
        let mut text = format!(
            "pid = {pid}\nprogram = {program}\nconfiguration = {}\n",
            configuration.display()
        );
        if let Some(overseer) = overseer {
            let _ = writeln!(text, "overseer = {overseer}");
        }
        text
    }

    /// Reads the text of a lock file; `None` when it names no process.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let line = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(" = ")?;
                (key == name).then(|| value.trim().to_owned())
            })
        };
        Some(Self {
            pid: line("pid")?.parse().ok()?,
            program: line("program").unwrap_or_default(),
            configuration: PathBuf::from(line("configuration").unwrap_or_default()),
            overseer: line("overseer"),
        })
    }
}

impl std::fmt::Display for LockHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({} {})", self.pid, self.program, self.configuration.display())
    }
}

/// Number and start time of a process, which together are unique on a machine.
pub(crate) fn identity(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything. Of what follows, the start time is the 20th.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(format!("{pid}:{}", rest.split_whitespace().nth(19)?))
}

/// A lock that was not granted.
#[derive(Debug)]
pub(crate) enum LockRefusal {
    /// Another process holds it; its record, if that is readable.
    Held(Option<LockHolder>),
    /// The file system does not allow a lock file: it is read-only, full, or of another user.
    Unwritable(io::Error),
    /// The disk failed.
    Failed(io::Error),
}

/// A lock, held until dropped.
#[derive(Debug)]
pub(crate) struct DeviceLock {
    file: File,
    path: PathBuf,
}

impl DeviceLock {
    /// Takes the lock of `role` on an existing device, without waiting.
    ///
    /// # Errors
    /// The process that holds it, or what failed.
    pub(crate) fn take(
        device: &Path,
        role: &str,
        holder: &LockHolder,
    ) -> Result<Self, LockRefusal> {
        let folder = device.join(FOLDER);
        if let Err(error) = std::fs::DirBuilder::new().mode(0o700).create(&folder)
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(refused(error));
        }
        Self::of_file(&folder.join(role), holder)
    }

    /// Takes the lock of one file, which is made when it is missing.
    pub(crate) fn of_file(path: &Path, holder: &LockHolder) -> Result<Self, LockRefusal> {
        loop {
            let mut file = open(path).map_err(refused)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(LockRefusal::Held(record(&mut file))),
                Err(error) => return Err(LockRefusal::Failed(error.into())),
            }
            let lock = Self { file, path: path.to_owned() };
            // Another process may have removed the file between the two calls.
            if lock.is_in_place() {
                lock.write(holder);
                return Ok(lock);
            }
        }
    }

    /// Whether the path still leads to the file that is locked: a disk may have been exchanged.
    pub(crate) fn is_in_place(&self) -> bool {
        match (rustix::fs::fstat(&self.file), rustix::fs::stat(&self.path)) {
            (Ok(ours), Ok(named)) => (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino),
            _ => false,
        }
    }

    /// The record is for people and for the next worker; a full disk must not prevent the lock.
    fn write(&self, holder: &LockHolder) {
        let mut file = &self.file;
        let text = holder.encode();
        let written = file
            .rewind()
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.set_len(text.len() as u64));
        if let Err(error) = written {
            tracing::debug!(%error, path = %self.path.display(), "the record of a lock");
        }
    }
}

/// For reading and writing; only for reading when the file system is read-only, which is enough for
/// a lock. The file is for its own user only: any other that can open it could hold the lock.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR;
    let opened = match rustix::fs::open(path, flags | OFlags::CREATE | OFlags::RDWR, mode) {
        Err(error @ (Errno::ACCESS | Errno::ROFS | Errno::PERM)) => {
            rustix::fs::open(path, flags | OFlags::RDONLY, Mode::empty()).map_err(|_| error)
        }
        opened => opened,
    };
    Ok(opened?.into())
}

fn record(file: &mut File) -> Option<LockHolder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(RECORD_BYTES_MAX).read_to_string(&mut text).ok()?;
    LockHolder::decode(&text)
}

fn refused(error: io::Error) -> LockRefusal {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem
        | ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::PermissionDenied => LockRefusal::Unwritable(error),
        _ => LockRefusal::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(pid: u32) -> LockHolder {
        LockHolder {
            pid,
            program: "apus object-server".to_owned(),
            configuration: PathBuf::from("/etc/swift with = sign"),
            overseer: None,
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("apus-device-lock-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_second_owner_is_refused_and_learns_who_the_first_one_is() {
        let device = folder("second");
        let first = DeviceLock::take(&device, "object-server", &holder(1)).unwrap();
        let refused = DeviceLock::take(&device, "object-server", &holder(2)).unwrap_err();
        assert!(matches!(refused, LockRefusal::Held(Some(held)) if held == holder(1)));
        let other_role = DeviceLock::take(&device, "container-server", &holder(2)).unwrap();
        drop(first);
        let second = DeviceLock::take(&device, "object-server", &holder(3)).unwrap();
        let refused = DeviceLock::take(&device, "object-server", &holder(4)).unwrap_err();
        assert!(matches!(refused, LockRefusal::Held(Some(held)) if held == holder(3)));
        drop((second, other_role));
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[test]
    fn a_lock_on_a_disk_that_was_exchanged_is_not_in_place() {
        let device = folder("exchanged");
        let lock = DeviceLock::take(&device, "object-server", &holder(1)).unwrap();
        assert!(lock.is_in_place());
        std::fs::remove_dir_all(&device).unwrap();
        assert!(!lock.is_in_place());
        std::fs::create_dir(&device).unwrap();
        let again = DeviceLock::take(&device, "object-server", &holder(1)).unwrap();
        assert!(again.is_in_place() && !lock.is_in_place());
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[test]
    fn a_device_that_is_not_there_is_not_made() {
        let device = folder("absent").join("sd1");
        let failed = DeviceLock::take(&device, "object-server", &holder(1)).unwrap_err();
        assert!(matches!(failed, LockRefusal::Failed(_)) && !device.exists());
    }

    #[test]
    fn records_are_read_as_they_were_written_and_damaged_ones_name_no_owner() {
        let with_overseer = LockHolder { overseer: Some("5:99".to_owned()), ..holder(7) };
        assert_eq!(LockHolder::decode(&with_overseer.encode()), Some(with_overseer));
        for text in ["", "pid = x\n", "pid = -1\n", "program = apus\n", "\0\0\0"] {
            assert_eq!(LockHolder::decode(text), None, "{text:?}");
        }
        assert_eq!(identity(std::process::id()), identity(std::process::id()));
        assert!(identity(std::process::id()).unwrap().starts_with(&std::process::id().to_string()));
    }
}

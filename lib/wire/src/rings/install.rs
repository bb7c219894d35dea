//! Puts files into `swift_dir` so that a crash leaves the old or the new one, never a part.
//!
//! The lock keeps servers of one node that share a `swift_dir` from each other. The ring comes first
//! and its statement after: a crash between leaves a ring that was checked and is in force, but is
//! passed on only when its statement came again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{RingFile, RingName, Statement};

/// What is locked.
const LOCK: &str = ".apus-rings.lock";
/// What unfinished files end with.
const UNFINISHED: &str = ".apus-unfinished";
/// Mode of a new file: rings are read by everybody.
const MODE: u32 = 0o644;

/// The right to change the rings of a directory, until it is dropped.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    directory: &'a Path,
    /// Held, and let go with the file.
    _lock: File,
}

impl<'a> Writer<'a> {
    /// Waits for other writers of the directory. Removes what a crash left unfinished.
    pub(super) fn of(directory: &'a Path) -> io::Result<Self> {
        let path = directory.join(LOCK);
        // Another user may have made it: opening for reading is enough to lock it.
        let lock = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                OpenOptions::new().create(true).truncate(false).write(true).open(path)?
            }
            opened => opened?,
        };
        lock.lock()?;
        for entry in std::fs::read_dir(directory)?.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(UNFINISHED) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { directory, _lock: lock })
    }

    /// Writes a ring.
    pub(super) fn ring(&self, file: &RingFile) -> io::Result<()> {
        let name = file.name().as_str();
        self.write(name, file.bytes(), &self.directory.join(name))
    }

    /// Writes what is said of a ring.
    pub(super) fn statement(&self, statement: &Statement) -> io::Result<()> {
        let text = statement.to_text() + "\n";
        let ring = self.directory.join(statement.name.as_str());
        self.write(&statement.name.of_statement(), text.as_bytes(), &ring)
    }

    /// With the mode and the owner of the file `like`.
    fn write(&self, name: &str, content: &[u8], like: &Path) -> io::Result<()> {
        let (path, unfinished) = (self.directory.join(name), self.unfinished(name));
        let written = (|| {
            // Until it has the mode of its ring.
            let mut options = OpenOptions::new();
            let mut file = options.create_new(true).write(true).mode(0o600).open(&unfinished)?;
            file.write_all(content)?;
            keep_owner(&file, like)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)
        })();
        if written.is_err() {
            // The next writer removes it when this does not.
            let _ = std::fs::remove_file(&unfinished);
        }
        written?;
        File::open(self.directory)?.sync_all()
    }

    fn unfinished(&self, name: &str) -> PathBuf {
        self.directory.join(format!(".{name}{UNFINISHED}"))
    }
}

/// Gives a new file the mode and, as far as this process may, the owner of another.
fn keep_owner(file: &File, like: &Path) -> io::Result<()> {
    let known = std::fs::metadata(like).ok();
    let mode = known.as_ref().map_or(MODE, |known| known.mode() & 0o777);
    if let Some(known) = known {
        // Only root may give files away; the rest keeps them.
        let _ = std::os::unix::fs::fchown(file, Some(known.uid()), Some(known.gid()));
    }
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

/// Where a ring's statement is.
pub(super) fn statement_path(directory: &Path, name: &RingName) -> PathBuf {
    directory.join(name.of_statement())
}

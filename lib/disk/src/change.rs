//! Changes of files and directories by name, each recorded for the model of crash states.
//!
//! All crates make such changes through this file only (`tests/tidy.rs` checks it). No change is
//! durable by itself: see [`sync_directory`](crate::sync_directory).

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use apus_fault::journal::{self, Change, Which};

use crate::counters::Counters;

/// Mode of new directories: their names and content are for this user only.
const DIRECTORY_MODE: u32 = 0o700;
/// Mode of new files, as of Swift's `mkstemp`, independent of the umask.
const FILE_MODE: u32 = 0o600;

/// Makes one directory.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path)?;
    journal::note(|| Change::MakeDirectory(path.to_owned()));
    Ok(())
}

/// Makes a directory with all its parents.
pub(crate) fn make_all(path: &Path) -> io::Result<()> {
    match make_directory(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_all(path.parent().ok_or(error)?)?;
            make_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Records that an attribute was set.
pub(crate) fn note_attribute(file: &Which, key: &str, value: &[u8]) {
    journal::note(|| Change::Attribute {
        file: file.clone(),
        key: key.to_owned(),
        value: value.to_vec(),
    });
}

/// Renames a file or a directory, and replaces the one with the new name.
///
/// # Errors
/// As the operating system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    rustix::fs::rename(from, to)?;
    journal::note(|| Change::Rename { from: from.to_owned(), to: to.to_owned() });
    Ok(())
}

/// Gives a file a second name, which must be free.
///
/// # Errors
/// As the operating system says.
pub fn hard_link(file: &Path, name: &Path) -> io::Result<()> {
    std::fs::hard_link(file, name)?;
    let which = || Which::Path(file.to_owned());
    journal::note(|| Change::Link { file: which(), path: name.to_owned() });
    Ok(())
}

/// Gives a file a second name, and replaces another file with that name in one step. A link to the
/// same file stays.
///
/// # Errors
/// As the operating system says.
pub fn hard_link_over(file: &Path, name: &Path) -> io::Result<()> {
    match hard_link(file, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    if is_same_file(file, name)? {
        return Ok(());
    }
    take_name(name, |link| hard_link(file, link))
}

/// Gives a file the name that another has, in one step; `link` gives it any other name.
pub(crate) fn take_name(name: &Path, link: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let temporary = name.with_file_name(random_name()?);
    link(&temporary)?;
    rename(&temporary, name).inspect_err(|_| {
        // No other code uses this name, and readers of the directory ignore it.
        let _ = remove_file(&temporary);
    })
}

/// Whether two names are of one file; `false` when the second does not exist.
///
/// # Errors
/// As the operating system says; `NotFound` when the first does not exist.
pub fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let one = std::fs::symlink_metadata(one)?;
    match std::fs::symlink_metadata(other) {
        Ok(other) => Ok((one.dev(), one.ino()) == (other.dev(), other.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A random name.
pub(crate) fn random_name() -> io::Result<String> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(".{:016x}.tmp", u64::from_le_bytes(random)))
}

/// Removes a name of a file.
///
/// # Errors
/// As the operating system says.
pub fn remove_file(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)?;
    journal::note(|| Change::Remove(path.to_owned()));
    Ok(())
}

/// Removes an empty directory.
///
/// # Errors
/// As the operating system says.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    std::fs::remove_dir(path)?;
    journal::note(|| Change::RemoveDirectory(path.to_owned()));
    Ok(())
}

/// Appends to a file, or makes it. Not durable: for data that may be lost.
///
/// # Errors
/// As the operating system says.
pub fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.append(true).create(true).mode(FILE_MODE).open(path)?;
    let which = || Which::Path(path.to_owned());
    journal::note(|| Change::Create(which()));
    file.write_all(bytes)?;
    journal::note(|| Change::Write { file: which(), offset: None, bytes: bytes.to_vec() });
    Ok(())
}

/// Makes an empty file for a writer that would choose another mode, such as SQLite. An existing file
/// stays as it is.
///
/// # Errors
/// As the operating system says.
pub fn make_private_file(path: &Path) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// Truncates an existing file.
///
/// # Errors
/// As the operating system says.
pub fn truncate(path: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).truncate(true).open(path)?;
    journal::note(|| Change::Truncate(Which::Path(path.to_owned())));
    Ok(())
}

/// Syncs a file that other code, such as SQLite, wrote and closed.
///
/// # Errors
/// As the operating system says.
pub fn sync_file(path: &Path, counters: &Counters) -> io::Result<()> {
    counters.sync();
    std::fs::File::open(path)?.sync_all()?;
    journal::note(|| Change::Snapshot {
        path: path.to_owned(),
        // A test that needs the content fails if it cannot be read.
        content: std::fs::read(path).unwrap_or_default(),
    });
    Ok(())
}

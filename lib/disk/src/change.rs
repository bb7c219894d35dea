//! Changes by name: what is made, renamed, removed, appended to. All of them go through here, also
//! those of other crates (`tests/tidy.rs` holds them to it), so that a test sees every one of them
//! and can say what a power cut makes of them.
//!
//! Nothing here is durable by itself: see [`sync_directory`](crate::sync_directory).

use std::io::{self, Write};
use std::path::Path;

use apus_fault::journal::{self, Change, Which};

use crate::counters::Counters;

/// Makes one directory.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)?;
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

/// Notes that an attribute was set.
pub(crate) fn note_attribute(file: &Which, key: &str, value: &[u8]) {
    journal::note(|| Change::Attribute {
        file: file.clone(),
        key: key.to_owned(),
        value: value.to_vec(),
    });
}

/// Renames a file or a directory; what has the new name is replaced.
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

/// Appends to a file, which is made if it is not there. Not durable: for what may be lost.
///
/// # Errors
/// As the operating system says.
pub fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    let which = || Which::Path(path.to_owned());
    journal::note(|| Change::Create(which()));
    file.write_all(bytes)?;
    journal::note(|| Change::Write { file: which(), offset: None, bytes: bytes.to_vec() });
    Ok(())
}

/// Empties a file that is there.
///
/// # Errors
/// As the operating system says.
pub fn truncate(path: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).truncate(true).open(path)?;
    journal::note(|| Change::Truncate(Which::Path(path.to_owned())));
    Ok(())
}

/// Syncs a file that somebody else wrote and closed, such as SQLite.
///
/// # Errors
/// As the operating system says.
pub fn sync_file(path: &Path, counters: &Counters) -> io::Result<()> {
    counters.sync();
    std::fs::File::open(path)?.sync_all()?;
    journal::note(|| Change::Snapshot {
        path: path.to_owned(),
        // What cannot be read is missed by the test that wants it.
        content: std::fs::read(path).unwrap_or_default(),
    });
    Ok(())
}

//! A journal of file system changes in their order.
//!
//! A model derives from it every state that a power cut may leave (`tests/crash_states`). Each change
//! is recorded after it was made, so a sync covers exactly the changes that were recorded before it
//! *began*. Nothing is recorded unless the feature `on` is set and a test has started.

use std::path::PathBuf;

/// A file, by the number that it got when it was made without a name, or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// See [`number`].
    Number(u64),
    /// The file with this name at that time.
    Path(PathBuf),
}

/// One change, or one sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new directory.
    MakeDirectory(PathBuf),
    /// A new file: without a name, or empty under a name that was free.
    Create(Which),
    /// Bytes at a place, or at the end.
    Write {
        /// Where they were written.
        file: Which,
        /// The first byte; `None` for the end of the file.
        offset: Option<u64>,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// A file lost its content.
    Truncate(Which),
    /// An extended attribute was set.
    Attribute {
        /// Of which file.
        file: Which,
        /// Its full name.
        key: String,
        /// Its value.
        value: Vec<u8>,
    },
    /// A file got a name.
    Link {
        /// Which file.
        file: Which,
        /// A name that was free.
        path: PathBuf,
    },
    /// A file or a directory got another name, and replaced the file that had it.
    Rename {
        /// The old name.
        from: PathBuf,
        /// The new name.
        to: PathBuf,
    },
    /// A name of a file was removed.
    Remove(PathBuf),
    /// An empty directory was removed.
    RemoveDirectory(PathBuf),
    /// A file was synced with its attributes.
    SyncFile {
        /// Which one.
        file: Which,
        /// Number of recorded changes when it began.
        begun: usize,
    },
    /// A file that other code (SQLite) wrote was synced.
    Snapshot {
        /// The name.
        path: PathBuf,
        /// The whole content.
        content: Vec<u8>,
    },
    /// The names in a directory were synced.
    SyncDirectory {
        /// Which one.
        path: PathBuf,
        /// Number of recorded changes when it began.
        begun: usize,
    },
    /// The file system was synced.
    SyncFileSystem {
        /// Number of recorded changes when it began.
        begun: usize,
    },
}

#[cfg(feature = "on")]
mod kept {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::{Change, Which};

    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    /// The directory below which changes are recorded, and the changes.
    static JOURNAL: Mutex<Option<(PathBuf, Vec<Change>)>> = Mutex::new(None);

    fn journal() -> MutexGuard<'static, Option<(PathBuf, Vec<Change>)>> {
        JOURNAL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(change: &Change) -> Option<&Path> {
        let of = |file| match file {
            &Which::Number(_) => None,
            Which::Path(path) => Some(path.as_path()),
        };
        match change {
            Change::MakeDirectory(path)
            | Change::Link { path, .. }
            | Change::Rename { from: path, .. }
            | Change::Remove(path)
            | Change::RemoveDirectory(path)
            | Change::Snapshot { path, .. }
            | Change::SyncDirectory { path, .. } => Some(path),
            Change::Create(file)
            | Change::Write { file, .. }
            | Change::Truncate(file)
            | Change::Attribute { file, .. }
            | Change::SyncFile { file, .. } => of(file),
            Change::SyncFileSystem { .. } => None,
        }
    }

    pub(super) fn number() -> u64 {
        NUMBERS.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn length() -> usize {
        journal().as_ref().map_or(0, |(_, changes)| changes.len())
    }

    pub(super) fn note(change: impl FnOnce() -> Change) {
        if let Some((root, changes)) = journal().as_mut() {
            let change = change();
            if path(&change).is_none_or(|path| path.starts_with(&*root)) {
                changes.push(change);
            }
        }
    }

    pub(super) fn start(root: &Path) {
        *journal() = Some((root.to_owned(), Vec::new()));
    }

    pub(super) fn end() -> Vec<Change> {
        journal().take().map(|(_, changes)| changes).unwrap_or_default()
    }
}

/// A number for a new file without a name.
#[inline]
#[must_use]
pub fn number() -> u64 {
    #[cfg(feature = "on")]
    return kept::number();
    #[cfg(not(feature = "on"))]
    0
}

/// The number of recorded changes.
#[inline]
#[must_use]
pub fn length() -> usize {
    #[cfg(feature = "on")]
    return kept::length();
    #[cfg(not(feature = "on"))]
    0
}

/// Records a change that was made.
#[inline]
pub fn note(change: impl FnOnce() -> Change) {
    #[cfg(feature = "on")]
    kept::note(change);
    #[cfg(not(feature = "on"))]
    let _ = change;
}

/// Starts to record the changes of this process below a directory.
#[cfg(feature = "on")]
pub fn start(root: &std::path::Path) {
    kept::start(root);
}

/// Stops recording, and returns the changes.
#[cfg(feature = "on")]
#[must_use]
pub fn end() -> Vec<Change> {
    kept::end()
}

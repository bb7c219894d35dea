//! Makes files that appear complete or not at all.
//!
//! A file is written without a name, synced, and linked; then its directory is synced. After
//! [`AtomicFile::publish`] has returned, the file survives a power cut with all its new directories.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use apus_fault::journal::{self, Change, Which};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::change::{self, random_name};
use crate::counters::Counters;
use crate::xattr::{XattrError, write_xattrs};

/// A file that has no name yet.
///
/// ```
/// use std::sync::Arc;
/// use apus_disk::{AtomicFile, Counters};
/// let directory = std::env::temp_dir().join(format!("apus-example-{}", std::process::id()));
/// std::fs::create_dir_all(&directory)?;
/// let counters = Arc::new(Counters::default());
/// let mut file = AtomicFile::create(&directory, &directory, &counters)?;
/// file.append(b"content")?;
/// file.sync()?;
/// file.publish(&directory.join("file"), &[])?;
/// assert_eq!(std::fs::read(directory.join("file"))?, b"content");
/// std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    /// Its number in the journal of a test.
    number: u64,
    /// Name in the temporary directory on file systems without unnamed files.
    temporary: Option<PathBuf>,
    length: u64,
    opened: Instant,
    counters: Arc<Counters>,
}

impl AtomicFile {
    /// Opens an unnamed file on the file system of `near`, which must exist, or a named one in
    /// `temporary` when the file system does not support unnamed ones.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn create(near: &Path, temporary: &Path, counters: &Arc<Counters>) -> io::Result<Self> {
        counters.calls(1);
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = match apus_fault::planted("without-unnamed-files") {
            false => rustix::fs::open(near, flags, mode),
            true => Err(Errno::OPNOTSUPP),
        };
        let (fd, name) = match opened {
            Ok(fd) => (fd, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                change::make_all(temporary)?;
                let path = temporary.join(random_name()?);
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                (rustix::fs::open(&path, flags, mode)?, Some(path))
            }
            Err(error) => return Err(error.into()),
        };
        let number = journal::number();
        journal::note(|| Change::Create(Which::Number(number)));
        if let Some(path) = &name {
            journal::note(|| Change::Link { file: Which::Number(number), path: path.clone() });
        }
        Ok(Self {
            file: fd.into(),
            number,
            temporary: name,
            length: 0,
            opened: Instant::now(),
            counters: counters.clone(),
        })
    }

    /// Reserves space for `bytes`, so that a full disk is detected before the body is read. Does
    /// nothing on file systems that cannot reserve.
    ///
    /// # Errors
    /// `StorageFull` when there is not enough space.
    pub fn reserve(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.counters.calls(1);
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// As the operating system says; the file must then be dropped.
    pub fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        apus_fault::fallible("file.append.begun")?;
        while !bytes.is_empty() {
            self.counters.calls(1);
            let written = rustix::io::pwrite(&self.file, bytes, self.length)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let (done, rest) = bytes.split_at_checked(written).unwrap_or((bytes, &[]));
            journal::note(|| Change::Write {
                file: Which::Number(self.number),
                offset: Some(self.length),
                bytes: done.to_vec(),
            });
            self.length += written as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Sets the permissions; by default only the owner may read the file.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.counters.calls(1);
        Ok(rustix::fs::fchmod(&self.file, Mode::from_bits_truncate(mode))?)
    }

    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// When it was opened.
    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    /// Starts to write dirty pages to the device without waiting, so that the sync of a large file
    /// is short.
    pub fn start_writeback(&self) {
        self.counters.calls(1);
        // Only advice: the sync writes the rest.
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }

    /// Sets the metadata attributes.
    ///
    /// # Errors
    /// [`XattrError::NoRoom`] when they do not fit on the file system.
    pub fn set_metadata(&self, pickled: &[u8]) -> Result<(), XattrError> {
        write_xattrs(self.file.as_fd(), &Which::Number(self.number), pickled, &self.counters)
    }

    /// Sets one attribute that Swift does not have.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn set_attribute(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.counters.calls(1);
        rustix::fs::fsetxattr(&self.file, key, value, rustix::fs::XattrFlags::empty())?;
        change::note_attribute(&Which::Number(self.number), key, value);
        Ok(())
    }

    /// Syncs data and attributes.
    ///
    /// # Errors
    /// As the operating system says. The pages may be lost then: the file must be dropped.
    pub fn sync(&self) -> io::Result<()> {
        self.counters.sync();
        apus_fault::fallible("file.sync.begun")?;
        if apus_fault::planted("bug.skip-file-sync") {
            return Ok(());
        }
        let begun = journal::length();
        rustix::fs::fsync(&self.file)?;
        journal::note(|| Change::SyncFile { file: Which::Number(self.number), begun });
        apus_fault::point("file.sync.done");
        Ok(())
    }

    /// Syncs the whole file system that the file is on.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        self.counters.sync();
        apus_fault::fallible("file-system.sync.begun")?;
        if apus_fault::planted("bug.skip-file-sync") {
            return Ok(());
        }
        sync_file_system_of(&self.file)?;
        apus_fault::point("file-system.sync.done");
        Ok(())
    }

    /// Number of the file system that the file is on.
    pub(crate) fn file_system(&self) -> io::Result<u64> {
        self.counters.calls(1);
        Ok(rustix::fs::fstat(&self.file)?.st_dev)
    }

    /// Gives the synced file its name, replaces the file that has it, and syncs the directory and
    /// the parents of the directories in `made` (as [`make_directories`] returned them).
    ///
    /// # Errors
    /// As the operating system says; whether the file has the name is then unknown.
    pub fn publish(mut self, target: &Path, made: &[PathBuf]) -> io::Result<()> {
        self.link(target)?;
        sync_directory(target.parent().unwrap_or(target), &self.counters)?;
        sync_parents(made, &self.counters)
    }

    pub(crate) fn link(&mut self, target: &Path) -> io::Result<()> {
        self.counters.calls(1);
        apus_fault::fallible("file.link.begun")?;
        if let Some(temporary) = &self.temporary {
            change::rename(temporary, target)?;
            self.temporary = None;
            return Ok(());
        }
        let link = |name: &Path| {
            let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            rustix::fs::linkat(CWD, &own, CWD, name, AtFlags::SYMLINK_FOLLOW)?;
            let file = Which::Number(self.number);
            journal::note(|| Change::Link { file, path: name.to_owned() });
            Ok::<_, io::Error>(())
        };
        match link(target) {
            Ok(()) => Ok(()),
            // The same timestamp was written before; the newer write replaces it in one step, so
            // that one of the two always exists.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.counters.calls(2);
                change::take_name(target, link)
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // An abandoned write; a failure has no consequence.
            let _ = change::remove_file(temporary);
        }
    }
}

/// Makes a directory and its missing parents below `root`, which must exist: the mount point of a
/// missing device is never filled. Returns the new ones, outermost first.
///
/// # Errors
/// As the operating system says; `NotFound` when `root` is missing.
pub fn make_directories(root: &Path, path: &Path, counters: &Counters) -> io::Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        counters.calls(1);
        match change::make_directory(at) {
            Ok(()) => {
                made.push(at.to_owned());
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound && at != root => {
                missing.push(at.to_owned());
                at = at.parent().filter(|parent| parent.starts_with(root)).ok_or(error)?;
                if at == root && !root.is_dir() {
                    return Err(io::ErrorKind::NotFound.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
    for path in missing.into_iter().rev() {
        counters.calls(1);
        match change::make_directory(&path) {
            Ok(()) => made.push(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    if !made.is_empty() {
        apus_fault::point("directory.make.done");
    }
    Ok(made)
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// As the operating system says.
pub fn sync_directory(path: &Path, counters: &Counters) -> io::Result<()> {
    counters.sync();
    counters.calls(1);
    apus_fault::fallible("directory.sync.begun")?;
    if apus_fault::planted("bug.skip-directory-sync") {
        return Ok(());
    }
    let directory = open_directory(path)?;
    let begun = journal::length();
    rustix::fs::fsync(&directory)?;
    journal::note(|| Change::SyncDirectory { path: path.to_owned(), begun });
    apus_fault::point("directory.sync.done");
    Ok(())
}

/// Makes all changes on the file system of `directory` durable.
///
/// # Errors
/// As the operating system says.
pub fn sync_file_system(directory: &Path, counters: &Counters) -> io::Result<()> {
    counters.sync();
    apus_fault::fallible("file-system.sync.begun")?;
    sync_file_system_of(open_directory(directory)?)?;
    apus_fault::point("file-system.sync.done");
    Ok(())
}

pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Syncs the file system of an open file or directory.
pub(crate) fn sync_file_system_of(open: impl AsFd) -> io::Result<()> {
    let begun = journal::length();
    rustix::fs::syncfs(open)?;
    journal::note(|| Change::SyncFileSystem { begun });
    Ok(())
}

/// Makes the entries of new directories in their parents durable; `made` as [`make_directories`]
/// returned it.
///
/// # Errors
/// As the operating system says.
pub fn sync_parents(made: &[PathBuf], counters: &Counters) -> io::Result<()> {
    for parent in made.iter().rev().filter_map(|new| new.parent()) {
        sync_directory(parent, counters)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("apus-disk-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_file_appears_whole_and_replaces_its_predecessor() {
        let root = scratch("atomic");
        let counters = Arc::new(Counters::default());
        let directory = root.join("objects/1/abc/hash");
        let made = make_directories(&root, &directory, &counters).unwrap();
        assert_eq!(made.len(), 4);
        for content in [b"one".as_slice(), b"other"] {
            let mut file = AtomicFile::create(&directory, &root.join("tmp"), &counters).unwrap();
            file.append(content).unwrap();
            assert_eq!(
                std::fs::read_dir(&directory).unwrap().count(),
                usize::from(content != b"one")
            );
            file.sync().unwrap();
            file.publish(&directory.join("1.data"), &[]).unwrap();
            assert_eq!(std::fs::read(directory.join("1.data")).unwrap(), content);
        }
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_publish_syncs_the_file_its_directory_and_each_new_parent() {
        let root = scratch("syncs");
        let counters = Arc::new(Counters::default());
        let directory = root.join("a/b");
        let made = make_directories(&root, &directory, &counters).unwrap();
        let file = AtomicFile::create(&directory, &root, &counters).unwrap();
        file.sync().unwrap();
        file.publish(&directory.join("f"), &made).unwrap();
        assert_eq!(counters.syncs(), 2 + 2);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_missing_root_is_never_made() {
        let root = scratch("gone");
        std::fs::remove_dir_all(&root).unwrap();
        let error = make_directories(&root, &root.join("x/y"), &Counters::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!root.exists());
    }
}

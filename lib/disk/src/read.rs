//! Reads from the page cache without waiting, or from the disk on a device thread.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::counters::Counters;

/// The result of a read that must not wait for the disk.
#[derive(Debug)]
pub enum NowaitRead {
    /// This many bytes; 0 is the end of the file.
    Read(usize),
    /// The data is not in memory, or the kernel does not know: a device thread must read it.
    WouldWait,
}

/// A directory that was opened without waiting for the disk.
#[derive(Debug)]
pub struct WarmDirectory(OwnedFd);

impl WarmDirectory {
    /// Names in the directory.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn names(&self, counters: &Counters) -> io::Result<Vec<String>> {
        counters.calls(2);
        let mut names = Vec::with_capacity(2);
        let mut directory = rustix::fs::Dir::read_from(&self.0)?;
        while let Some(entry) = directory.read() {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Opens a file in the directory if that does not need the disk.
    ///
    /// # Errors
    /// `WouldBlock` when it would wait.
    pub fn open(&self, name: &str, counters: &Counters) -> io::Result<File> {
        counters.calls(1);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&self.0, name, flags, Mode::empty(), ResolveFlags::CACHED)?;
        Ok(fd.into())
    }
}

/// Opens a directory if its whole path is in the kernel's cache.
///
/// # Errors
/// `WouldBlock` when it is not; `NotFound` when the kernel knows that it does not exist.
pub fn open_cached(path: &Path, counters: &Counters) -> io::Result<WarmDirectory> {
    counters.calls(1);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(fd) => Ok(WarmDirectory(fd)),
        // Kernels before 5.12 do not know the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}

/// Reads from memory only.
///
/// # Errors
/// As the operating system says.
pub fn read_nowait(
    file: &File,
    buffer: &mut [u8],
    offset: u64,
    counters: &Counters,
) -> io::Result<NowaitRead> {
    counters.calls(1);
    let mut buffers = [io::IoSliceMut::new(buffer)];
    match rustix::io::preadv2(file, &mut buffers, offset, ReadWriteFlags::NOWAIT) {
        Ok(length) => {
            counters.warm_read();
            Ok(NowaitRead::Read(length))
        }
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(NowaitRead::WouldWait),
        Err(error) => Err(error.into()),
    }
}

/// Reads and waits for the disk: for device threads only.
///
/// # Errors
/// As the operating system says.
pub fn read_at(
    file: &File,
    buffer: &mut [u8],
    offset: u64,
    counters: &Counters,
) -> io::Result<usize> {
    counters.calls(1);
    counters.cold_read();
    Ok(rustix::io::pread(file, buffer, offset)?)
}

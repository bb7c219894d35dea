//! Unix-domain sockets in the file system, which only their user can open.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::change::make_directory;

/// Mode of sockets.
const MODE: u32 = 0o600;
/// Longest path that the address of a socket can have, in bytes.
const ADDRESS_BYTES_MAX: usize = 107;
/// The name of a socket that has no mode yet, in a directory of its own.
const NEW: &str = "new";

/// A path that an address of a socket can have. A long one leads through an open directory, and is
/// valid as long as this exists.
#[derive(Debug)]
pub struct SocketAddressPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl SocketAddressPath {
    /// The path of a socket.
    ///
    /// # Errors
    /// As the operating system says, when the directory of a long path is opened.
    pub fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() <= ADDRESS_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory = File::open(directory)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }
}

impl AsRef<Path> for SocketAddressPath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// The name of a listening socket, which is removed when this is dropped.
#[derive(Debug)]
pub struct SocketName {
    path: PathBuf,
}

impl Drop for SocketName {
    fn drop(&mut self) {
        // Without the name it cannot be reached; a name that stays is replaced by the next process.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether a socket has this name.
pub fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Removes what a process left that was killed while it made a socket.
fn remove_new(directory: &Path) {
    let _ = std::fs::remove_file(directory.join(NEW));
    let _ = std::fs::remove_dir(directory);
}

/// Listens at a path that other users cannot open at any time. A socket that a killed process left is
/// replaced; the caller knows that no other process uses the path.
///
/// # Errors
/// As the operating system says; `AlreadyExists` for another file.
pub fn bind_private_socket(path: &Path) -> io::Result<(UnixListener, SocketName)> {
    if std::fs::symlink_metadata(path).is_ok() && !is_socket(path) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file of this name exists"));
    }
    let mut private = path.as_os_str().to_owned();
    private.push(".new");
    let private = PathBuf::from(private);
    remove_new(&private);
    // Between bind and the change of the mode, the mode of this directory protects the socket.
    make_directory(&private)?;
    let new = private.join(NEW);
    let bound = (|| {
        let listener = UnixListener::bind(SocketAddressPath::of(&new)?)?;
        std::fs::set_permissions(&new, Permissions::from_mode(MODE))?;
        std::fs::rename(&new, path)?;
        Ok((listener, SocketName { path: path.to_owned() }))
    })();
    remove_new(&private);
    bound
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A new directory, removed when it is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(crate::change::random_name().unwrap());
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_socket_is_private_replaces_a_stale_one_and_is_removed() {
        let root = Folder::new();
        for depth in [0, 150] {
            let folder = root.0.join("d".repeat(depth.max(1)));
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join("s");
            let (stale, name) = bind_private_socket(&path).unwrap();
            std::mem::forget(name);
            drop(stale);
            let address = SocketAddressPath::of(&path).unwrap();
            assert!(is_socket(&path) && UnixStream::connect(&address).is_err());
            let (listener, name) = bind_private_socket(&path).unwrap();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, MODE);
            UnixStream::connect(&address).unwrap();
            listener.accept().unwrap();
            drop(name);
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_a_file_is_not() {
        let folder = Folder::new();
        let path = folder.0.join("s");
        std::fs::create_dir(folder.0.join("s.new")).unwrap();
        drop(UnixListener::bind(folder.0.join("s.new/new")).unwrap());
        drop(bind_private_socket(&path).unwrap());
        std::fs::write(&path, "x").unwrap();
        let refused = bind_private_socket(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
    }
}

//! Durable files on a local file system.
//!
//! Every file that must survive a power cut is made with [`AtomicFile`]. Every sync, file system
//! call and extended attribute is counted in [`Counters`], so that tests can check budgets, and
//! every change is recorded for the model of crash states in `tests/`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod atomic_file;
mod change;
mod committer;
mod counters;
mod durable_write;
mod fresh;
mod lock;
mod mount;
mod names;
mod pieces;
mod private_socket;
mod quarantine;
mod read;
mod read_buffer;
mod reserve;
mod rotated;
mod threads;
mod xattr;

pub use atomic_file::{
    AtomicFile, make_directories, sync_directory, sync_file_system, sync_parents,
};
pub use change::{
    append, hard_link, hard_link_over, is_same_file, make_private_file, remove_directory,
    remove_file, rename, sync_file, truncate,
};
pub use committer::{Committer, Unnamed};
pub use counters::Counters;
pub use durable_write::{WriteError, write_durably};
pub use fresh::FreshDirectories;
pub use lock::{DirectoryLock, RootLock};
pub use mount::is_mount;
pub use names::names;
pub use pieces::each_piece;
pub use private_socket::{SocketAddressPath, SocketName, bind_private_socket, is_socket};
pub use quarantine::{quarantine, quarantine_file};
pub use read::{NowaitRead, WarmDirectory, open_cached, read_at, read_nowait};
pub use read_buffer::{ReadBuffer, ReadBuffers};
pub use reserve::{Reserve, free_space};
pub use rotated::RotatedFile;
pub use threads::{DeviceThreads, Priority, QueueFull};
pub use xattr::{METADATA_KEY, XattrError, read_attribute, read_xattrs, write_attribute};

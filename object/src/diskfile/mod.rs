//! Engine that keeps one file per object in `<device>/objects[-N]/<partition>/<suffix>/<hash>/`.
//!
//! The layout is Swift's. Nothing here imports anything but [`crate::engine`].

mod audit_hashes;
pub(crate) mod cleanup;
mod engine;
mod examine;
pub(crate) mod hashes;
pub(crate) mod layout;
pub(crate) mod metadata;
mod other_path;
pub(crate) mod partition;
pub(crate) mod partition_mark;
mod reader;
pub(crate) mod relink_notes;
pub(crate) mod sweep;
pub(crate) mod writer;

pub(crate) use engine::DiskFiles;

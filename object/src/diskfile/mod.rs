//! One object on one device: `<device>/objects[-N]/<partition>/<suffix>/<hash>/`.

pub(crate) mod blocks;
pub(crate) mod cleanup;
pub(crate) mod flood;
pub(crate) mod hashes;
pub(crate) mod layout;
pub(crate) mod metadata;
pub(crate) mod other_path;
pub(crate) mod partition;
pub(crate) mod partition_lock;
pub(crate) mod partition_mark;
pub(crate) mod reader;
pub(crate) mod sweep;
pub(crate) mod writer;

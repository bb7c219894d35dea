//! The stages of the pipeline, one file or folder for each feature.

pub mod admission;
pub mod buckets;
pub mod copy;
pub mod dlo;
pub mod encryption;
pub mod encryption_default;
#[cfg(test)]
pub(crate) mod memory_store;
pub mod multipart;
pub mod notify;
pub mod object_lock;
mod part_encryption;
mod part_heads;
pub mod quotas;
mod segments;
pub mod slo;
pub mod symlink;
mod upload_list;
mod upload_page;
pub mod versions;

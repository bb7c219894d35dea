//! The executables: servers by role, the one-box cluster, the ring builder.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod cli;
pub mod counts;
pub mod ring;
pub mod roles;
pub mod saio;

//! Which devices hold a partition, and how that answer is built.
//!
//! [`Ring`] is the read side: primaries and handoffs, equal on every node that has the same file.
//! [`builder::RingBuilder`] is the write side. Files are encoded to bytes here and written by
//! whoever owns the disk; this crate only reads.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod builder;
pub mod device;
pub mod format;
mod handoffs;
mod local;
pub mod moves;
pub mod python;
pub mod reload;
mod ring;
pub mod search;

pub use device::{Device, DeviceId};
pub use handoffs::Handoffs;
pub use local::Local;
pub use reload::SharedRing;
pub use ring::Ring;

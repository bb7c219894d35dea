//! Rings: the devices of each partition, and the builders that assign them.
//!
//! [`Ring`] is the read side: primaries and handoffs, equal on every node that has the same file.
//! [`builder::RingBuilder`] is the write side. Files are encoded to bytes here; the caller writes
//! them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod builder;
pub mod device;
mod error;
pub mod format;
mod handoffs;
mod local;
pub mod moves;
pub mod python;
pub mod reload;
mod ring;
pub mod search;

pub use device::{Device, DeviceId};
pub use error::{BuilderError, RingError, SyntaxError};
pub use handoffs::Handoffs;
pub use local::Local;
pub use reload::SharedRing;
pub use ring::Ring;

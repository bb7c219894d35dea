//! Client-visible operations on names, independent of dialect and of HTTP.
//!
//! [`Store`] is the trait, [`pipeline`] the order of its stages, [`quorum`] the innermost one that
//! talks to nodes. Nothing reaches a node without a [`access::Permit`], which only the gate makes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod access;
pub mod body;
pub mod clock;
pub mod context;
pub mod error;
pub mod gate;
pub mod info;
pub mod operation;
pub mod pipeline;
pub mod quorum;
pub mod stage;
mod store;

pub use context::{Authority, Consistency, Context};
pub use error::{Error, Kind, Result, Subject};
pub use store::Store;

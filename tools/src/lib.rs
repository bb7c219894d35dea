//! The executables: servers by role, the one-box cluster, the ring builder, the load generator,
//! the operators' view.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod bench;
pub mod cli;
pub mod counts;
mod recon;
mod reconciler_enqueue;
mod relinker;
pub mod ring;
mod ring_manager;
mod ring_transport;
pub mod roles;
pub mod saio;

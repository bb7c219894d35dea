//! What two processes of one cluster send each other: paths, header names, the two-phase PUT, and
//! the client that carries them over TCP or, in one process, as a function call.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod client;
pub mod error_limit;
pub mod headers;
pub mod message;
pub mod methods;
pub mod path;
mod pool;
pub mod put_stream;
pub mod rings;
pub mod signed;
pub mod transport;

pub use client::{Client, Counters, Deadlines, NodeError, NodeRequest};
pub use path::NodePath;
pub use transport::Transport;

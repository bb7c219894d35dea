//! The frame of every server process: configuration, logs, sockets, daemons, and a stop in order.
//!
//! Nothing here depends on which server a process runs.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod addresses;
mod client_io;
pub mod clock;
pub mod config;
mod descriptors;
pub mod drain;
mod framing;
pub mod handover;
pub mod http;
pub mod interim;
pub mod log;
pub mod metadata_names;
pub mod metrics;
pub mod pace;
pub mod pass;
pub mod random;
pub mod recon;
pub mod recon_http;
pub mod runner;
pub mod runtime;
pub mod serve;
mod slots;
pub mod socket;
pub mod syslog;
pub mod systemd;
pub mod task;
mod unread;

pub use client_io::Malformed;
pub use clock::Clock;
pub use drain::Drain;
pub use http::{Body, Handler};
pub use interim::Interim;
pub use pace::Pace;
pub use pass::{Pass, PassContext, Scope, Span, Stopped};
pub use recon::ReconCache;
pub use runner::{PassError, PassRunner};

//! What every process needs before it knows which server it is: configuration, logging, clock,
//! listening, stopping.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod clock;
pub mod config;
pub mod drain;
pub mod http;
pub mod interim;
pub mod log;
pub mod seed;
pub mod serve;
pub mod task;

pub use clock::Clock;
pub use drain::Drain;
pub use http::{Body, Handler};
pub use interim::Interim;

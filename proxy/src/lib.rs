//! The front door: edge, authentication, and the two dialects over one [`apus_store::Store`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod auth;
mod edge;
mod header_value;
mod s3;
mod swift;

pub use edge::{Parts, PublicUrl, Server};

//! Permissions of requests: the actions of S3, policies that allow or deny them, and their evaluation.
//!
//! Nothing here does I/O: the authorizer of the proxy applies these rules.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod permission;

pub use permission::{Permission, PermissionScope};

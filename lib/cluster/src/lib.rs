//! What two nodes of one cluster must agree on byte for byte.
//!
//! Names, placement hashes, timestamps, policies, limits, stored metadata, listing rows and the
//! pickle encoding they travel in. Nothing here does I/O: callers read, these types give meaning.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod backend_auth;
pub mod byte_range;
pub mod constraints;
pub mod etag;
pub mod expirer;
pub mod hashed_path;
pub mod listing;
pub mod metadata;
pub mod name;
pub mod percent;
pub mod pickle;
pub mod policy;
pub mod reconciler;
pub mod swift_conf;
pub mod timestamp;

pub use backend_auth::BackendAuth;
pub use hashed_path::{HashConf, PathHash};
pub use metadata::Metadata;
pub use name::{AccountName, ClientName, ContainerName, ContainerPath, ObjectName, ObjectPath};
pub use policy::{Policies, Policy, PolicyIndex};
pub use swift_conf::SwiftConf;
pub use timestamp::Timestamp;

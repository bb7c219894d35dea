//! Values and encodings that must be the same on every node of a cluster.
//!
//! Names, placement hashes, partitions, timestamps, policies, limits, stored metadata, rows of
//! listings and the pickle encoding in which they are stored and sent. Nothing here does I/O.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod backend_auth;
pub mod byte_range;
pub mod constraints;
mod erasure_policy;
pub mod etag;
pub mod expirer;
pub mod hashed_path;
pub mod identity_root;
pub mod listing;
pub mod metadata;
pub mod name;
pub mod network;
mod option_error;
pub mod partition;
pub mod percent;
pub mod pickle;
pub mod policy;
pub mod python_json;
pub mod reconciler;
mod ring_changes;
pub mod swift_conf;
pub mod timestamp;
pub mod webhooks;

pub use backend_auth::BackendAuth;
pub use hashed_path::{HashConf, PathHash};
pub use identity_root::{RootSecret, RootSecrets};
pub use metadata::Metadata;
pub use name::{AccountName, ClientName, ContainerName, ContainerPath, ObjectName, ObjectPath};
pub use option_error::OptionError;
pub use partition::{DeviceId, PartPower, Partition};
pub use policy::{Policies, Policy, PolicyIndex};
pub use ring_changes::RingChanges;
pub use swift_conf::{SwiftConf, SwiftConfError};
pub use timestamp::Timestamp;

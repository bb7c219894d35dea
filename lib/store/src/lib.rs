//! Client-visible operations on names, independent of dialect and of HTTP.
//!
//! [`Store`] is the trait that the dialects use, [`pipeline`] the order of its stages, [`quorum`]
//! the innermost part, which sends requests to nodes. Every request to a node needs a
//! [`gate::Permit`], which only the gate can construct.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod access;
pub mod body;
pub mod buckets;
pub mod clock;
pub mod context;
pub mod encryption;
pub mod error;
pub mod gate;
pub mod info;
pub mod operation;
pub mod pipeline;
pub mod quorum;
pub mod settings;
pub mod stage;
mod store;
pub mod upload_parts;

pub use buckets::BucketNamespace;
pub use context::{Authority, Consistency, Context, VersionRules};
pub use error::{Error, Kind, Result, Subject};
pub use store::{CopyStore, LinkStore, ManifestStore, Primitive, Store, UploadStore, VersionStore};

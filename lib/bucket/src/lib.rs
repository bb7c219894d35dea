//! Configurations of buckets: their types, their rules as pure functions, and their stored form.
//!
//! One file per feature. Nothing here does I/O: the S3 dialect parses and renders documents, stages
//! and daemons apply the rules.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod acl;
pub mod bucket_acls;
pub mod bucket_policy;
pub mod cors;
pub mod encryption;
pub mod event;
pub mod lifecycle;
pub mod logging;
pub mod name;
pub mod notification;
pub mod object_lock;
pub mod ownership;
pub mod public_access;
pub mod quota;
pub mod rate;
pub mod read_only;
pub mod stored;
pub mod tag_query;
pub mod tagging;
pub mod website;

pub use bucket_policy::BucketPolicyConfig;
pub use stored::{ConfigError, ConfigKind};
pub use tagging::{Tag, TagError, TagSet};

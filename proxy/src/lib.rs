//! The proxy server: authentication and two dialects, Swift and S3, over one [`apus_store::Store`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod access_log;
mod audit;
pub mod auth;
mod config;
mod deps;
mod edge;
mod facts;
mod form_stream;
#[doc(hidden)]
pub mod fuzzing;
mod header_value;
mod public_url;
mod query;
mod reply;
mod s3;
mod swift;

pub use access_log::AccessLogs;
pub use apus_bucket::ownership::ObjectOwnership;
pub use apus_bucket::rate::{RateTable, WaitRules};
pub use apus_bucket::read_only::ReadOnlyConfig;
pub use apus_store::stage::account_rules::RateLimitConfig;
pub use audit::AuditSink;
pub use config::{DomainRemapConfig, ProxyConfig, StaticWebConfig};
pub use deps::ProxyDeps;
pub use edge::Server;
pub use edge::name_check::NameCheck;
pub use public_url::{InvalidPublicUrl, PublicUrl};
pub use swift::etag_quoter::EtagQuoterConfig;

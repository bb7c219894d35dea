//! Facts of a node for its cluster: `swift.conf`, and the contents of devices.
//!
//! A storage server reports them to nodes that join and to the ring manager.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod contents;
mod facts;
mod swift_conf;

pub use contents::DeviceContents;
pub use facts::{Facts, JoinDeps, JoinHttp, json_response, refusal};
pub use swift_conf::swift_conf;

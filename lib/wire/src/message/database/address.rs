//! The database that a `REPLICATE` is about.

use apus_cluster::PathHash;
use http::HeaderMap;
use http::request::Parts;

use super::super::{InvalidRequest, Received};
use crate::{NodePath, NodeRequest, methods};

/// A replica of an account or a container, by the hash of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaAddress {
    /// Its partition.
    pub partition: u32,
    /// The hash of its names.
    pub hash: PathHash,
}

impl ReplicaAddress {
    /// A `REPLICATE` of this database, without headers.
    pub(super) fn encode(self) -> NodeRequest {
        NodeRequest {
            method: methods::method(methods::REPLICATE),
            partition: self.partition,
            names: vec![self.hash.to_string()],
            query: String::new(),
            headers: HeaderMap::with_capacity(4),
        }
    }

    pub(super) fn decode(head: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let path = NodePath::decode(head.uri.path(), 1)?;
        let hash = path.names.first().and_then(|hash| PathHash::parse(hash));
        let hash =
            hash.ok_or_else(|| InvalidRequest::Path("Invalid path: expected a hash".to_owned()))?;
        let message = Self { partition: path.partition, hash };
        Ok(Received { device: path.device, message })
    }
}

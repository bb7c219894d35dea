//! `REPAIR`: asks a server to send an object to nodes that are behind, or its rows. It is ours.

use apus_daemon::http::{header, set};
use apus_ring::Device;
use http::request::Parts;

use super::super::{InvalidRequest, Received};
use super::{ObjectAddress, ObjectRowTargets};
use crate::{NodeRequest, headers, methods};

/// Maximum number of nodes in one request.
const NODES_MAX: usize = 16;

/// `REPAIR /device/partition/account/container/object`.
#[derive(Debug, Clone, PartialEq)]
pub struct RepairRequest {
    /// The object.
    pub address: ObjectAddress,
    /// Where to send it: replication address and device of each.
    pub nodes: Vec<Device>,
    /// Databases that lack the row of what is stored.
    pub rows: ObjectRowTargets,
}

impl RepairRequest {
    /// As a request to the server that has the newest version.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(methods::method(methods::REPAIR));
        let nodes = self.nodes.iter();
        let nodes = nodes.map(|node| format!("{}/{}", node.replication_address(), node.device));
        set(&mut request.headers, headers::REPAIR_TO, &nodes.collect::<Vec<_>>().join(","));
        self.rows.encode(&mut request.headers);
        request
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When path, policy, part power or the list of nodes are malformed.
    pub fn decode(parts: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let named = header(&parts.headers, headers::REPAIR_TO);
        let node =
            |text: &str| text.split_once('/').and_then(|(host, name)| Device::at(host, name));
        let named = named.filter(|named| !named.is_empty());
        let nodes: Option<Vec<Device>> =
            named.map_or(Some(Vec::new()), |named| named.split(',').map(node).collect());
        let nodes = nodes.filter(|nodes| nodes.len() <= NODES_MAX).ok_or_else(|| {
            let expected = "at most 16 of ip:port/device, comma separated";
            InvalidRequest::header("X-Backend-Apus-Repair-To", named, expected)
        })?;
        let rows = ObjectRowTargets::decode(&parts.headers);
        Ok(ObjectAddress::decode(parts)?.map(|address| Self { address, nodes, rows }))
    }
}

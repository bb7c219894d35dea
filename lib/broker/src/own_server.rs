//! How daemons reach the server of their own node, which alone moves or removes a database: it may
//! have it open.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::PathHash;
use apus_daemon::Body;
use apus_daemon::http::full;
use apus_ring::{Device, Local, SharedRing};
use apus_wire::{Client, NodeError, NodeRequest};
use http::{HeaderMap, Method, Response};
use serde::Serialize;

/// Where this node's databases of one kind are served.
#[derive(Debug, Clone)]
pub struct OwnServer {
    /// To servers.
    pub client: Arc<Client>,
    /// Where databases of this kind live.
    pub ring: Arc<SharedRing>,
    /// Which devices of the ring are this node's.
    pub local: Local,
}

/// One database, and who has it.
#[derive(Debug)]
pub struct Holders {
    /// The device it lies on, as daemons reach it.
    pub own: Device,
    /// The other primaries of its partition.
    pub others: Vec<Device>,
    client: Arc<Client>,
    request: NodeRequest,
}

/// Reasons why no server can be asked about a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoHolders {
    /// The path is not that of a database.
    #[error("the path is not that of a database")]
    Path,
    /// The ring has no such device of this node.
    #[error("the ring has no such device of this node")]
    Device,
}

impl OwnServer {
    /// Who has the database in this file, which lies on a device of this node.
    ///
    /// # Errors
    /// See [`NoHolders`].
    pub fn holders(&self, path: &Path, partition: u32) -> Result<Holders, NoHolders> {
        let (device, hash) = place(path).ok_or(NoHolders::Path)?;
        let ring = self.ring.get();
        let mut own = ring.devices().iter().flatten();
        let own = own.find(|node| node.device == device && self.local.owns(node));
        let own = own.ok_or(NoHolders::Device)?;
        let primaries = ring.primaries(partition).into_iter();
        let others = primaries.filter(|node| node.id != own.id).map(Device::for_replication);
        let request = NodeRequest {
            method: Method::from_bytes(b"REPLICATE").map_err(|_| NoHolders::Path)?,
            partition,
            names: vec![hash.to_string()],
            query: String::new(),
            headers: HeaderMap::new(),
        };
        let others = others.collect();
        Ok(Holders { own: own.for_replication(), others, client: self.client.clone(), request })
    }
}

impl Holders {
    /// Calls an operation of one of them: a list of its name and arguments.
    ///
    /// # Errors
    /// As [`Client::send_within`].
    pub async fn call(
        &self,
        node: &Device,
        call: &(impl Serialize + Sync),
        wait: Duration,
    ) -> Result<Response<Body>, NodeError> {
        // What is called has text for keys, which can always be written.
        let call = serde_json::to_vec(call).unwrap_or_default();
        self.client.send_within(node, &self.request, full(call), wait).await
    }
}

/// Device and hash of `<device>/<kind>/<partition>/<suffix>/<hash>/<hash>.db`.
fn place(path: &Path) -> Option<(String, PathHash)> {
    let hash = PathHash::parse(path.file_stem()?.to_str()?)?;
    let device = path.ancestors().nth(5)?.file_name()?.to_str()?;
    Some((device.to_owned(), hash))
}

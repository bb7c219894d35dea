//! The client that daemons use for the server of their own node.
//!
//! Only that server moves or removes a database, since it may have it open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::PathHash;
use apus_daemon::Body;
use apus_daemon::http::full;
use apus_ring::{Device, Local, SharedRing};
use apus_wire::message::database::{
    DatabaseCall, ReplicaAddress, ReplicateDatabaseReply, ReplicateDatabaseRequest,
};
use apus_wire::{Client, NodeError, NodeRequest};
use http::{Response, StatusCode};
use serde_json::Value;

/// How long the server may take to quarantine a database: it reads all of it again.
const QUARANTINE_WAIT: Duration = Duration::from_secs(600);

/// Client of this node's server of one kind of database.
#[derive(Debug, Clone)]
pub struct LocalClient {
    /// Sends requests.
    pub client: Arc<Client>,
    /// The ring of these databases.
    pub ring: Arc<SharedRing>,
    /// Which devices of the ring are this node's.
    pub local: Local,
}

/// The devices that hold one database.
#[derive(Debug)]
pub struct Holders {
    /// The device of this node that it was found on, by its replication address.
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

/// Reply to a request to quarantine a database.
pub(crate) struct QuarantineReply {
    pub(crate) status: StatusCode,
    /// The file with rows that were salvaged and are not in a new database.
    pub(crate) salvaged: Option<PathBuf>,
}

impl LocalClient {
    /// The devices that hold the database in this file, which is on a device of this node.
    ///
    /// # Errors
    /// See [`NoHolders`].
    pub fn holders(&self, path: &Path, partition: u32) -> Result<Holders, NoHolders> {
        let (device, hash) = parse(path).ok_or(NoHolders::Path)?;
        let ring = self.ring.get();
        let mut own = ring.devices().iter().flatten();
        let own = own.find(|node| node.device == device && self.local.owns(node));
        let own = own.ok_or(NoHolders::Device)?;
        let primaries = ring.primaries(partition).into_iter();
        let others = primaries.filter(|node| node.id != own.id).map(Device::for_replication);
        let address = ReplicaAddress { partition, hash };
        let request = ReplicateDatabaseRequest::call(address).encode();
        let others = others.collect();
        Ok(Holders { own: own.for_replication(), others, client: self.client.clone(), request })
    }
}

impl Holders {
    /// Sends a call to one of them. Rows are JSON in any form.
    ///
    /// # Errors
    /// As [`Client::send_within`].
    pub async fn call(
        &self,
        node: &Device,
        call: &DatabaseCall<Value>,
        wait: Duration,
    ) -> Result<StatusCode, NodeError> {
        Ok(self.send(node, call, wait).await?.status())
    }

    async fn send(
        &self,
        node: &Device,
        call: &DatabaseCall<Value>,
        wait: Duration,
    ) -> Result<Response<Body>, NodeError> {
        // Calls have text for keys, which can always be encoded.
        let call = call.encode().unwrap_or_default();
        self.client.send_within(node, &self.request, full(call), wait).await
    }

    /// Asks the server of this node to quarantine the database.
    pub(crate) async fn quarantine(&self) -> Result<QuarantineReply, NodeError> {
        let call = DatabaseCall::Quarantine { only_copy: self.others.is_empty() };
        let response = self.send(&self.own, &call, QUARANTINE_WAIT).await?;
        let head = ReplicateDatabaseReply::decode(response.headers());
        let salvaged = head.salvaged.map(PathBuf::from);
        Ok(QuarantineReply { status: response.status(), salvaged })
    }
}

/// Device and hash of `<device>/<kind>/<partition>/<suffix>/<hash>/<hash>.db`.
fn parse(path: &Path) -> Option<(String, PathHash)> {
    let hash = PathHash::parse(path.file_stem()?.to_str()?)?;
    let device = path.ancestors().nth(5)?.file_name()?.to_str()?;
    Some((device.to_owned(), hash))
}

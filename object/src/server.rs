//! The object server: the store, the sender of rows, and what requests need in addition.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use apus_cluster::{HashConf, Policies, PolicyIndex, Timestamp, policy::PolicyType};
use apus_daemon::http::{status, text};
use apus_daemon::{Body, Clock};
use apus_disk::{Counters, Reserve};
use apus_wire::Client;
use apus_wire::message::InvalidRequest;
use apus_wire::message::object::{ObjectAddress, ObjectWriteReply};
use http::{Response, StatusCode};

use crate::engine::place::{OtherPath, Place};
use crate::replication::ReplicationOptions;
use crate::rows::RowNotifier;
use crate::store::quarantine_limit::QuarantineLimit;
use crate::store::{DeviceError, LocalObject, ObjectStore, ObjectStoreOptions, StoreError};

/// Dependencies and settings of an object server.
#[derive(Debug, Clone)]
pub struct ObjectServerDeps {
    /// Directory of the devices.
    pub devices: PathBuf,
    /// Whether devices must be mount points.
    pub mount_check: bool,
    /// Free space that clients may not use.
    pub reserve: Reserve,
    /// The cluster's hash prefix and suffix.
    pub hash: HashConf,
    /// The cluster's policies.
    pub policies: Policies,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Sends rows to container servers.
    pub client: Arc<Client>,
    /// Counts the operations on the disks.
    pub counters: Arc<Counters>,
    /// A range of a body up to this length without block checksums (Swift wrote it) is verified by
    /// reading the whole body.
    pub verify_ranges_bytes: u64,
    /// How much damaged data is quarantined.
    pub quarantine_limit: QuarantineLimit,
    /// Options of replication.
    pub replication: ReplicationOptions,
}

/// An object server. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Server {
    pub(crate) store: Arc<ObjectStore>,
    pub(crate) rows: RowNotifier,
    pub(crate) client: Arc<Client>,
    pub(crate) reserve: Reserve,
    pub(crate) verify_ranges_bytes: u64,
    pub(crate) replication: ReplicationOptions,
}

/// A refusal that is already a response.
pub(crate) type Refusal = Box<Response<Body>>;

pub(crate) fn refuse(status: StatusCode, body: &str) -> Refusal {
    Box::new(text(status, body))
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Unmounted => Box::new(status(StatusCode::INSUFFICIENT_STORAGE)),
            DeviceError::Busy => {
                refuse(StatusCode::SERVICE_UNAVAILABLE, "too many operations wait for the device")
            }
        }
    }
}

/// The response to a failed operation of the store; the proxy then tries another server. As in
/// Swift 507 means that the disk is full, or missing: a proxy then avoids the device entirely.
pub(crate) fn store_failed(error: StoreError, object: &LocalObject) -> Refusal {
    let error = match error {
        StoreError::Device(error) => return error.into(),
        StoreError::HashCollision => {
            return refuse(StatusCode::FORBIDDEN, "another object has this hash");
        }
        StoreError::Promised(promised) => return conflict(promised),
        StoreError::Disk(error) => error,
    };
    if error.kind() == io::ErrorKind::ResourceBusy {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many operations wait for the disk");
    }
    tracing::error!(%error, device = object.device, object = object.name, "A disk operation failed");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Box::new(status(StatusCode::INSUFFICIENT_STORAGE))
        }
        _ => refuse(StatusCode::INTERNAL_SERVER_ERROR, "disk failed"),
    }
}

/// 400, with what is wrong with the request.
pub(crate) fn malformed(error: &InvalidRequest) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, &error.to_string())
}

/// 409, with the time that a write must exceed.
pub(crate) fn conflict(newest: Timestamp) -> Refusal {
    let mut response = status(StatusCode::CONFLICT);
    let reply = ObjectWriteReply { newest: Some(newest), ..ObjectWriteReply::default() };
    reply.encode(response.headers_mut());
    Box::new(response)
}

impl Server {
    /// Creates a server.
    pub fn new(deps: ObjectServerDeps) -> Self {
        let ObjectServerDeps {
            devices,
            mount_check,
            reserve,
            hash,
            policies,
            clock,
            client,
            counters,
            verify_ranges_bytes,
            quarantine_limit,
            replication,
        } = deps;
        let store = Arc::new(ObjectStore::new(ObjectStoreOptions {
            devices,
            mount_check,
            hash,
            policies,
            clock,
            counters,
            quarantine_limit,
        }));
        let rows = RowNotifier::new(store.clone(), client.clone());
        Self { store, rows, client, reserve, verify_ranges_bytes, replication }
    }

    /// Leaves promises to another process that is about to take over; operations in progress
    /// continue. Await this before the other process serves.
    pub async fn seal(&self) {
        self.store.seal().await;
    }

    /// Refuses a policy that is not served.
    pub(crate) fn check_policy(&self, policy: PolicyIndex) -> Result<(), Refusal> {
        let reason = match self.store.policies.get(policy) {
            Some(known) if known.policy_type == PolicyType::Replication => return Ok(()),
            Some(_) => "erasure-coded policies are not served yet",
            None => "unknown policy index",
        };
        Err(refuse(StatusCode::SERVICE_UNAVAILABLE, reason))
    }

    /// The object of a request, on a device of this node.
    pub(crate) fn object(
        &self,
        device: String,
        address: &ObjectAddress,
    ) -> Result<LocalObject, Refusal> {
        self.check_policy(address.policy)?;
        let object = address.object.clone();
        let name = object.to_string();
        let place = Place {
            device: self.store.devices.path(&device)?,
            policy: address.policy,
            partition: address.partition,
            hash: self.store.hash.hash_joined(&name),
        };
        let other = address.next_part_power.and_then(|power| OtherPath::of(&place, power));
        Ok(LocalObject { place, device, object, name, other })
    }

    /// Seconds since 1970.
    pub(crate) fn now_seconds(&self) -> u64 {
        self.store.clock.now().as_secs()
    }
}

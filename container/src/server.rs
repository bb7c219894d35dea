//! The container server: its dependencies and the dispatch to verbs.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use apus_broker::path::Devices;
use apus_broker::response::{Refusal, invalid, refuse};
use apus_broker::server::{DatabaseRequest, DatabaseServer, DatabaseTarget, ServerDeps, Verbs};
use apus_broker::{Broker, Database};
use apus_cluster::constraints::Constraints;
use apus_cluster::{HashConf, Timestamp};
use apus_daemon::{Body, Clock, Handler};
use apus_wire::Client;
use apus_wire::message::container::{
    DeleteContainerRequest, ObjectRowRequest, PostContainerRequest, PutContainerRequest,
    ReadContainerRequest, RowVerb, UpdateRowsRequest,
};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};

use crate::backend;
use crate::handlers;
use crate::kind::Containers;

/// What a container server is given at start.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Directory of the devices.
    pub devices: PathBuf,
    /// Whether devices must be mount points.
    pub mount_check: bool,
    /// The cluster's hash prefix and suffix.
    pub hash: HashConf,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Sends account rows.
    pub client: Arc<Client>,
    /// The open databases.
    pub broker: Arc<Broker>,
    /// Limits of what clients may store and ask for.
    pub constraints: Arc<Constraints>,
}

/// A container server.
#[derive(Debug)]
pub struct Server {
    pub(crate) databases: DatabaseServer<Containers>,
    pub(crate) client: Arc<Client>,
    /// Databases whose account row is behind.
    pub(crate) changed: Mutex<HashSet<(PathBuf, u32)>>,
}

/// One container on one device.
pub(crate) type ContainerTarget = DatabaseTarget<Containers>;

impl Server {
    /// A server over its dependencies.
    pub fn new(parts: Parts) -> Self {
        let Parts { devices, mount_check, hash, clock, client, broker, constraints } = parts;
        let devices = Devices::new(&devices, mount_check);
        let deps = ServerDeps { devices, hash, clock, broker, constraints };
        Self { databases: DatabaseServer::new(deps), client, changed: Mutex::default() }
    }

    /// Creates the database of a container and opens it.
    pub(crate) async fn create(
        &self,
        target: &ContainerTarget,
        put: Timestamp,
        policy: u32,
    ) -> Result<Arc<Database>, Refusal> {
        self.databases
            .create(target, put, move |connection, new| {
                backend::initialize(connection, &new, policy)
            })
            .await
    }
}

#[async_trait]
impl Handler for Server {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        self.databases.call(request, self).await
    }
}

#[async_trait]
impl Verbs<Containers> for Server {
    async fn respond(
        &self,
        target: &ContainerTarget,
        request: DatabaseRequest<Containers>,
    ) -> Result<Response<Body>, Refusal> {
        let DatabaseRequest { address, row, head, body } = request;
        let response = match (head.method.as_str(), row) {
            ("PUT", Some(object)) => {
                let row = ObjectRowRequest::decode((address, object), &head, RowVerb::Put);
                handlers::row::merge(self, target, row.map_err(invalid)?.message).await
            }
            ("DELETE", Some(object)) => {
                let row = ObjectRowRequest::decode((address, object), &head, RowVerb::Delete);
                handlers::row::merge(self, target, row.map_err(invalid)?.message).await
            }
            ("PUT", None) => {
                let put = PutContainerRequest::decode(address, &head).map_err(invalid)?;
                handlers::put::put(self, target, put.message).await
            }
            ("POST", None) => {
                let post = PostContainerRequest::decode(address, &head).map_err(invalid)?;
                handlers::put::post(self, target, post.message).await
            }
            ("DELETE", None) => {
                let delete = DeleteContainerRequest::decode(address, &head).map_err(invalid)?;
                handlers::delete::delete(self, target, delete.message).await
            }
            ("GET" | "HEAD", None) => {
                let read = ReadContainerRequest::decode(address, &head).message;
                handlers::get::get(self, target, read).await
            }
            ("UPDATE", None) => {
                let update = UpdateRowsRequest::decode(address, &head).map_err(invalid)?;
                return handlers::update::update(self, target, update.message, body).await;
            }
            _ => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")),
        };
        drop(body);
        response
    }

    fn replicated(&self, file: PathBuf, partition: u32) {
        self.note_behind(file, partition);
    }
}

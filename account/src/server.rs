//! The account server: its dependencies and the dispatch to verbs.

use std::path::PathBuf;
use std::sync::Arc;

use apus_broker::path::Devices;
use apus_broker::response::{Refusal, invalid, refuse};
use apus_broker::server::{DatabaseRequest, DatabaseServer, DatabaseTarget, ServerDeps, Verbs};
use apus_broker::{Broker, Database};
use apus_cluster::constraints::Constraints;
use apus_cluster::{HashConf, Policies, Timestamp};
use apus_daemon::{Body, Clock, Handler};
use apus_wire::message::account::{
    ChangeAccountRequest, ChangeVerb, ContainerRowRequest, ReadAccountRequest,
};
use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};

use crate::backend;
use crate::handlers;
use crate::kind::Accounts;

/// What an account server is given at start.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Directory of the devices.
    pub devices: PathBuf,
    /// Whether devices must be mount points.
    pub mount_check: bool,
    /// The cluster's hash prefix and suffix.
    pub hash: HashConf,
    /// The cluster's policies, for their names in headers.
    pub policies: Policies,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The open databases.
    pub broker: Arc<Broker>,
    /// Limits of what clients may store and ask for.
    pub constraints: Arc<Constraints>,
}

/// An account server.
#[derive(Debug)]
pub struct Server {
    pub(crate) databases: DatabaseServer<Accounts>,
    pub(crate) policies: Policies,
}

/// One account on one device.
pub(crate) type AccountTarget = DatabaseTarget<Accounts>;

impl Server {
    /// A server over its dependencies.
    pub fn new(parts: Parts) -> Self {
        let Parts { devices, mount_check, hash, policies, clock, broker, constraints } = parts;
        let devices = Devices::new(&devices, mount_check);
        let deps = ServerDeps { devices, hash, clock, broker, constraints };
        Self { databases: DatabaseServer::new(deps), policies }
    }

    /// Creates the database of an account and opens it.
    pub(crate) async fn create(
        &self,
        target: &AccountTarget,
        put: Timestamp,
    ) -> Result<Arc<Database>, Refusal> {
        self.databases
            .create(target, put, |connection, new| backend::initialize(connection, &new))
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
impl Verbs<Accounts> for Server {
    async fn respond(
        &self,
        target: &AccountTarget,
        request: DatabaseRequest<Accounts>,
    ) -> Result<Response<Body>, Refusal> {
        let DatabaseRequest { address, row, head, body } = request;
        let change = |verb| ChangeAccountRequest::decode(address.clone(), &head, verb);
        let response = match (&head.method, row) {
            (&Method::PUT, Some(container)) => {
                let row = ContainerRowRequest::decode((address, container), &head);
                handlers::row(self, target, row.map_err(invalid)?.message).await
            }
            (&Method::PUT, None) => {
                let put = change(ChangeVerb::Put).map_err(invalid)?;
                handlers::put(self, target, put.message).await
            }
            (&Method::POST, None) => {
                let post = change(ChangeVerb::Post).map_err(invalid)?;
                handlers::post(self, target, post.message).await
            }
            (&Method::DELETE, None) => {
                let delete = change(ChangeVerb::Delete).map_err(invalid)?;
                handlers::delete(self, target, delete.message.timestamp).await
            }
            (&Method::GET | &Method::HEAD, None) => {
                let read = ReadAccountRequest::decode(address, &head).message;
                handlers::get(self, target, read).await
            }
            _ => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")),
        };
        drop(body);
        response
    }

    fn replicated(&self, _file: PathBuf, _partition: u32) {
        // No server has to be notified of an account.
    }
}

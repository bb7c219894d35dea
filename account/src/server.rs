//! The account server: its dependencies and the dispatch to verbs.

use std::path::PathBuf;
use std::sync::Arc;

use apus_broker::path::Devices;
use apus_broker::response::{Refusal, refuse};
use apus_broker::server::{DatabaseServer, DatabaseTarget, ServerDeps, Verbs};
use apus_broker::{Broker, Database};
use apus_cluster::constraints::Constraints;
use apus_cluster::{HashConf, Policies, Timestamp};
use apus_daemon::{Body, Clock, Handler};
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
        request: Request<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default();
        let headers = &head.headers;
        let response = match (&head.method, &target.row) {
            (&Method::PUT, Some(name)) => handlers::row(self, target, name.clone(), headers).await,
            (&Method::PUT, None) => handlers::put(self, target, headers).await,
            (&Method::POST, None) => handlers::post(self, target, headers).await,
            (&Method::DELETE, None) => handlers::delete(self, target, headers).await,
            (&Method::GET, None) => handlers::get(self, target, headers, query, false).await,
            (&Method::HEAD, None) => handlers::get(self, target, headers, query, true).await,
            _ => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")),
        };
        drop(body);
        response
    }

    fn replicated(&self, _file: PathBuf, _partition: u32) {
        // No server has to be notified of an account.
    }
}

//! The server of one kind of database: what account and container servers have in common.
//!
//! It finds the database of a request (400 for bad names, 507 without its device), answers
//! `REPLICATE`, opens and creates databases, and quarantines one that a verb found damaged. The
//! verbs are those of the kind ([`Verbs`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::constraints::Constraints;
use apus_cluster::{HashConf, Timestamp};
use apus_daemon::http::status;
use apus_daemon::{Body, Clock};
use apus_wire::message::Received;
use async_trait::async_trait;
use http::request::Parts;
use http::{Request, Response, StatusCode};

use crate::database::Database;
use crate::error::DbError;
use crate::handles::Broker;
use crate::kind::{DatabaseAddress, DatabaseKind, NewDatabase};
use crate::path::{Devices, database_path};
use crate::quarantine;
use crate::raw::Connection;
use crate::replication::{Replica, ReplicationService};
use crate::response::{Refusal, invalid, missing, refuse};
use crate::stat;

/// What a server of databases is given at start.
#[derive(Debug, Clone)]
pub struct ServerDeps {
    /// The devices.
    pub devices: Devices,
    /// The cluster's hash prefix and suffix.
    pub hash: HashConf,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The open databases.
    pub broker: Arc<Broker>,
    /// Limits of what clients may store and ask for.
    pub constraints: Arc<Constraints>,
}

/// The server of one kind of database.
#[derive(Debug)]
pub struct DatabaseServer<K> {
    /// What it was given at start.
    pub deps: ServerDeps,
    replication: ReplicationService<K>,
}

/// The database that a request is about.
#[derive(Debug)]
pub struct DatabaseTarget<K: DatabaseKind> {
    /// The directory of its device.
    pub device: PathBuf,
    /// Its file.
    pub file: PathBuf,
    /// Its partition.
    pub partition: u32,
    /// Its names.
    pub path: <K::Address as DatabaseAddress>::Path,
}

/// A request whose address was decoded.
#[derive(Debug)]
pub struct DatabaseRequest<K: DatabaseKind> {
    /// The database, as the request names it.
    pub address: Received<K::Address>,
    /// The name of a row in it: a container of an account, an object of a container.
    pub row: Option<String>,
    /// The head of the request.
    pub head: Parts,
    /// The body.
    pub body: Body,
}

/// The verbs of a kind of database.
#[async_trait]
pub trait Verbs<K: DatabaseKind>: Send + Sync {
    /// Responds to a request.
    ///
    /// # Errors
    /// The refusal.
    async fn respond(
        &self,
        target: &DatabaseTarget<K>,
        request: DatabaseRequest<K>,
    ) -> Result<Response<Body>, Refusal>;

    /// Notes that replication changed a database.
    fn replicated(&self, file: PathBuf, partition: u32);
}

impl<K: Replica> DatabaseServer<K> {
    /// A server over its dependencies.
    pub fn new(deps: ServerDeps) -> Self {
        let ServerDeps { broker, devices, hash, .. } = deps.clone();
        Self { deps, replication: ReplicationService::new(broker, devices, hash) }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_duration(self.deps.clock.now())
    }

    /// Responds to a request: `REPLICATE` itself, any other by its verb.
    pub async fn call(&self, request: Request<Body>, verbs: &impl Verbs<K>) -> Response<Body> {
        if request.method().as_str() == "REPLICATE" {
            let reply = self.replication.call(request, self.now()).await;
            if let Some((file, partition)) = reply.changed {
                verbs.replicated(file, partition);
            }
            return reply.response;
        }
        let (head, body) = request.into_parts();
        let (address, row) = match K::Address::decode(&head) {
            Ok(decoded) => decoded,
            Err(error) => return *invalid(error),
        };
        let Ok(device) = self.deps.devices.device(&address.device) else {
            return status(StatusCode::INSUFFICIENT_STORAGE);
        };
        let target = self.target(device, &address.message);
        let request = DatabaseRequest { address, row, head, body };
        let response = verbs.respond(&target, request).await;
        let response = response.unwrap_or_else(|refusal| *refusal);
        let ServerDeps { broker, hash, .. } = &self.deps;
        quarantine::if_damaged::<K>(&response, broker, &target.device, &target.file, hash);
        response
    }

    fn target(&self, device: PathBuf, address: &K::Address) -> DatabaseTarget<K> {
        let (hash, partition) = (self.deps.hash.hash(&address.names()), address.partition());
        DatabaseTarget {
            file: database_path(&device, K::schema().directory, partition, &hash),
            device,
            partition,
            path: address.path().clone(),
        }
    }

    /// Opens a database; `None` when there is no such file.
    ///
    /// # Errors
    /// The refusal.
    pub async fn open(&self, file: &Path) -> Result<Option<Arc<Database>>, Refusal> {
        Ok(self.deps.broker.open(file, K::merge_pending).await?)
    }

    /// Opens a database that must exist.
    ///
    /// # Errors
    /// 404 when it does not.
    pub async fn existing(&self, target: &DatabaseTarget<K>) -> Result<Arc<Database>, Refusal> {
        self.open(&target.file).await?.ok_or_else(missing)
    }

    /// Creates the database of a target and opens it.
    ///
    /// # Errors
    /// The refusal.
    pub async fn create(
        &self,
        target: &DatabaseTarget<K>,
        put: Timestamp,
        fill: impl FnOnce(
            &mut Connection,
            NewDatabase<<K::Address as DatabaseAddress>::Path>,
        ) -> Result<(), DbError>
        + Send
        + 'static,
    ) -> Result<Arc<Database>, Refusal> {
        let device = target.device.file_name().unwrap_or_default().to_string_lossy();
        let id = stat::new_id(&device);
        let new = NewDatabase { path: target.path.clone(), id, created: self.now(), put };
        let fill = move |connection: &mut Connection| fill(connection, new);
        self.deps.broker.create(&target.device, &target.file, fill).await?;
        self.open(&target.file)
            .await?
            .ok_or_else(|| refuse(StatusCode::INTERNAL_SERVER_ERROR, "the new database is gone"))
    }
}

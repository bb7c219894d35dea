//! Requests to verbs, and what all of them need.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use apus_broker::answer::{Refusal, refuse};
use apus_broker::place::{Devices, database_path};
use apus_broker::replication::Service;
use apus_broker::{Broker, Database, set_aside};
use apus_cluster::constraints::Constraints;
use apus_cluster::{AccountName, ContainerName, ContainerPath, HashConf, Timestamp};
use apus_daemon::http::status;
use apus_daemon::{Body, Clock, Handler};
use apus_wire::{Client, NodePath};
use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};

use crate::audit::TABLES;
use crate::handlers;
use crate::replica::Containers;

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
    /// For account rows.
    pub client: Arc<Client>,
    /// The open databases.
    pub broker: Arc<Broker>,
    /// What clients may store and ask for.
    pub constraints: Arc<Constraints>,
}

/// A container server.
#[derive(Debug)]
pub struct Server {
    pub(crate) parts: Parts,
    pub(crate) devices: Devices,
    replication: Service<Containers>,
    /// Databases whose account row is behind.
    pub(crate) changed: Mutex<HashSet<(PathBuf, u32)>>,
}

/// One container on one device, and the database's place.
pub(crate) struct Target {
    pub(crate) device: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) container: ContainerPath,
    pub(crate) object: Option<String>,
    pub(crate) partition: u32,
}

impl Server {
    /// A server over its parts.
    pub fn new(parts: Parts) -> Self {
        let devices = Devices::new(&parts.devices, parts.mount_check);
        let (broker, hash) = (parts.broker.clone(), parts.hash.clone());
        let replication = Service::new(broker, devices.clone(), hash);
        Self { parts, devices, replication, changed: Mutex::default() }
    }

    pub(crate) fn target(&self, path: &str) -> Result<Target, Refusal> {
        let bad = |error: String| refuse(StatusCode::BAD_REQUEST, &error);
        let path = NodePath::decode(path, 3).map_err(bad)?;
        let mut names = path.names.into_iter();
        let (Some(account), Some(container)) = (names.next(), names.next()) else {
            return Err(refuse(StatusCode::BAD_REQUEST, "Invalid path: expected a container"));
        };
        let container = ContainerPath::new(
            AccountName::parse(&account).map_err(|error| bad(error.to_string()))?,
            ContainerName::parse(&container).map_err(|error| bad(error.to_string()))?,
        );
        let device = self
            .devices
            .device(&path.device)
            .map_err(|_| Box::new(status(StatusCode::INSUFFICIENT_STORAGE)))?;
        let names_hashed = [container.account.as_str(), container.container.as_str()];
        let hash = self.parts.hash.hash(&names_hashed);
        Ok(Target {
            database: database_path(&device, "containers", path.partition, &hash),
            device,
            container,
            object: names.next(),
            partition: path.partition,
        })
    }

    pub(crate) async fn open(&self, database: &Path) -> Result<Option<Arc<Database>>, Refusal> {
        Ok(self.parts.broker.open(database, crate::backend::merge_pending).await?)
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_duration(self.parts.clock.now())
    }
}

#[async_trait]
impl Handler for Server {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if head.method.as_str() == "REPLICATE" {
            let path = head.uri.path();
            let answer = self.replication.call(path, &head.headers, body, self.now()).await;
            if let Some((database, partition)) = answer.changed {
                self.note_behind(database, partition);
            }
            return answer.response;
        }
        let target = match self.target(head.uri.path()) {
            Ok(target) => target,
            Err(refusal) => return *refusal,
        };
        if head.method.as_str() == "UPDATE" && target.object.is_none() {
            let answer = handlers::update::update(self, &target, &head.headers, body).await;
            return answer.unwrap_or_else(|refusal| *refusal);
        }
        let answer = match (&head.method, &target.object) {
            (&Method::PUT, Some(_)) => {
                handlers::row::put(self, &target, &head.headers, false).await
            }
            (&Method::DELETE, Some(_)) => {
                handlers::row::put(self, &target, &head.headers, true).await
            }
            (&Method::PUT, None) => handlers::put::put(self, &target, &head.headers).await,
            (&Method::POST, None) => handlers::put::post(self, &target, &head.headers).await,
            (&Method::DELETE, None) => handlers::delete::delete(self, &target, &head.headers).await,
            (&Method::GET, None) => {
                let query = head.uri.query().unwrap_or_default();
                handlers::get::get(self, &target, &head.headers, query, false).await
            }
            (&Method::HEAD, None) => {
                let query = head.uri.query().unwrap_or_default();
                handlers::get::get(self, &target, &head.headers, query, true).await
            }
            _ => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")),
        };
        drop(body);
        let answer = answer.unwrap_or_else(|refusal| *refusal);
        let Parts { broker, hash, .. } = &self.parts;
        let (device, database) = (&target.device, &target.database);
        set_aside::if_damaged(&answer, broker, device, database, &TABLES, hash);
        answer
    }
}

//! Requests to verbs, and what all of them need.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_broker::answer::{Refusal, refuse};
use apus_broker::place::{Devices, database_path};
use apus_broker::replication::Service;
use apus_broker::{Broker, Database, set_aside, stat};
use apus_cluster::constraints::Constraints;
use apus_cluster::{AccountName, HashConf, Policies, Timestamp};
use apus_daemon::http::status;
use apus_daemon::{Body, Clock, Handler};
use apus_wire::NodePath;
use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};

use crate::audit::TABLES;
use crate::handlers;
use crate::replica::Accounts;

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
    /// What clients may store and ask for.
    pub constraints: Arc<Constraints>,
}

/// An account server.
#[derive(Debug)]
pub struct Server {
    pub(crate) parts: Parts,
    pub(crate) devices: Devices,
    replication: Service<Accounts>,
}

/// One account on one device.
pub(crate) struct Target {
    pub(crate) device: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) account: AccountName,
    pub(crate) container: Option<String>,
}

impl Server {
    /// A server over its parts.
    pub fn new(parts: Parts) -> Self {
        let devices = Devices::new(&parts.devices, parts.mount_check);
        let (broker, hash) = (parts.broker.clone(), parts.hash.clone());
        let replication = Service::new(broker, devices.clone(), hash);
        Self { parts, devices, replication }
    }

    fn target(&self, path: &str) -> Result<Target, Refusal> {
        let bad = |error: String| refuse(StatusCode::BAD_REQUEST, &error);
        let path = NodePath::decode(path, 2).map_err(bad)?;
        let mut names = path.names.into_iter();
        let account = names.next().unwrap_or_default();
        let account = AccountName::parse(&account).map_err(|error| bad(error.to_string()))?;
        let device = self
            .devices
            .device(&path.device)
            .map_err(|_| Box::new(status(StatusCode::INSUFFICIENT_STORAGE)))?;
        let hash = self.parts.hash.hash(&[account.as_str()]);
        Ok(Target {
            database: database_path(&device, "accounts", path.partition, &hash),
            device,
            account,
            container: names.next(),
        })
    }

    pub(crate) async fn open(&self, database: &Path) -> Result<Option<Arc<Database>>, Refusal> {
        Ok(self.parts.broker.open(database, crate::backend::merge_pending).await?)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_duration(self.parts.clock.now())
    }

    /// Makes the database of an account and opens it.
    pub(crate) async fn create(
        &self,
        target: &Target,
        put: Timestamp,
    ) -> Result<Arc<Database>, Refusal> {
        let account = target.account.clone();
        let device = target.device.file_name().unwrap_or_default().to_string_lossy();
        let id = stat::new_id(&device);
        let now = self.now();
        self.parts
            .broker
            .create(&target.device, &target.database, move |connection| {
                crate::backend::initialize(connection, &account, &id, now, put)
            })
            .await?;
        self.open(&target.database)
            .await?
            .ok_or_else(|| refuse(StatusCode::INTERNAL_SERVER_ERROR, "the new database is gone"))
    }
}

#[async_trait]
impl Handler for Server {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if head.method.as_str() == "REPLICATE" {
            let path = head.uri.path();
            return self.replication.call(path, &head.headers, body, self.now()).await.response;
        }
        let target = match self.target(head.uri.path()) {
            Ok(target) => target,
            Err(refusal) => return *refusal,
        };
        let query = head.uri.query().unwrap_or_default();
        let answer = match (&head.method, &target.container) {
            (&Method::PUT, Some(name)) => {
                handlers::row(self, &target, name.clone(), &head.headers).await
            }
            (&Method::PUT, None) => handlers::put(self, &target, &head.headers).await,
            (&Method::POST, None) => handlers::post(self, &target, &head.headers).await,
            (&Method::DELETE, None) => handlers::delete(self, &target, &head.headers).await,
            (&Method::GET, None) => handlers::get(self, &target, &head.headers, query, false).await,
            (&Method::HEAD, None) => handlers::get(self, &target, &head.headers, query, true).await,
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

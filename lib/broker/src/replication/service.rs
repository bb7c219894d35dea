//! The server's side: `REPLICATE /device/partition/hash` with a JSON list `[operation, …]`.
//!
//! Source: `swift/common/db_replicator.py`, `ReplicatorRpc`. Some operations are of Apus only: a whole
//! database as a body, `apus_states` for the marks of many databases, and `apus_remove`,
//! `apus_orphan` and `apus_quarantine` from the daemons of this node. Statuses are Swift's: 404
//! without a database, 202 after a merge, 204 when a database has been installed.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{HashConf, PathHash, Timestamp};
use apus_daemon::Body;
use apus_daemon::http::{full, header, set, status};
use apus_disk::make_directories;
use apus_wire::{NodePath, headers};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use serde_json::Value;

use super::calls::{self, CallFailure, bad_call, read_call};
use super::filter::{STATES, STATES_MAX};
use super::info::ReplicaInfo;
use super::replica::Replica;
use super::table::{self, Direction, SyncPoint};
use super::transfer::{self, Announced, InstallOutcome, ReceivedDatabase};
use super::walk;
use crate::database::Database;
use crate::error::DbError;
use crate::handles::Broker;
use crate::mark::FileMark;
use crate::path::{Devices, database_path};
use crate::quarantine;
use crate::response::{Refusal, missing, refuse};
use crate::salvage::QuarantineOutcome;

/// The operation that quarantines a database whose account is gone; its argument is the state that
/// the daemon found.
pub const ORPHAN: &str = "apus_orphan";
/// The operation that removes a database; its argument is the state that the daemon found.
pub(super) const REMOVE: &str = "apus_remove";

/// Responds to replication calls for one kind of database.
#[derive(Debug)]
pub struct ReplicationService<K> {
    broker: Arc<Broker>,
    devices: Devices,
    hash: HashConf,
    kind: PhantomData<fn() -> K>,
}

/// A response, and what changed by the call.
#[derive(Debug)]
pub struct ReplicationReply {
    /// The response.
    pub response: Response<Body>,
    /// The database that changed, and its partition.
    pub changed: Option<(PathBuf, u32)>,
}

/// The database that a call is about.
struct CallTarget {
    device: PathBuf,
    partition: u32,
    hash: PathHash,
    path: PathBuf,
}

fn since_1970(time: Timestamp) -> Duration {
    Duration::from_micros(time.steps().saturating_mul(10))
}

/// Length and MD5 of a database that is sent.
fn announced(head: &Parts) -> Option<Announced> {
    let text = |name: HeaderName| header(&head.headers, name.as_str());
    let length = text(CONTENT_LENGTH).and_then(|length| length.parse().ok())?;
    let md5 = text(ETAG).filter(|md5| md5.len() == 32)?.to_owned();
    Some(Announced { length, md5 })
}

/// Whether a text is the name of a file in a directory, and not a path.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn json(value: &impl serde::Serialize) -> Result<Response<Body>, Refusal> {
    let text = serde_json::to_vec(value).map_err(|error| DbError::Corrupt(error.to_string()))?;
    let mut response = status(StatusCode::OK);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    *response.body_mut() = full(text);
    Ok(response)
}

impl<K: Replica> ReplicationService<K> {
    /// A service on the devices of a server.
    pub fn new(broker: Arc<Broker>, devices: Devices, hash: HashConf) -> Self {
        Self { broker, devices, hash, kind: PhantomData }
    }

    /// Responds to one call.
    pub async fn call(&self, request: Request<Body>, now: Timestamp) -> ReplicationReply {
        let (head, body) = request.into_parts();
        let mut changed = None;
        let mut response = match self.target(head.uri.path()) {
            Err(refusal) => *refusal,
            Ok(target) => {
                let mut changes = false;
                let done = match header(&head.headers, headers::DATABASE) {
                    Some(id) => match announced(&head) {
                        Some(announced) => self.receive(&target, id, announced, body).await,
                        None => Err(bad_call("expected the length and the MD5 of a database")),
                    },
                    None => self.operate(&target, body, now, &mut changes).await,
                };
                if changes && done.is_ok() {
                    changed = Some((target.path, target.partition));
                }
                done.unwrap_or_else(|refusal| *refusal)
            }
        };
        set(response.headers_mut(), headers::DATABASE, "1");
        ReplicationReply { response, changed }
    }

    fn target(&self, path: &str) -> Result<CallTarget, Refusal> {
        let path = NodePath::decode(path, 1).map_err(|error| bad_call(&error))?;
        let device = self
            .devices
            .device(&path.device)
            .map_err(|_| Box::new(status(StatusCode::INSUFFICIENT_STORAGE)))?;
        let hash = path.names.first().and_then(|hash| PathHash::parse(hash));
        let hash = hash.ok_or_else(|| bad_call("Invalid path: expected a hash"))?;
        let database = database_path(&device, K::schema().directory, path.partition, &hash);
        Ok(CallTarget { device, partition: path.partition, hash, path: database })
    }

    async fn receive(
        &self,
        target: &CallTarget,
        id: &str,
        announced: Announced,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        if !is_file_name(id) {
            return Err(bad_call("expected the id of a database"));
        }
        let file = target.device.join("tmp").join(id);
        let arrival = target.arrival(&file, id);
        match transfer::receive::<K>(&self.broker, &self.hash, &arrival, body, announced).await {
            Ok(()) => Ok(status(StatusCode::CREATED)),
            Err(error) if error.is_damage() || matches!(error, DbError::Invalid(_)) => {
                tracing::warn!(%error, database = %target.path.display(), "Refused a received database");
                Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn operate(
        &self,
        target: &CallTarget,
        body: Body,
        now: Timestamp,
        changes: &mut bool,
    ) -> Result<Response<Body>, Refusal> {
        let call = read_call(body).await?;
        let Value::Array(call) = call else { return Err(bad_call("Invalid object type")) };
        let mut call = call.into_iter();
        let name = call.next();
        let Some(name) = name.as_ref().and_then(Value::as_str) else {
            return Err(bad_call("expected the name of an operation"));
        };
        let arguments: Vec<Value> = call.collect();
        *changes = matches!(name, "sync" | "merge_items" | "complete_rsync" | "rsync_then_merge");
        match name {
            "complete_rsync" | "rsync_then_merge" => {
                self.install(target, name, &arguments, now).await
            }
            REMOVE => self.remove(target, &arguments).await,
            ORPHAN => self.orphan(target, &arguments).await,
            quarantine::OPERATION => self.quarantine(target, &arguments).await,
            STATES => self.states(target, &arguments, now).await,
            "sync" => self.sync(target, &arguments, now).await,
            _ => self.merge(target, name, arguments).await,
        }
    }

    /// Opens the database of a call.
    async fn open(&self, target: &CallTarget) -> Result<Arc<Database>, Refusal> {
        match self.broker.open(&target.path, K::merge_pending).await {
            Ok(Some(database)) => Ok(database),
            Err(error) => Err(self.refusal(target, error).await?),
            Ok(None) => {
                // For rsync, which comes next and does not make it.
                let (device, disk) = (target.device.clone(), self.broker.disk().clone());
                let make = move || make_directories(&device, &device.join("tmp"), &disk);
                let made = apus_daemon::task::spawn_blocking(make);
                // The transfer that needs the directory reports an error.
                let _ = made.await;
                Err(missing())
            }
        }
    }

    /// Returns the state of a database, and takes over that of the calling replica.
    async fn sync(
        &self,
        target: &CallTarget,
        arguments: &[Value],
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        let mark = self.mark(&target.path, now).await;
        let database = self.open(target).await?;
        match calls::sync::<K>(&database, arguments, now).await {
            Err(CallFailure::Database(error)) if error.is_damage() => {
                drop(database);
                Err(self.refusal(target, error).await?)
            }
            done => {
                let mut response = json(&done.map_err(CallFailure::refusal)?)?;
                if let Some(mark) = mark {
                    set(response.headers_mut(), headers::FILE_MARK, &mark.to_string());
                }
                Ok(response)
            }
        }
    }

    /// Merges what another replica sends.
    async fn merge(
        &self,
        target: &CallTarget,
        name: &str,
        arguments: Vec<Value>,
    ) -> Result<Response<Body>, Refusal> {
        let database = self.open(target).await?;
        match name {
            "merge_items" => {
                let new = calls::merge_items::<K>(&database, arguments).await;
                let new = new.map_err(CallFailure::refusal)?;
                let mut response = status(StatusCode::ACCEPTED);
                set(response.headers_mut(), headers::NEW_ROWS, &new.to_string());
                Ok(response)
            }
            "merge_syncs" => {
                let points = arguments.into_iter().next().unwrap_or_default();
                let points: Vec<SyncPoint> =
                    serde_json::from_value(points).map_err(|error| bad_call(&error.to_string()))?;
                calls::write(&database, move |connection| {
                    points.iter().try_for_each(|point| {
                        table::merge_point(connection, Direction::Incoming, point)
                    })
                })
                .await?;
                Ok(status(StatusCode::ACCEPTED))
            }
            other => {
                let operation = K::operation(other, &arguments)?;
                let operation =
                    operation.ok_or_else(|| bad_call(&format!("unknown operation {other:?}")))?;
                match calls::write(&database, operation).await? {
                    Some(result) => json(&result),
                    None => Ok(status(StatusCode::ACCEPTED)),
                }
            }
        }
    }

    /// The mark of a database now.
    async fn mark(&self, path: &Path, now: Timestamp) -> Option<FileMark> {
        let (path, now) = (path.to_owned(), since_1970(now));
        // Without a mark it is compared again in the next pass.
        self.broker.in_background(move || FileMark::of(&path, now)).await.unwrap_or_default()
    }

    /// The marks of some databases of a device, in the order of the request.
    async fn states(
        &self,
        target: &CallTarget,
        arguments: &[Value],
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        let list = arguments.first().and_then(Value::as_array);
        let list = list.filter(|list| list.len() <= STATES_MAX);
        let list = list.ok_or_else(|| bad_call("expected a list of at most 1000 databases"))?;
        let mut files = Vec::with_capacity(list.len());
        for database in list {
            let partition = database.get(0).and_then(Value::as_u64);
            let partition = partition.and_then(|partition| u32::try_from(partition).ok());
            let hash = database.get(1).and_then(Value::as_str).and_then(PathHash::parse);
            let (Some(partition), Some(hash)) = (partition, hash) else {
                return Err(bad_call(&format!("{database}: expected a partition and a hash")));
            };
            files.push(database_path(&target.device, K::schema().directory, partition, &hash));
        }
        let now = since_1970(now);
        let marks = move || {
            let mark = |file: &PathBuf| FileMark::of(file, now).map(|mark| mark.to_string());
            files.iter().map(mark).collect::<Vec<_>>()
        };
        json(&self.broker.in_background(marks).await?)
    }

    /// Installs a database that was received.
    async fn install(
        &self,
        target: &CallTarget,
        name: &str,
        arguments: &[Value],
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        let id = arguments.first().and_then(Value::as_str).filter(|id| is_file_name(id));
        let id = id.ok_or_else(|| bad_call("expected a database's id"))?;
        let own = format!("{}.db", target.hash);
        if arguments.get(1).is_some_and(|file| file.as_str() != Some(&own)) {
            // A database of a sharded container: its name has an epoch.
            return Err(refuse(StatusCode::NOT_IMPLEMENTED, "sharded databases are not supported"));
        }
        let file = target.device.join("tmp").join(id);
        let arrival = target.arrival(&file, id);
        let installed = match name {
            "complete_rsync" => transfer::complete::<K>(&self.broker, &self.hash, &arrival).await,
            _ => transfer::merge::<K>(&self.broker, &self.hash, &arrival, now).await,
        };
        match installed? {
            InstallOutcome::Done => Ok(status(StatusCode::NO_CONTENT)),
            InstallOutcome::Missing => Err(missing()),
        }
    }

    /// Removes a database.
    async fn remove(
        &self,
        target: &CallTarget,
        arguments: &[Value],
    ) -> Result<Response<Body>, Refusal> {
        let (path, device) = (target.path.clone(), target.device.clone());
        let remove = move || {
            apus_fault::point("handoff.remove.checked");
            walk::remove_database(&path)?;
            apus_fault::point("handoff.remove.removed");
            walk::remove_empty_parents(&device, &path);
            Ok(())
        };
        self.unless_changed(target, arguments, remove).await
    }

    /// Quarantines a database whose account is gone.
    async fn orphan(
        &self,
        target: &CallTarget,
        arguments: &[Value],
    ) -> Result<Response<Body>, Refusal> {
        let (path, device) = (target.path.clone(), target.device.clone());
        let quarantine = move || {
            let directory = path.parent().unwrap_or(&path);
            let moved = apus_disk::quarantine(&device, K::schema().directory, directory)?;
            tracing::error!(to = %moved.display(), "Quarantined a database: no account replicas exist");
            Ok(())
        };
        self.unless_changed(target, arguments, quarantine).await
    }

    /// Runs `work` on the file of a database that did not change since the daemon read its state, and
    /// whose directory holds no other database: 409 otherwise.
    async fn unless_changed(
        &self,
        target: &CallTarget,
        arguments: &[Value],
        work: impl FnOnce() -> Result<(), DbError> + Send + 'static,
    ) -> Result<Response<Body>, Refusal> {
        let seen: ReplicaInfo =
            serde_json::from_value(arguments.first().cloned().unwrap_or_default())
                .map_err(|error| bad_call(&error.to_string()))?;
        let path = target.path.clone();
        let done = self
            .broker
            .alone(&target.path, K::merge_pending, move |connection| {
                if !K::info(connection)?.same_state(&seen) || walk::has_other_files(&path)? {
                    return Ok(false);
                }
                work()?;
                Ok(true)
            })
            .await?;
        match done {
            Some(true) => Ok(status(StatusCode::NO_CONTENT)),
            Some(false) => Err(refuse(StatusCode::CONFLICT, "changed meanwhile")),
            None => Err(missing()),
        }
    }

    /// Quarantines a database if it is damaged: 409 otherwise.
    async fn quarantine(
        &self,
        target: &CallTarget,
        arguments: &[Value],
    ) -> Result<Response<Body>, Refusal> {
        let only_copy = arguments.first().and_then(Value::as_bool).unwrap_or(false);
        let (device, path) = (&target.device, &target.path);
        let done = self.broker.quarantine::<K>(device, path, &self.hash, only_copy).await;
        quarantine::response(done?)
    }

    /// The refusal of a call that met an error. A database that is damaged is quarantined first;
    /// then it does not exist, and the calling replica sends a whole one.
    async fn refusal(&self, target: &CallTarget, error: DbError) -> Result<Refusal, Refusal> {
        if !error.is_damage() {
            return Ok(error.into());
        }
        let (device, path) = (&target.device, &target.path);
        let done = self.broker.quarantine::<K>(device, path, &self.hash, false).await?;
        Ok(match done {
            QuarantineOutcome::Missing | QuarantineOutcome::Quarantined { replaced: false, .. } => {
                missing()
            }
            QuarantineOutcome::Good | QuarantineOutcome::Quarantined { replaced: true, .. } => {
                CallFailure::Database(error).refusal()
            }
        })
    }
}

impl CallTarget {
    fn arrival<'a>(&'a self, file: &'a Path, id: &'a str) -> ReceivedDatabase<'a> {
        ReceivedDatabase { device: &self.device, file, id, path: &self.path, hash: self.hash }
    }
}

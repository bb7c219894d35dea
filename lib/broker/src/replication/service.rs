//! The server's side of the calls of replication ([`DatabaseCall`]).
//!
//! Source: `swift/common/db_replicator.py`, `ReplicatorRpc`. Statuses are Swift's: 404 without a
//! database, 202 after a merge, 204 when a database has been installed.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{HashConf, PathHash, Timestamp};
use apus_daemon::Body;
use apus_daemon::http::{full, status};
use apus_disk::make_directories;
use apus_wire::message::database::{
    ContainerCall, DatabaseCall, DatabaseUpload, InstallMode, ReplicaAddress, ReplicaInfo,
    ReplicateDatabaseReply, ReplicateDatabaseRequest, SyncPoint,
};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};

use super::calls::{self, bad_call, read_call};
use super::replica::Replica;
use super::table::{self, Direction};
use super::transfer::{self, InstallOutcome, ReceivedDatabase};
use super::walk;
use crate::database::Database;
use crate::error::DbError;
use crate::handles::Broker;
use crate::mark::FileMark;
use crate::path::{Devices, database_path};
use crate::quarantine;
use crate::response::{Refusal, invalid, missing, refuse};
use crate::salvage::QuarantineOutcome;

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
        let mut response = match self.target(&head) {
            Err(refusal) => *refusal,
            Ok((target, upload)) => {
                let mut changes = false;
                let done = match upload {
                    Some(upload) => self.receive(&target, upload, body).await,
                    None => self.operate(&target, body, now, &mut changes).await,
                };
                if changes && done.is_ok() {
                    changed = Some((target.path, target.partition));
                }
                done.unwrap_or_else(|refusal| *refusal)
            }
        };
        let head = ReplicateDatabaseReply { takes_databases: true, ..Default::default() };
        head.encode(response.headers_mut());
        ReplicationReply { response, changed }
    }

    fn target(&self, head: &Parts) -> Result<(CallTarget, Option<DatabaseUpload>), Refusal> {
        let received = ReplicateDatabaseRequest::decode(head).map_err(invalid)?;
        let device = self
            .devices
            .device(&received.device)
            .map_err(|_| Box::new(status(StatusCode::INSUFFICIENT_STORAGE)))?;
        let ReplicateDatabaseRequest { address, upload } = received.message;
        let ReplicaAddress { partition, hash } = address;
        let path = database_path(&device, K::schema().directory, partition, &hash);
        Ok((CallTarget { device, partition, hash, path }, upload))
    }

    async fn receive(
        &self,
        target: &CallTarget,
        upload: DatabaseUpload,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let id = upload.id.clone();
        let file = target.device.join("tmp").join(&id);
        let arrival = target.arrival(&file, &id);
        match transfer::receive::<K>(&self.broker, &self.hash, &arrival, body, upload).await {
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
        let call = DatabaseCall::<K::Row>::decode(&call);
        let call = call.map_err(|error| bad_call(&error.to_string()))?;
        *changes = matches!(
            call,
            DatabaseCall::Sync(_) | DatabaseCall::MergeItems { .. } | DatabaseCall::Install { .. }
        );
        match call {
            DatabaseCall::Sync(remote) => self.sync(target, *remote, now).await,
            DatabaseCall::MergeItems { rows, source, reclaimed } => {
                let database = self.open(target).await?;
                let new = calls::merge_items::<K>(&database, rows, source, reclaimed).await;
                let new = Some(new.map_err(calls::refusal)?);
                let head = ReplicateDatabaseReply { new_rows: new, ..Default::default() };
                let mut response = status(StatusCode::ACCEPTED);
                head.encode(response.headers_mut());
                Ok(response)
            }
            DatabaseCall::MergeSyncs(points) => self.merge_points(target, points).await,
            DatabaseCall::Container(call) => self.operation(target, call).await,
            DatabaseCall::Install { mode, id, file } => {
                self.install(target, mode, &id, file.as_deref(), now).await
            }
            DatabaseCall::Remove(seen) => self.remove(target, *seen).await,
            DatabaseCall::Orphan(seen) => self.orphan(target, *seen).await,
            DatabaseCall::Quarantine { only_copy } => {
                let (device, path) = (&target.device, &target.path);
                let done = self.broker.quarantine::<K>(device, path, &self.hash, only_copy).await;
                quarantine::response(done?)
            }
            DatabaseCall::States(databases) => self.states(target, databases, now).await,
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
        remote: ReplicaInfo,
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        let mark = self.mark(&target.path, now).await;
        let database = self.open(target).await?;
        match calls::sync::<K>(&database, remote, now).await {
            Err(error) if error.is_damage() => {
                drop(database);
                Err(self.refusal(target, error).await?)
            }
            done => {
                let mut response = json(&done.map_err(calls::refusal)?)?;
                let mark = mark.map(|mark| mark.to_string());
                let head = ReplicateDatabaseReply { mark, ..Default::default() };
                head.encode(response.headers_mut());
                Ok(response)
            }
        }
    }

    /// Merges the sync points of another replica.
    async fn merge_points(
        &self,
        target: &CallTarget,
        points: Vec<SyncPoint>,
    ) -> Result<Response<Body>, Refusal> {
        let database = self.open(target).await?;
        calls::write(&database, move |connection| {
            let mut points = points.iter();
            points.try_for_each(|point| table::merge_point(connection, Direction::Incoming, point))
        })
        .await?;
        Ok(status(StatusCode::ACCEPTED))
    }

    /// Performs a call that only one kind has.
    async fn operation(
        &self,
        target: &CallTarget,
        call: ContainerCall,
    ) -> Result<Response<Body>, Refusal> {
        let database = self.open(target).await?;
        let word = call.word();
        let operation = K::operation(call);
        let operation =
            operation.ok_or_else(|| bad_call(&format!("{word}: only containers have it")))?;
        match calls::write(&database, operation).await? {
            Some(ranges) => json(&ranges),
            None => Ok(status(StatusCode::ACCEPTED)),
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
        databases: Vec<(u32, PathHash)>,
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        let path = |(partition, hash): (u32, PathHash)| {
            database_path(&target.device, K::schema().directory, partition, &hash)
        };
        let files: Vec<PathBuf> = databases.into_iter().map(path).collect();
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
        mode: InstallMode,
        id: &str,
        file: Option<&str>,
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        if file.is_some_and(|file| file != format!("{}.db", target.hash)) {
            // A database of a sharded container: its name has an epoch.
            return Err(refuse(StatusCode::NOT_IMPLEMENTED, "sharded databases are not supported"));
        }
        let file = target.device.join("tmp").join(id);
        let arrival = target.arrival(&file, id);
        let installed = match mode {
            InstallMode::New => transfer::complete::<K>(&self.broker, &self.hash, &arrival).await,
            InstallMode::Merged => {
                transfer::merge::<K>(&self.broker, &self.hash, &arrival, now).await
            }
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
        seen: ReplicaInfo,
    ) -> Result<Response<Body>, Refusal> {
        let (path, device) = (target.path.clone(), target.device.clone());
        let remove = move || {
            apus_fault::point("handoff.remove.checked");
            walk::remove_database(&path)?;
            apus_fault::point("handoff.remove.removed");
            walk::remove_empty_parents(&device, &path);
            Ok(())
        };
        self.unless_changed(target, seen, remove).await
    }

    /// Quarantines a database whose account is gone.
    async fn orphan(
        &self,
        target: &CallTarget,
        seen: ReplicaInfo,
    ) -> Result<Response<Body>, Refusal> {
        let (path, device) = (target.path.clone(), target.device.clone());
        let quarantine = move || {
            let directory = path.parent().unwrap_or(&path);
            let moved = apus_disk::quarantine(&device, K::schema().directory, directory)?;
            tracing::error!(to = %moved.display(), "Quarantined a database: no account replicas exist");
            Ok(())
        };
        self.unless_changed(target, seen, quarantine).await
    }

    /// Runs `work` on the file of a database that did not change since the daemon read its state, and
    /// whose directory holds no other database: 409 otherwise.
    async fn unless_changed(
        &self,
        target: &CallTarget,
        seen: ReplicaInfo,
        work: impl FnOnce() -> Result<(), DbError> + Send + 'static,
    ) -> Result<Response<Body>, Refusal> {
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
                calls::refusal(error)
            }
        })
    }
}

impl CallTarget {
    fn arrival<'a>(&'a self, file: &'a Path, id: &'a str) -> ReceivedDatabase<'a> {
        ReceivedDatabase { device: &self.device, file, id, path: &self.path, hash: self.hash }
    }
}

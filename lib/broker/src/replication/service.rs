//! The server's side: `REPLICATE /device/partition/hash` with a JSON list `[operation, …]`.
//!
//! Source: `swift/common/db_replicator.py`, `ReplicatorRpc`. Operations of our own, which no client
//! and no Swift node sends: a whole database as a body, `apus_states` for the marks of many
//! databases, and `apus_remove`, `apus_orphan` and `apus_quarantine` by the daemons of this node. Statuses are Swift's: 404 without a database, 202 after a merge, 204 when
//! a database has been put in place.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{HashConf, PathHash, Timestamp};
use apus_daemon::Body;
use apus_daemon::http::{full, header, set, status};
use apus_disk::make_directories;
use apus_wire::{NodePath, headers};
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use super::body::{self, Unread};
use super::info::Info;
use super::kind::Kind;
use super::sift::{STATES, STATES_MAX};
use super::table::{self, SyncPoint, Way};
use super::transfer::{self, Arrival, Landed};
use super::walk;
use crate::answer::{Refusal, refuse};
use crate::database::Database;
use crate::error::DbError;
use crate::handles::Broker;
use crate::mark::FileMark;
use crate::place::{Devices, database_path};
use crate::raw::Connection;
use crate::salvage::SetAside;
use crate::set_aside;

/// The operation that moves a database aside whose account is gone; its argument is what the daemon
/// saw of it.
pub const ORPHAN: &str = "apus_orphan";

/// Bytes of a call at most. A thousand rows are some 200 KB, with the longest names some 10 MB.
const CALL_MAX: usize = 64 * 1024 * 1024;

/// Answers replication calls for one kind of database.
#[derive(Debug)]
pub struct Service<K> {
    broker: Arc<Broker>,
    devices: Devices,
    hash: HashConf,
    kind: PhantomData<fn() -> K>,
}

/// An answer, and what changed by it.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub response: Response<Body>,
    /// The database that changed, and its partition.
    pub changed: Option<(PathBuf, u32)>,
}

/// Where a call goes.
struct Target {
    device: PathBuf,
    partition: u32,
    hash: PathHash,
    path: PathBuf,
}

fn since_1970(time: Timestamp) -> Duration {
    Duration::from_micros(time.steps().saturating_mul(10))
}

fn bad(text: &str) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, text)
}

fn missing() -> Refusal {
    Box::new(status(StatusCode::NOT_FOUND))
}

/// A name of one file: nothing that leads out of its directory.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn json(value: &impl serde::Serialize) -> Result<Response<Body>, Refusal> {
    let text = serde_json::to_vec(value).map_err(|error| DbError::Corrupt(error.to_string()))?;
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "content-type", "application/json");
    *response.body_mut() = full(text);
    Ok(response)
}

impl<K: Kind> Service<K> {
    /// A service on the devices of a server.
    pub fn new(broker: Arc<Broker>, devices: Devices, hash: HashConf) -> Self {
        Self { broker, devices, hash, kind: PhantomData }
    }

    /// Answers one call.
    pub async fn call(&self, path: &str, head: &HeaderMap, body: Body, now: Timestamp) -> Answer {
        let mut changed = None;
        let mut response = match self.target(path) {
            Err(refusal) => *refusal,
            Ok(target) => {
                let mut changes = false;
                let done = match header(head, headers::DATABASE) {
                    Some(id) => self.receive(&target, id, head, body).await,
                    None => self.operate(&target, body, now, &mut changes).await,
                };
                if changes && done.is_ok() {
                    changed = Some((target.path, target.partition));
                }
                done.unwrap_or_else(|refusal| *refusal)
            }
        };
        set(response.headers_mut(), headers::DATABASE, "1");
        Answer { response, changed }
    }

    fn target(&self, path: &str) -> Result<Target, Refusal> {
        let path = NodePath::decode(path, 1).map_err(|error| bad(&error))?;
        let device = self
            .devices
            .device(&path.device)
            .map_err(|_| Box::new(status(StatusCode::INSUFFICIENT_STORAGE)))?;
        let hash = path.names.first().and_then(|hash| PathHash::parse(hash));
        let hash = hash.ok_or_else(|| bad("Invalid path: expected a hash"))?;
        let database = database_path(&device, K::DIRECTORY, path.partition, &hash);
        Ok(Target { device, partition: path.partition, hash, path: database })
    }

    async fn receive(
        &self,
        target: &Target,
        id: &str,
        head: &HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let length = header(head, "content-length").and_then(|length| length.parse().ok());
        let md5 = header(head, "etag").filter(|md5| md5.len() == 32);
        let (Some(length), Some(md5), true) = (length, md5, is_file_name(id)) else {
            return Err(bad("expected a database's id, its length and its MD5"));
        };
        let file = target.device.join("tmp").join(id);
        let arrival = target.arrival(&file, id);
        match transfer::receive::<K>(&self.broker, &self.hash, &arrival, body, length, md5).await {
            Ok(()) => Ok(status(StatusCode::CREATED)),
            Err(error) if error.is_damage() || matches!(error, DbError::Invalid(_)) => {
                tracing::warn!(%error, path = %target.path.display(), "database refused");
                Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn operate(
        &self,
        target: &Target,
        body: Body,
        now: Timestamp,
        changes: &mut bool,
    ) -> Result<Response<Body>, Refusal> {
        let call = read_call(body).await?;
        let Value::Array(call) = call else { return Err(bad("Invalid object type")) };
        let mut call = call.into_iter();
        let name = call.next();
        let Some(name) = name.as_ref().and_then(Value::as_str) else {
            return Err(bad("expected the name of an operation"));
        };
        let arguments: Vec<Value> = call.collect();
        *changes = matches!(name, "sync" | "merge_items" | "complete_rsync" | "rsync_then_merge");
        match name {
            "complete_rsync" | "rsync_then_merge" => {
                return self.land(target, name, &arguments, now).await;
            }
            "apus_remove" => return self.remove(target, &arguments).await,
            ORPHAN => return self.orphan(target, &arguments).await,
            set_aside::OPERATION => return self.quarantine(target, &arguments).await,
            STATES => return self.states(target, &arguments, now).await,
            _ => {}
        }
        let mark = if name == "sync" { self.mark(&target.path, now).await } else { None };
        let database = match self.broker.open(&target.path, K::merge_pending).await {
            Ok(Some(database)) => database,
            Err(error) => return Err(self.refusal(target, error).await?),
            Ok(None) => {
                // rsync, which comes next, does not make it.
                let (device, disk) = (target.device.clone(), self.broker.disk().clone());
                let make = move || make_directories(&device, &device.join("tmp"), &disk);
                let made = tokio::task::spawn_blocking(make);
                // What cannot be made is missed by the one who needs it.
                let _ = made.await;
                return Err(missing());
            }
        };
        match name {
            "sync" => match sync::<K>(&database, &arguments, now).await {
                Err(Called::Database(error)) if error.is_damage() => {
                    drop(database);
                    Err(self.refusal(target, error).await?)
                }
                done => {
                    let mut answer = json(&done.map_err(Called::refusal)?)?;
                    if let Some(mark) = mark {
                        set(answer.headers_mut(), headers::FILE_MARK, &mark.to_string());
                    }
                    Ok(answer)
                }
            },
            "merge_items" => {
                let new = merge_items::<K>(&database, arguments).await.map_err(Called::refusal)?;
                let mut answer = status(StatusCode::ACCEPTED);
                set(answer.headers_mut(), headers::NEW_ROWS, &new.to_string());
                Ok(answer)
            }
            "merge_syncs" => {
                let points = arguments.into_iter().next().unwrap_or_default();
                let points: Vec<SyncPoint> =
                    serde_json::from_value(points).map_err(|error| bad(&error.to_string()))?;
                write(&database, move |connection| {
                    points
                        .iter()
                        .try_for_each(|point| table::merge_point(connection, Way::Incoming, point))
                })
                .await?;
                Ok(status(StatusCode::ACCEPTED))
            }
            other => {
                let operation = K::operation(other, &arguments)?;
                let operation =
                    operation.ok_or_else(|| bad(&format!("unknown operation {other:?}")))?;
                match write(&database, operation).await? {
                    Some(told) => json(&told),
                    None => Ok(status(StatusCode::ACCEPTED)),
                }
            }
        }
    }

    /// The mark of a database now.
    async fn mark(&self, path: &Path, now: Timestamp) -> Option<FileMark> {
        let (path, now) = (path.to_owned(), since_1970(now));
        // Without one it is compared again in the next pass.
        self.broker.aside(move || FileMark::of(&path, now)).await.unwrap_or_default()
    }

    /// The marks of some databases of a device, in the order in which they were asked for.
    async fn states(
        &self,
        target: &Target,
        arguments: &[Value],
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        let list = arguments.first().and_then(Value::as_array);
        let list = list.filter(|list| list.len() <= STATES_MAX);
        let list = list.ok_or_else(|| bad("expected a list of at most 1000 databases"))?;
        let mut files = Vec::with_capacity(list.len());
        for database in list {
            let partition = database.get(0).and_then(Value::as_u64);
            let partition = partition.and_then(|partition| u32::try_from(partition).ok());
            let hash = database.get(1).and_then(Value::as_str).and_then(PathHash::parse);
            let (Some(partition), Some(hash)) = (partition, hash) else {
                return Err(bad(&format!("{database}: expected a partition and a hash")));
            };
            files.push(database_path(&target.device, K::DIRECTORY, partition, &hash));
        }
        let now = since_1970(now);
        let look = move || {
            let mark = |file: &PathBuf| FileMark::of(file, now).map(|mark| mark.to_string());
            files.iter().map(mark).collect::<Vec<_>>()
        };
        json(&self.broker.aside(look).await?)
    }

    async fn land(
        &self,
        target: &Target,
        name: &str,
        arguments: &[Value],
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        let id = arguments.first().and_then(Value::as_str).filter(|id| is_file_name(id));
        let id = id.ok_or_else(|| bad("expected a database's id"))?;
        let own = format!("{}.db", target.hash);
        if arguments.get(1).is_some_and(|file| file.as_str() != Some(&own)) {
            // A database of a sharded container: its name has an epoch.
            return Err(refuse(StatusCode::NOT_IMPLEMENTED, "sharded databases are not supported"));
        }
        let file = target.device.join("tmp").join(id);
        let arrival = target.arrival(&file, id);
        let landed = match name {
            "complete_rsync" => transfer::complete::<K>(&self.broker, &self.hash, &arrival).await,
            _ => transfer::merge::<K>(&self.broker, &self.hash, &arrival, now).await,
        };
        match landed? {
            Landed::Done => Ok(status(StatusCode::NO_CONTENT)),
            Landed::NotThere => Err(missing()),
        }
    }

    /// Removes a database.
    async fn remove(
        &self,
        target: &Target,
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

    /// Moves a database aside whose account is gone.
    async fn orphan(
        &self,
        target: &Target,
        arguments: &[Value],
    ) -> Result<Response<Body>, Refusal> {
        let (path, device) = (target.path.clone(), target.device.clone());
        let move_aside = move || {
            let directory = path.parent().unwrap_or(&path);
            let moved = apus_disk::quarantine(&device, K::DIRECTORY, directory)?;
            tracing::error!(to = %moved.display(), "no account replicas exist, quarantined");
            Ok(())
        };
        self.unless_changed(target, arguments, move_aside).await
    }

    /// Does something with the file of a database that nothing happened to since the daemon looked,
    /// and that has no others beside it: 409 otherwise.
    async fn unless_changed(
        &self,
        target: &Target,
        arguments: &[Value],
        work: impl FnOnce() -> Result<(), DbError> + Send + 'static,
    ) -> Result<Response<Body>, Refusal> {
        let seen: Info = serde_json::from_value(arguments.first().cloned().unwrap_or_default())
            .map_err(|error| bad(&error.to_string()))?;
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

    /// Sets a database aside, when there really is something wrong with it: 409 otherwise.
    async fn quarantine(
        &self,
        target: &Target,
        arguments: &[Value],
    ) -> Result<Response<Body>, Refusal> {
        let only_copy = arguments.first().and_then(Value::as_bool).unwrap_or(false);
        let (device, path) = (&target.device, &target.path);
        let done = self.broker.set_aside(device, path, K::TABLES, &self.hash, only_copy).await;
        set_aside::answer(done?)
    }

    /// The refusal of a call that met an error. A database that is damaged is quarantined first;
    /// then it does not exist, and the calling replica sends a whole one.
    async fn refusal(&self, target: &Target, error: DbError) -> Result<Refusal, Refusal> {
        if !error.is_damage() {
            return Ok(error.into());
        }
        let (device, path) = (&target.device, &target.path);
        let done = self.broker.set_aside(device, path, K::TABLES, &self.hash, false).await?;
        Ok(match done {
            SetAside::Missing | SetAside::Moved { replaced: false, .. } => missing(),
            SetAside::Good | SetAside::Moved { replaced: true, .. } => {
                Called::Database(error).refusal()
            }
        })
    }
}

impl Target {
    fn arrival<'a>(&'a self, file: &'a Path, id: &'a str) -> Arrival<'a> {
        Arrival { device: &self.device, file, id, path: &self.path, hash: self.hash }
    }
}

/// Why a call was not done.
enum Called {
    Bad(String),
    Database(DbError),
}

impl Called {
    fn refusal(self) -> Refusal {
        match self {
            Self::Bad(text) | Self::Database(DbError::Corrupt(text) | DbError::Invalid(text)) => {
                bad(&text)
            }
            Self::Database(error) => error.into(),
        }
    }
}

async fn write<T: Send + 'static>(
    database: &Arc<Database>,
    work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
) -> Result<T, Refusal> {
    let done = database.write(work).await;
    apus_fault::point("replicate.merge.committed");
    done.map_err(|error| Called::Database(error).refusal())
}

/// Tells a replica what we have, and takes over what it says of itself.
async fn sync<K: Kind>(
    database: &Arc<Database>,
    arguments: &[Value],
    now: Timestamp,
) -> Result<Info, Called> {
    let remote = Info::from_sync(arguments)
        .ok_or_else(|| Called::Bad("sync: expected seven or ten arguments".to_owned()))?;
    let asking = remote.clone();
    let (info, news) = database
        .read(move |connection| {
            let (mut info, point) = look::<K>(connection, &asking)?;
            let news = table::has_newer_times(&info, &asking)
                || table::has_newer(&info.metadata, &asking.metadata)?
                || K::disagrees(&info, &asking)
                || is_new_point(&info, &asking, point);
            if is_new_point(&info, &asking, point) {
                info.point = Some(asking.max_row);
            }
            Ok((info, news))
        })
        .await
        .map_err(Called::Database)?;
    if !news {
        return Ok(info);
    }
    // What is told is as it was before the replica's news, as Swift does: it merges ours itself.
    let told = database
        .write(move |connection| {
            K::reconcile(connection, &remote, now)?;
            let (mut info, point) = look::<K>(connection, &remote)?;
            if table::has_newer(&info.metadata, &remote.metadata)? {
                table::merge_metadata::<K>(connection, &remote.metadata)?;
            }
            if table::has_newer_times(&info, &remote) {
                table::merge_timestamps::<K>(connection, &remote, now)?;
            }
            if is_new_point(&info, &remote, point) {
                let new = SyncPoint { remote_id: remote.id.clone(), sync_point: remote.max_row };
                table::merge_point(connection, Way::Incoming, &new)?;
                info.point = Some(remote.max_row);
            }
            Ok(info)
        })
        .await
        .map_err(Called::Database)?;
    apus_fault::point("replicate.sync.committed");
    Ok(told)
}

fn look<K: Kind>(connection: &mut Connection, remote: &Info) -> Result<(Info, i64), DbError> {
    let mut info = K::info(connection)?;
    let point = table::point(connection, Way::Incoming, &remote.id)?;
    info.point = Some(point);
    Ok((info, point))
}

/// Equal hashes: all rows of the replica are here, whatever way they came.
fn is_new_point(info: &Info, remote: &Info, point: i64) -> bool {
    info.hash == remote.hash && point < remote.max_row
}

/// Merges rows; gives how many of them changed anything.
async fn merge_items<K: Kind>(
    database: &Arc<Database>,
    arguments: Vec<Value>,
) -> Result<u64, Called> {
    let mut arguments = arguments.into_iter();
    let rows = arguments.next().unwrap_or_default();
    let rows: Vec<K::Row> =
        serde_json::from_value(rows).map_err(|error| Called::Bad(error.to_string()))?;
    let mut text = || arguments.next().and_then(|value| value.as_str().map(str::to_owned));
    let source = text();
    // Of ours only: Swift's nodes send no deletions that are older than they keep any.
    let then = text().and_then(|then| Timestamp::parse(&then)).unwrap_or(Timestamp::ZERO);
    let new = database
        .write(move |connection| {
            let last = rows.last().and_then(K::row_id);
            let mut new = 0;
            for row in rows {
                if !K::is_old_deletion(connection, &row, then)? {
                    let before = connection.total_changes();
                    K::merge_row(connection, row)?;
                    new += u64::from(connection.total_changes() != before);
                }
            }
            if let (Some(remote_id), Some(sync_point)) = (source, last) {
                let point = SyncPoint { remote_id, sync_point };
                table::merge_point(connection, Way::Incoming, &point)?;
            }
            Ok(new)
        })
        .await
        .map_err(Called::Database)?;
    apus_fault::point("replicate.merge.committed");
    Ok(new)
}

/// Merges rows that name no source: the body of the verb `UPDATE`. Gives Swift's status.
///
/// # Errors
/// The refusal.
pub async fn update<K: Kind>(
    database: &Arc<Database>,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    let rows = read_call(body).await?;
    merge_items::<K>(database, vec![rows]).await.map_err(Called::refusal)?;
    Ok(status(StatusCode::ACCEPTED))
}

async fn read_call(body: Body) -> Result<Value, Refusal> {
    let body = body::read(body, CALL_MAX).await.map_err(|error| match error {
        Unread::TooLarge => refuse(StatusCode::PAYLOAD_TOO_LARGE, "call too large"),
        Unread::Broken(error) => bad(&error.to_string()),
    })?;
    serde_json::from_slice(&body).map_err(|error| bad(&error.to_string()))
}

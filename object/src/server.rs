//! Requests to verbs, and what all of them need.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use apus_cluster::{
    AccountName, ContainerName, ContainerPath, HashConf, ObjectName, ObjectPath, Policies,
    PolicyIndex, Timestamp, policy::PolicyType,
};
use apus_daemon::http::{header, status, text};
use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{Body, Clock, Handler, Interim};
use apus_disk::{Committer, Counters, Priority, Reserve};
use apus_wire::{Client, NodePath, headers, methods};
use async_trait::async_trait;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::oneshot;

use crate::device::{DeviceError, Devices};
use crate::diskfile::flood::{Flood, QuarantineLimit};
use crate::diskfile::other_path::OtherPath;
use crate::diskfile::reader::{self, Expected, Found, Newest, OpenError, State};
use crate::diskfile::writer::{Place, Writer, quarantine};
use crate::handlers;
use crate::replication::{Replicated, ReplicationOptions};
use crate::reservation::{Fence, NotThrough};

/// What an object server is given at start.
#[derive(Debug, Clone)]
pub struct Parts {
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
    /// For container rows.
    pub client: Arc<Client>,
    /// Counts what is asked of the disks.
    pub counters: Arc<Counters>,
    /// A range of a body up to this length that has no checksums of its blocks (Swift wrote it) is
    /// checked by reading the whole.
    pub verify_ranges_bytes: u64,
    /// How much that looks damaged is moved aside.
    pub quarantine_limit: QuarantineLimit,
    /// What replication may do.
    pub replication: ReplicationOptions,
}

/// An object server. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Server {
    pub(crate) parts: Parts,
    pub(crate) devices: Arc<Devices>,
    pub(crate) flood: Arc<Flood>,
}

/// One object on one device of this server.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) device: String,
    pub(crate) place: Place,
    pub(crate) object: ObjectPath,
    /// `/account/container/object`, as stored.
    pub(crate) name: String,
    /// Where a write has to do as well, while the part power is being changed.
    pub(crate) other: Option<OtherPath>,
}

/// A refusal that is already an answer.
pub(crate) type Refusal = Box<Response<Body>>;

pub(crate) fn refuse(status: StatusCode, body: &str) -> Refusal {
    Box::new(text(status, body))
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Gone => Box::new(status(StatusCode::INSUFFICIENT_STORAGE)),
            DeviceError::Busy => refuse(StatusCode::SERVICE_UNAVAILABLE, "too much waits"),
        }
    }
}

/// The answer to a failed disk; the proxy is to go elsewhere. As in Swift 507 means that it is full
/// (or gone, see [`DeviceError`]): a proxy then avoids the device for all that it holds.
pub(crate) fn disk_failed(error: &std::io::Error, target: &Target) -> Refusal {
    if error.kind() == io::ErrorKind::ResourceBusy {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too much waits for the disk");
    }
    tracing::error!(%error, device = target.device, object = target.name, "disk");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Box::new(status(StatusCode::INSUFFICIENT_STORAGE))
        }
        _ => refuse(StatusCode::INTERNAL_SERVER_ERROR, "disk failed"),
    }
}

/// The required `X-Timestamp`.
pub(crate) fn timestamp(head: &HeaderMap) -> Result<Timestamp, Refusal> {
    header(head, headers::TIMESTAMP).and_then(Timestamp::parse).ok_or_else(|| {
        let found = header(head, headers::TIMESTAMP).unwrap_or_default();
        refuse(
            StatusCode::BAD_REQUEST,
            &format!("X-Timestamp {found:?}: expected seconds.decimals"),
        )
    })
}

/// `X-Backend-Next-Part-Power`, if it is there.
pub(crate) fn next_part_power(head: &HeaderMap) -> Result<Option<u32>, Refusal> {
    /// A partition is told by four bytes of the hash.
    const POWER_MAX: u32 = 32;
    let Some(text) = header(head, headers::NEXT_PART_POWER) else { return Ok(None) };
    match text.parse().ok().filter(|power| *power <= POWER_MAX) {
        Some(power) => Ok(Some(power)),
        None => Err(refuse(
            StatusCode::BAD_REQUEST,
            &format!("{} {text:?}: expected 0 to {POWER_MAX}", headers::NEXT_PART_POWER),
        )),
    }
}

/// 409, with the time that is in the way.
pub(crate) fn conflict(newest: Timestamp) -> Refusal {
    let mut response = status(StatusCode::CONFLICT);
    apus_daemon::http::set(response.headers_mut(), headers::BACKEND_TIMESTAMP, &newest.to_string());
    Box::new(response)
}

impl Server {
    /// A server over its parts.
    pub fn new(parts: Parts) -> Self {
        let devices = Arc::new(Devices::new(
            &parts.devices,
            parts.mount_check,
            parts.counters.clone(),
            parts.clock.clone(),
        ));
        let flood = Arc::new(Flood::new(parts.quarantine_limit));
        Self { parts, devices, flood }
    }

    /// The policy of a request, if it is one that is served.
    /// Leaves promises to another process that is about to take over; what is under way goes on.
    /// To be waited for before the other one serves.
    pub async fn seal(&self) {
        self.devices.seal().await;
    }

    pub(crate) fn policy(&self, head: &HeaderMap) -> Result<PolicyIndex, Refusal> {
        let policy = match header(head, headers::POLICY_INDEX) {
            None => PolicyIndex(0),
            Some(text) => PolicyIndex(
                text.parse().map_err(|_| refuse(StatusCode::BAD_REQUEST, "bad policy index"))?,
            ),
        };
        match self.parts.policies.get(policy) {
            Some(known) if known.policy_type == PolicyType::Replication => Ok(policy),
            Some(_) => Err(refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "erasure-coded policies are not served yet",
            )),
            None => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "unknown policy index")),
        }
    }

    fn target(&self, path: &str, head: &HeaderMap) -> Result<Target, Refusal> {
        let bad =
            |error: &dyn std::fmt::Display| refuse(StatusCode::BAD_REQUEST, &error.to_string());
        let path = NodePath::decode(path, 3).map_err(|error| bad(&error))?;
        let [account, container, object] = path
            .names
            .try_into()
            .map_err(|_| bad(&"Invalid path: expected account, container and object"))?;
        let object = ObjectPath {
            container: ContainerPath::new(
                AccountName::parse(&account).map_err(|error| bad(&error))?,
                ContainerName::parse(&container).map_err(|error| bad(&error))?,
            ),
            object: ObjectName::parse(&object).map_err(|error| bad(&error))?,
        };
        let policy = self.policy(head)?;
        let name = object.to_string();
        let place = Place {
            device: self.devices.path(&path.device)?,
            policy,
            partition: path.partition,
            hash: self.parts.hash.hash_joined(&name),
        };
        let other = next_part_power(head)?.and_then(|power| OtherPath::of(&place, power));
        Ok(Target { place, device: path.device, object, name, other })
    }

    /// Opens the object, from memory if possible. A damaged one is quarantined and counts as
    /// absent, so that a good copy is looked for elsewhere.
    pub(crate) async fn open(&self, target: &Target) -> Result<State, Refusal> {
        let counters = &self.parts.counters;
        let mut opened = reader::open(&target.place, &target.name, false, counters);
        if matches!(opened, Err(OpenError::WouldWait)) {
            opened = self.open_on_thread(target, Priority::Read).await?;
        }
        match opened {
            Ok(state) => Ok(state),
            Err(OpenError::OtherName(found))
                if self.parts.hash.hash_joined(&found) == target.place.hash =>
            {
                Err(refuse(StatusCode::FORBIDDEN, "another object has this hash"))
            }
            Err(OpenError::OtherName(found)) => {
                self.still_unreadable(target, &format!("its name is {found:?}")).await
            }
            Err(OpenError::Corrupt(reason)) => self.still_unreadable(target, &reason).await,
            Err(OpenError::Io(error)) => Err(disk_failed(&error, target)),
            Err(OpenError::WouldWait) => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "busy")),
        }
    }

    /// Moves an object aside whose metadata is damaged, unless it has been replaced meanwhile.
    async fn still_unreadable(&self, target: &Target, reason: &str) -> Result<State, Refusal> {
        let (counters, name) = (self.parts.counters.clone(), target.name.clone());
        let still = move |place: &Place| {
            let again = reader::open(place, &name, true, &counters);
            matches!(again, Err(OpenError::Corrupt(_) | OpenError::OtherName(_)))
        };
        self.move_aside(target, reason, still).await?;
        Ok(State::Absent)
    }

    /// Moves a damaged object aside if it is `still` the one that was looked at.
    pub(crate) async fn move_aside(
        &self,
        target: &Target,
        reason: &str,
        still: impl FnOnce(&Place) -> bool + Send + 'static,
    ) -> Result<(), Refusal> {
        let (server, place, reason) = (self.clone(), target.place.clone(), reason.to_owned());
        let work = move || {
            if still(&place) {
                server.move_aside_now(&place, &reason);
            }
        };
        Ok(self.devices.run(&target.device, Priority::Read, work).await?)
    }

    /// Writes a file on a device's threads and has it committed by the name that `prepare` gives
    /// with it; when this returns, it is durable and what it made obsolete is gone. 409 when the
    /// object's name was promised to a later time.
    pub(crate) async fn write(
        &self,
        target: &Target,
        time: Timestamp,
        fence: Fence,
        prepare: impl FnOnce(&Arc<Committer>) -> io::Result<(Writer, String)> + Send + 'static,
    ) -> Result<(), Refusal> {
        let reservations = self.devices.reservations(&target.device)?;
        let entered = reservations.enter(target.place.hash, time, fence).await;
        let entry = entered.map_err(|error| match error {
            NotThrough::TooEarly(promised) => conflict(promised),
            NotThrough::Disk(error) => disk_failed(&error, target),
        })?;
        let is_strong = !matches!(fence, Fence::Plain);
        let committer = self.devices.committer(&target.device)?;
        let (done, committed) = oneshot::channel();
        let work = move || {
            let (writer, name) = prepare(&committer)?;
            apus_fault::point("object.write.prepared");
            // Nobody waits any more when the client went away.
            let obsolete = writer.commit(&name, move |result| drop(done.send(result)))?;
            Ok((obsolete, name))
        };
        let failed = |error: io::Error| disk_failed(&error, target);
        let obsolete = self.devices.run(&target.device, Priority::Write, work).await?;
        let (obsolete, name) = obsolete.map_err(failed)?;
        committed.await.map_err(|_| DeviceError::Busy)?.map_err(failed)?;
        apus_fault::point("object.write.committed");
        if let Some(other) = &target.other {
            self.settle_other(target, other, name, is_strong).await?;
        }
        drop(entry);
        if let Some(obsolete) = obsolete {
            let remove = move || obsolete.remove();
            // The file is durable: what stays beside it is only wasted space until the next write.
            if let Err(error) = self.devices.run(&target.device, Priority::Write, remove).await {
                tracing::debug!(?error, device = target.device, "obsolete files stay");
            }
        }
        Ok(())
    }

    /// Gives what was written its other path. As Swift's, a write does not fail for it: the file is
    /// durable, and the relinker links it before anything is removed. But a strong one must be found
    /// by whoever goes by another ring than its writer.
    async fn settle_other(
        &self,
        target: &Target,
        other: &OtherPath,
        name: String,
        is_strong: bool,
    ) -> Result<(), Refusal> {
        let committer = self.devices.committer(&target.device)?;
        let (other, place) = (other.clone(), target.place.clone());
        let work = move || other.settle(&place, &name, &committer);
        match self.devices.run(&target.device, Priority::Write, work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_strong => Err(disk_failed(&error, target)),
            Err(error) if is_strong => Err(error.into()),
            Ok(Err(error)) => {
                let (device, object) = (&target.device, &target.name);
                tracing::error!(%error, device, object, "not linked into its other partition");
                Ok(())
            }
            Err(error) => {
                let (device, object) = (&target.device, &target.name);
                tracing::error!(?error, device, object, "not linked into its other partition");
                Ok(())
            }
        }
    }

    /// Opens an object's files for replication, which asks by hash; with the object's name. A
    /// damaged one is moved aside. Blocking.
    pub(crate) fn find_by_hash(&self, place: &Place) -> Result<(Found, String), OpenError> {
        let (conf, counters) = (&self.parts.hash, &self.parts.counters);
        let look = || {
            let found = reader::find(place, Expected::Hash(conf, &place.hash), true, counters)?;
            let name = match &found {
                Found::Absent => String::new(),
                Found::Deleted(_, file) => reader::tombstone_name(place, file, conf, counters)?,
                Found::Present(files) => files.data.get("name").cloned().unwrap_or_default(),
            };
            Ok((found, name))
        };
        // What has just been replaced is not damaged.
        let damage = |error: &OpenError| match error {
            OpenError::Corrupt(reason) => Some(reason.clone()),
            OpenError::OtherName(name) => Some(format!("{name:?} does not belong here")),
            OpenError::WouldWait | OpenError::Io(_) => None,
        };
        let found = look();
        if found.as_ref().err().and_then(damage).is_none() {
            return found;
        }
        let again = look();
        if let Some(reason) = again.as_ref().err().and_then(damage) {
            self.move_aside_now(place, &reason);
        }
        again
    }

    /// Moves a damaged object aside, if not too many are at the same time. Blocking.
    pub(crate) fn move_aside_now(&self, place: &Place, reason: &str) {
        if self.flood.may_move(&place.device, self.parts.clock.now()) {
            quarantine(place, reason, &self.parts.counters);
        }
    }

    /// The newest times of an object, without opening it.
    pub(crate) async fn newest(&self, target: &Target) -> Result<Newest, Refusal> {
        let counters = self.parts.counters.clone();
        let mut found = reader::newest(&target.place, false, &counters);
        if matches!(found, Err(OpenError::WouldWait)) {
            let place = target.place.clone();
            let work = move || reader::newest(&place, true, &counters);
            found = self.devices.run(&target.device, Priority::Read, work).await?;
        }
        match found {
            Ok(newest) => Ok(newest),
            Err(OpenError::Io(error)) => Err(disk_failed(&error, target)),
            Err(_) => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "busy")),
        }
    }

    async fn open_on_thread(
        &self,
        target: &Target,
        priority: Priority,
    ) -> Result<Result<State, OpenError>, Refusal> {
        let counters = self.parts.counters.clone();
        let wanted = target.clone();
        let work = move || reader::open(&wanted.place, &wanted.name, true, &counters);
        Ok(self.devices.run(&target.device, priority, work).await?)
    }

    /// Seconds since 1970.
    pub(crate) fn now_seconds(&self) -> u64 {
        self.parts.clock.now().as_secs()
    }
}

#[async_trait]
impl Handler for Server {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let interim = head.extensions.get::<Interim>().cloned();
        match head.method.as_str() {
            methods::REPLICATE => return handlers::replicate::replicate(self, &head).await,
            methods::SSYNC => return handlers::ssync::ssync(self, &head, body).await,
            _ => {}
        }
        let target = match self.target(head.uri.path(), &head.headers) {
            Ok(target) => target,
            Err(refusal) => return *refusal,
        };
        let answer = match head.method {
            Method::GET => handlers::get::get(self, &target, &head.headers, false).await,
            Method::HEAD => handlers::get::get(self, &target, &head.headers, true).await,
            Method::PUT | Method::POST | Method::DELETE => {
                // A write that was begun ends, with its row, whether or not its caller waits.
                let write = write(self.clone(), target, head, body, interim);
                spawn(TaskKind::Request, write)
                    .await
                    .unwrap_or_else(|_| Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "panic")))
            }
            method if method.as_str() == methods::RESERVE => {
                handlers::reserve::reserve(self, &target, &head.headers).await
            }
            method if method.as_str() == methods::REPAIR => {
                crate::replicator::repair(self, &target, &head.headers).await
            }
            method if method.as_str() == methods::RELEASE => {
                handlers::reserve::release(self, &target, &head.headers)
            }
            _ => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")),
        };
        answer.unwrap_or_else(|refusal| *refusal)
    }
}

async fn write(
    server: Server,
    target: Target,
    mut head: http::request::Parts,
    body: Body,
    interim: Option<Interim>,
) -> Result<Response<Body>, Refusal> {
    let replicated = Replicated::of(&mut head);
    let (head, replicated) = (&head, replicated.as_ref());
    match head.method {
        Method::PUT => {
            handlers::put::put(&server, &target, &head.headers, body, interim, replicated).await
        }
        Method::POST => handlers::post::post(&server, &target, &head.headers, replicated).await,
        _ => handlers::delete::delete(&server, &target, &head.headers, replicated).await,
    }
}

//! The object store of a node: devices, reservations, quarantine, and an engine for each policy.
//!
//! The object server and its daemons are built on it. It does not know requests, rows or rings.

mod device;
mod error;
pub(crate) mod presence;
pub(crate) mod quarantine_limit;
pub(crate) mod replication_lock;
pub mod reservation;
pub(crate) mod suffix_hashes;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::policy::PolicyType;
use apus_cluster::{HashConf, ObjectPath, Policies, PolicyIndex, Timestamp};
use apus_daemon::Clock;
use apus_disk::{Committer, Counters, Priority, ReadBuffers};
use tokio::sync::oneshot;

use self::device::Devices;
pub(crate) use self::error::{DeviceError, StoreError};
use self::quarantine_limit::{QuarantineLimit, QuarantineLimiter};
use self::reservation::{CommitRefusal, Fence};
use crate::diskfile::DiskFiles;
use crate::engine::object::{
    DirectoryState, Expected, NewestTimes, ObjectState, OpenError, Reclaim, Version,
};
use crate::engine::place::{OtherPath, Place};
use crate::engine::{Engine, ObjectWriter, Published};

/// Settings of an object store.
#[derive(Debug, Clone)]
pub(crate) struct ObjectStoreOptions {
    /// Directory of the devices.
    pub(crate) devices: PathBuf,
    /// Whether devices must be mount points.
    pub(crate) mount_check: bool,
    /// The cluster's hash prefix and suffix.
    pub(crate) hash: HashConf,
    /// The cluster's policies.
    pub(crate) policies: Policies,
    pub(crate) clock: Arc<dyn Clock>,
    /// Counts the operations on the disks.
    pub(crate) counters: Arc<Counters>,
    /// How much damaged data is quarantined.
    pub(crate) quarantine_limit: QuarantineLimit,
}

/// The objects on the devices of this node.
#[derive(Debug)]
pub(crate) struct ObjectStore {
    pub(crate) devices: Arc<Devices>,
    pub(crate) hash: HashConf,
    pub(crate) policies: Policies,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) quarantine_limiter: QuarantineLimiter,
    pub(crate) buffers: Arc<ReadBuffers>,
    engines: BTreeMap<PolicyIndex, Arc<dyn Engine>>,
    default_engine: Arc<dyn Engine>,
}

/// One object on one device of this node.
#[derive(Debug, Clone)]
pub(crate) struct LocalObject {
    /// Name of the device.
    pub(crate) device: String,
    pub(crate) place: Place,
    pub(crate) object: ObjectPath,
    /// `/account/container/object`, as stored.
    pub(crate) name: String,
    /// Additional work of a write while the part power is being changed.
    pub(crate) other: Option<OtherPath>,
}

impl ObjectStore {
    pub(crate) fn new(options: ObjectStoreOptions) -> Self {
        let ObjectStoreOptions {
            devices,
            mount_check,
            hash,
            policies,
            clock,
            counters,
            quarantine_limit,
        } = options;
        let devices =
            Arc::new(Devices::new(&devices, mount_check, counters.clone(), clock.clone()));
        let files: Arc<dyn Engine> = Arc::new(DiskFiles::new(hash.clone(), counters.clone()));
        // The one place that chooses engines.
        let engine = |kind: &PolicyType| match kind {
            PolicyType::Replication => Some(files.clone()),
            // Requests for such policies are refused, and daemons leave them out.
            PolicyType::ErasureCoding(_) => None,
        };
        let engines = policies
            .iter()
            .filter_map(|policy| Some((policy.index, engine(&policy.policy_type)?)))
            .collect();
        Self {
            devices,
            hash,
            policies,
            clock,
            counters,
            quarantine_limiter: QuarantineLimiter::new(quarantine_limit),
            buffers: Arc::default(),
            engines,
            default_engine: files,
        }
    }

    /// The engine of a policy.
    pub(crate) fn engine(&self, policy: PolicyIndex) -> &Arc<dyn Engine> {
        self.engines.get(&policy).unwrap_or(&self.default_engine)
    }

    /// Leaves promises to another process that is about to take over; operations in progress
    /// continue. Await this before the other process serves.
    pub(crate) async fn seal(&self) {
        self.devices.seal().await;
    }

    /// The current time and the age up to which tombstones are kept.
    pub(crate) fn reclaim(&self, age: Duration) -> Reclaim {
        Reclaim { now: self.clock.now(), age }
    }

    /// Runs file work in the background of a device.
    pub(crate) async fn background<T: Send + 'static>(
        &self,
        device: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        Ok(self.devices.run(device, Priority::Background, work).await??)
    }

    /// Opens an object, from memory if possible. A damaged one is quarantined and counts as absent,
    /// so that the caller looks for a good copy elsewhere.
    pub(crate) async fn open(
        self: &Arc<Self>,
        object: &LocalObject,
    ) -> Result<ObjectState, StoreError> {
        let engine = self.engine(object.place.policy);
        let mut found = engine.find(&object.place, Expected::Name(&object.name), false);
        if matches!(found, Err(OpenError::WouldWait)) {
            let (engine, wanted) = (engine.clone(), object.clone());
            let work = move || engine.find(&wanted.place, Expected::Name(&wanted.name), true);
            found = self.devices.run(&object.device, Priority::Read, work).await?;
        }
        match found {
            Ok(state) => Ok(state.into()),
            Err(OpenError::OtherName(found))
                if self.hash.hash_joined(&found) == object.place.hash =>
            {
                Err(StoreError::HashCollision)
            }
            Err(OpenError::OtherName(found)) => {
                let reason = format!("the stored name is {found:?}");
                self.quarantine_if_unreadable(object, &reason).await
            }
            Err(OpenError::Corrupt(reason)) => self.quarantine_if_unreadable(object, &reason).await,
            Err(OpenError::Io(error)) => Err(error.into()),
            Err(OpenError::WouldWait) => Err(DeviceError::Busy.into()),
        }
    }

    /// Quarantines an object with damaged metadata, unless it was replaced meanwhile.
    async fn quarantine_if_unreadable(
        self: &Arc<Self>,
        object: &LocalObject,
        reason: &str,
    ) -> Result<ObjectState, StoreError> {
        let (engine, name) = (self.engine(object.place.policy).clone(), object.name.clone());
        let is_damaged = move |place: &Place| {
            let again = engine.find(place, Expected::Name(&name), true);
            matches!(again, Err(OpenError::Corrupt(_) | OpenError::OtherName(_)))
        };
        self.quarantine(object, reason, is_damaged).await?;
        Ok(ObjectState::Absent)
    }

    /// Quarantines a damaged object if it is still the one that `is_damaged` describes.
    pub(crate) async fn quarantine(
        self: &Arc<Self>,
        object: &LocalObject,
        reason: &str,
        is_damaged: impl FnOnce(&Place) -> bool + Send + 'static,
    ) -> Result<(), StoreError> {
        let (store, place, reason) = (self.clone(), object.place.clone(), reason.to_owned());
        let work = move || {
            if is_damaged(&place) {
                store.quarantine_now(&place, &reason);
            }
        };
        Ok(self.devices.run(&object.device, Priority::Read, work).await?)
    }

    /// Quarantines a damaged object, unless too many were quarantined within the hour. Blocking.
    pub(crate) fn quarantine_now(&self, place: &Place, reason: &str) {
        if self.quarantine_limiter.permit(&place.device, self.clock.now()) {
            self.engine(place.policy).quarantine(place, reason);
        }
    }

    /// The newest times of an object, without opening it.
    pub(crate) async fn newest(&self, object: &LocalObject) -> Result<NewestTimes, StoreError> {
        let engine = self.engine(object.place.policy);
        let mut found = engine.newest(&object.place, false);
        if matches!(found, Err(OpenError::WouldWait)) {
            let (engine, place) = (engine.clone(), object.place.clone());
            let work = move || engine.newest(&place, true);
            found = self.devices.run(&object.device, Priority::Read, work).await?;
        }
        match found {
            Ok(newest) => Ok(newest),
            Err(OpenError::Io(error)) => Err(error.into()),
            Err(_) => Err(DeviceError::Busy.into()),
        }
    }

    /// Opens an object by its hash, for replication; returns its name as well. A damaged one is
    /// quarantined. Blocking.
    pub(crate) fn find_by_hash(
        &self,
        place: &Place,
    ) -> Result<(DirectoryState, String), OpenError> {
        let engine = self.engine(place.policy);
        let look = || {
            let found = engine.find(place, Expected::Hash(&self.hash, &place.hash), true)?;
            let name = match &found {
                DirectoryState::Absent => String::new(),
                DirectoryState::Deleted(_, file) => engine.tombstone_name(place, file)?,
                DirectoryState::Present(stored) => {
                    stored.data.get("name").cloned().unwrap_or_default()
                }
            };
            Ok((found, name))
        };
        let found = look();
        if found.as_ref().err().and_then(OpenError::damage).is_none() {
            return found;
        }
        // An object that has just been replaced is not damaged.
        let again = look();
        if let Some(reason) = again.as_ref().err().and_then(OpenError::damage) {
            self.quarantine_now(place, &reason);
        }
        again
    }

    /// Publishes an object that `prepare` writes and seals on a thread of the device. When this
    /// returns, the object is durable and older versions are removed.
    pub(crate) async fn write(
        &self,
        object: &LocalObject,
        (time, fence): (Timestamp, Fence),
        prepare: impl FnOnce(&Arc<Committer>) -> io::Result<Box<dyn ObjectWriter>> + Send + 'static,
    ) -> Result<(), StoreError> {
        let reservations = self.devices.reservations(&object.device)?;
        let entered = reservations.enter(object.place.hash, time, fence).await;
        let entry = entered.map_err(|error| match error {
            CommitRefusal::TooEarly(promised) => StoreError::Promised(promised),
            CommitRefusal::Disk(error) => error.into(),
        })?;
        let committer = self.devices.committer(&object.device)?;
        let (done, committed) = oneshot::channel();
        let work = move || {
            let writer = prepare(&committer)?;
            apus_fault::point("object.write.prepared");
            // No receiver is left when the client disconnected.
            writer.commit(Box::new(move |result| drop(done.send(result))))
        };
        let published = self.devices.run(&object.device, Priority::Write, work).await??;
        committed.await.map_err(|_| DeviceError::Busy)??;
        apus_fault::point("object.write.committed");
        let published: Arc<dyn Published> = published.into();
        if let Some(other) = &object.other {
            let is_strong = !matches!(fence, Fence::Plain);
            self.settle_other(object, other, &published, is_strong).await?;
        }
        drop(entry);
        if published.has_obsolete() {
            let remove = move || published.remove_obsolete();
            // The object is durable: leftovers only waste space until the next write.
            if let Err(error) = self.devices.run(&object.device, Priority::Write, remove).await {
                tracing::debug!(%error, device = object.device, "Failed to remove obsolete files");
            }
        }
        Ok(())
    }

    /// Gives a new object its other path. As in Swift, a write does not fail for it: the object is
    /// durable, and the relinker links it before anything is removed. But a strong write must be
    /// visible to readers that use another ring than its writer.
    async fn settle_other(
        &self,
        object: &LocalObject,
        other: &OtherPath,
        published: &Arc<dyn Published>,
        is_strong: bool,
    ) -> Result<(), StoreError> {
        let (other, published) = (other.clone(), published.clone());
        let work = move || published.settle_other(&other);
        let settled = self.devices.run(&object.device, Priority::Write, work).await;
        match settled.map_err(StoreError::from).and_then(|done| done.map_err(StoreError::from)) {
            Err(error) if is_strong => Err(error),
            Err(error) => {
                let (device, object) = (&object.device, &object.name);
                tracing::error!(%error, device, object, "Failed to link an object to its other partition");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Writes a tombstone or metadata; see [`ObjectStore::write`].
    pub(crate) async fn write_bodiless(
        &self,
        object: &LocalObject,
        (version, fence): (Version, Fence),
        stored: apus_cluster::Metadata,
    ) -> Result<(), StoreError> {
        let (engine, place) = (self.engine(object.place.policy).clone(), object.place.clone());
        let prepare = move |committer: &Arc<Committer>| {
            crate::engine::write_bodiless(engine.as_ref(), place, version, &stored, committer)
        };
        self.write(object, (version.time(), fence), prepare).await
    }
}

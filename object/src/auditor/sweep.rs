//! One sweep over one device, partition by partition, at a limited rate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{PathHash, PolicyIndex, Timestamp};
use apus_daemon::{Pace, PassContext, Stopped};
use apus_disk::Priority;

use super::batch::{AuditedPartition, AuditedSuffix, BatchOptions, Finding, audit_suffixes};
use super::body::{BodyVerdict, verify};
use super::options::{AuditorOptions, ObjectRings, SweepKind};
use super::pending::{self, RepairContext, UpdateCheck};
use super::report::AuditReport;
use super::watcher::{AuditedObject, Watcher, WatcherVerdict};
use super::{Auditor, status};
use crate::engine::Engine;
use crate::engine::audit::{AuditEntry, Examined};
use crate::engine::object::{Object, Times};
use crate::engine::place::{Partition, Place};
use crate::rows::pending as row_updates;
use crate::store::{DeviceError, ObjectStore};

/// How the sweep of a device ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SweepEnd {
    /// Everything was checked.
    Whole,
    /// The time is over; the next pass continues.
    TimeIsUp,
    /// The device is missing or does not answer.
    NoDevice,
}

/// Why the work on a device stopped.
enum SweepStop {
    Stopped,
    TimeIsUp,
    NoDevice,
}

impl From<Stopped> for SweepStop {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<DeviceError> for SweepStop {
    fn from(_: DeviceError) -> Self {
        Self::NoDevice
    }
}

/// A sweep in progress.
pub(super) struct Sweep<'a> {
    store: &'a Arc<ObjectStore>,
    objects: &'a ObjectRings,
    watchers: &'a [Arc<dyn Watcher>],
    cx: &'a PassContext,
    options: AuditorOptions,
    device: String,
    until: Option<Duration>,
    files: Pace,
    bytes: Pace,
    /// When the status file was written, or could have been.
    written: Duration,
    /// Whether this device has a status file.
    is_noted: bool,
    pub(super) done: AuditReport,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(
        auditor: &'a Auditor,
        cx: &'a PassContext,
        device: String,
        until: Option<Duration>,
    ) -> Self {
        let Auditor { store, objects, options, watchers } = auditor;
        Self {
            store,
            objects,
            watchers,
            cx,
            options: *options,
            device,
            until,
            files: Pace::per_second(options.files_per_second),
            bytes: Pace::per_second(options.bytes_per_second),
            written: cx.clock.now(),
            is_noted: false,
            done: AuditReport::default(),
        }
    }

    /// Sweeps the objects of a policy.
    ///
    /// # Errors
    /// When the process is to stop.
    pub(super) async fn policy(&mut self, policy: PolicyIndex) -> Result<SweepEnd, Stopped> {
        match self.try_policy(policy).await {
            Ok(()) => Ok(SweepEnd::Whole),
            Err(SweepStop::Stopped) => Err(Stopped),
            Err(SweepStop::TimeIsUp) => Ok(SweepEnd::TimeIsUp),
            Err(SweepStop::NoDevice) => {
                tracing::debug!(device = %self.device, "Skipped a device that is missing or busy");
                Ok(SweepEnd::NoDevice)
            }
        }
    }

    async fn try_policy(&mut self, policy: PolicyIndex) -> Result<(), SweepStop> {
        let device = self.store.devices.path(&self.device)?;
        let objects = device.join(policy.suffixed("objects"));
        let file = status::path(&objects, self.options.kind.name());
        let resumes = self.resumes();
        let (read, list) = (file.clone(), device.clone());
        let engine = self.engine(policy);
        let left = self.disk(move || {
            let left = resumes.then(|| status::read(&read)).flatten();
            Ok(match left {
                Some(left) => (left, true),
                None => (engine.partitions(&list, policy)?, false),
            })
        });
        let Some((left, is_over)) = left.await? else { return Ok(()) };
        self.is_noted = is_over;
        let scoped = |partition: &u32| self.cx.scope.has_partition(*partition);
        let left: Vec<u32> = left.into_iter().filter(scoped).collect();
        for (position, partition) in left.iter().enumerate() {
            self.note(&file, left.get(position..).unwrap_or_default(), false).await?;
            self.partition(Partition { device: device.clone(), policy, number: *partition })
                .await?;
        }
        if self.options.kind == SweepKind::All && !(is_over && left.is_empty()) {
            self.updates(&device, policy).await?;
        }
        // Nothing is left here while other devices are still being swept. A short sweep has no file.
        if self.is_noted { self.note(&file, &[], true).await } else { Ok(()) }
    }

    /// Whether a sweep continues where the last one ended.
    fn resumes(&self) -> bool {
        !self.cx.once && self.cx.scope.partitions.is_empty()
    }

    /// Writes the status file periodically.
    async fn note(&mut self, file: &Path, left: &[u32], now: bool) -> Result<(), SweepStop> {
        let time = self.cx.clock.now();
        let there = file.parent().is_some_and(Path::is_dir);
        let wanted = now || time.saturating_sub(self.written) >= status::INTERVAL;
        let is_up = self.until.is_some_and(|until| time >= until) && !now;
        if !self.resumes() || !there || !(wanted || is_up) {
            return Ok(());
        }
        self.written = time;
        self.is_noted = true;
        let (file, left) = (file.to_owned(), left.to_vec());
        let counters = self.store.counters.clone();
        self.disk(move || status::write(&file, &left, &counters)).await?;
        if is_up { Err(SweepStop::TimeIsUp) } else { Ok(()) }
    }

    /// Runs file work in the background; counts errors of the disk.
    async fn disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<Option<T>, SweepStop> {
        let found = self.store.devices.run(&self.device, Priority::Background, work).await?;
        Ok(self.checked(found))
    }

    /// What file work found; counts an error of the disk.
    fn checked<T>(&mut self, found: io::Result<T>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::warn!(%error, device = %self.device, "The auditor failed to read a device");
                self.done.errors += 1;
                None
            }
        }
    }

    fn engine(&self, policy: PolicyIndex) -> Arc<dyn Engine> {
        self.store.engine(policy).clone()
    }

    async fn partition(&mut self, partition: Partition) -> Result<(), SweepStop> {
        let kind = self.options.kind;
        let (engine, of) = (self.engine(partition.policy), partition.clone());
        let read = self.disk(move || Ok(AuditedPartition::read(&*engine, &of, kind))).await?;
        let Some(AuditedPartition { removed_hashes, suffixes, known }) = read else {
            return Ok(());
        };
        let removed = removed_hashes.and_then(|removed| self.checked(removed));
        self.done.hashes_removed += u64::from(removed == Some(true));
        let known = Arc::new(self.checked(known).unwrap_or_default());
        let suffixes: Arc<[String]> = self.checked(suffixes).unwrap_or_default().into();
        let options = BatchOptions { kind, add_checksums: self.options.add_checksums };
        let mut next = 0;
        while next < suffixes.len() {
            self.cx.safe_point().await?;
            let (engine, of) = (self.engine(partition.policy), partition.clone());
            let (all, known) = (suffixes.clone(), known.clone());
            let audited = self.disk(move || {
                let left = all.get(next..).unwrap_or_default();
                Ok(audit_suffixes(&*engine, (&of, left), &known, options))
            });
            let Some(audited) = audited.await? else { return Ok(()) };
            next += audited.len().max(1);
            for suffix in audited {
                if let Some(suffix) = self.checked(suffix) {
                    self.suffix(&partition, suffix).await?;
                }
            }
        }
        Ok(())
    }

    async fn suffix(
        &mut self,
        partition: &Partition,
        suffix: AuditedSuffix,
    ) -> Result<(), SweepStop> {
        self.done.hashes_stale += u64::from(suffix.was_stale);
        for (entry, finding) in suffix.entries {
            self.cx.safe_point().await?;
            self.cx.unless_stopped(self.files.take(1.0)).await?;
            match entry {
                AuditEntry::Object(hash) => self.object(partition.place(hash), finding).await?,
                AuditEntry::Misnamed(path) => self.misnamed(partition, path).await?,
            }
        }
        Ok(())
    }

    /// Audits an object; `finding` is the result of the job on its suffix, if there is one.
    async fn object(
        &mut self,
        place: Place,
        finding: Option<io::Result<Finding>>,
    ) -> Result<(), SweepStop> {
        self.store.quarantine_limiter.record_audit(&place.device, self.cx.clock.now());
        let Finding { examined, body } = match finding {
            Some(Ok(finding)) => finding,
            // A disk error may be temporary.
            Some(Err(_)) | None => {
                let (engine, of) = (self.engine(place.policy), place.clone());
                match self.disk(move || engine.examine(&of)).await? {
                    Some(examined) => Finding { examined, body: None },
                    None => return Ok(()),
                }
            }
        };
        self.done.passes += 1;
        match examined {
            Examined::Nothing | Examined::Deleted(..) => Ok(()),
            Examined::Damaged(reason) => {
                let (engine, of) = (self.engine(place.policy), place.clone());
                let is_damaged = move || matches!(engine.examine(&of), Ok(Examined::Damaged(_)));
                self.quarantine(place, reason, is_damaged).await
            }
            Examined::Object(name, object) if self.options.kind == SweepKind::All => {
                self.body(place, (&name, Arc::new(*object)), body).await
            }
            Examined::Object(name, object) => self.watched(place, &name, &object).await,
        }
    }

    /// Verifies the body of an object whose metadata is good, unless a job did.
    async fn body(
        &mut self,
        place: Place,
        (name, object): (&str, Arc<Object>),
        verdict: Option<io::Result<BodyVerdict>>,
    ) -> Result<(), SweepStop> {
        let identity = object.identity();
        self.done.bytes_processed += object.length;
        let verdict = match verdict {
            Some(verdict) => {
                self.cx.unless_stopped(self.bytes.take(object.length as f64)).await?;
                verdict
            }
            None => {
                let add = self.options.add_checksums;
                let read = verify(self.store, &self.device, &object, &mut self.bytes, add);
                self.cx.unless_stopped(read).await?
            }
        };
        match verdict {
            Ok(BodyVerdict::Good { added }) => {
                self.done.checksums_added += u64::from(added);
                self.watched(place, name, &object).await
            }
            Ok(BodyVerdict::Damaged(reason)) => {
                let (engine, of) = (self.engine(place.policy), place.clone());
                let is_same = move || identity.is_some_and(|identity| engine.holds(&of, &identity));
                self.quarantine(place, reason, is_same).await
            }
            Err(error) => {
                let directory = place.directory();
                tracing::warn!(%error, object = %directory.display(), "Failed to read the body of an object");
                self.done.errors += 1;
                Ok(())
            }
        }
    }

    /// Presents a good object to the watchers until one requests its removal.
    async fn watched(
        &mut self,
        place: Place,
        name: &str,
        object: &Object,
    ) -> Result<(), SweepStop> {
        let now = self.cx.clock.now();
        if self.watchers.is_empty() || object.is_expired(Timestamp::from_duration(now)) {
            return Ok(());
        }
        let (engine, of) = (self.engine(place.policy), place.clone());
        // A verdict does not apply to anything that is written from now on.
        let Some(Some(times)) = self.disk(move || engine.times(&of)).await? else {
            return Ok(());
        };
        if times.data != object.data_time {
            return Ok(());
        }
        let audited = AuditedObject { name, policy: place.policy, time: object.data_time, now };
        for watcher in self.watchers {
            let verdict = watcher.see_object(self.options.kind, &audited);
            match self.cx.unless_stopped(verdict).await? {
                WatcherVerdict::Keep => {}
                verdict => return self.carry_out(place, times, verdict, watcher.name()).await,
            }
        }
        Ok(())
    }

    /// Carries out a watcher's verdict, if the object is unchanged and none of its rows is pending.
    async fn carry_out(
        &mut self,
        place: Place,
        times: Times,
        verdict: WatcherVerdict,
        watcher: &'static str,
    ) -> Result<(), SweepStop> {
        let (engine, of) = (self.engine(place.policy), place.clone());
        let is_unchanged = move || {
            engine.times(&of).is_ok_and(|now| now == Some(times))
                && row_updates::of_object(&of.device, of.policy, &of.hash).is_ok_and(|row| !row)
        };
        if verdict == WatcherVerdict::Quarantine {
            return self.quarantine(place, format!("requested by {watcher}"), is_unchanged).await;
        }
        let (store, now) = (self.store.clone(), self.cx.clock.now());
        let removed = self.disk(move || {
            if !is_unchanged() || !store.quarantine_limiter.permit(&place.device, now) {
                return Ok(false);
            }
            store.engine(place.policy).remove(&place, times)
        });
        self.done.deleted += u64::from(removed.await? == Some(true));
        Ok(())
    }

    /// Quarantines a damaged object, unless it was replaced meanwhile or too many were quarantined.
    async fn quarantine(
        &mut self,
        place: Place,
        reason: String,
        is_damaged: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<(), SweepStop> {
        let (store, now) = (self.store.clone(), self.cx.clock.now());
        let quarantined = self.disk(move || {
            if !is_damaged() {
                return Ok(None);
            }
            if !store.quarantine_limiter.permit(&place.device, now) {
                let directory = place.directory();
                tracing::error!(object = %directory.display(), reason, "Left a damaged object in place: too many were quarantined");
                return Ok(Some(false));
            }
            Ok(store.engine(place.policy).quarantine(&place, &reason).then_some(true))
        });
        match quarantined.await?.flatten() {
            Some(true) => self.done.quarantined += 1,
            Some(false) => self.done.left_damaged += 1,
            None => {}
        }
        Ok(())
    }

    /// Quarantines a directory with files of an object whose name is not a hash, or that of another
    /// suffix: no server finds it there.
    async fn misnamed(&mut self, partition: &Partition, path: PathBuf) -> Result<(), SweepStop> {
        let (store, now) = (self.store.clone(), self.cx.clock.now());
        let (device, policy) = (partition.device.clone(), partition.policy);
        let quarantined = self.disk(move || {
            let engine = store.engine(policy);
            if !engine.is_misnamed_object(&path)?
                || !store.quarantine_limiter.permit(&device, now)
            {
                return Ok(false);
            }
            let to = engine.quarantine_misnamed(&device, policy, &path)?;
            tracing::error!(object = %path.display(), to = %to.display(), "Quarantined a misnamed object");
            Ok(true)
        });
        if quarantined.await? == Some(true) {
            self.done.quarantined += 1;
        }
        Ok(())
    }

    /// The row updates of a policy.
    async fn updates(&mut self, device: &Path, policy: PolicyIndex) -> Result<(), SweepStop> {
        let directory = device.join(policy.suffixed("async_pending"));
        let listed = self.disk(move || row_updates::suffixes(&directory)).await?;
        for suffix in listed.unwrap_or_default() {
            let list = suffix.clone();
            let names = self.disk(move || apus_disk::names(&list)).await?.unwrap_or_default();
            for name in names {
                self.cx.safe_point().await?;
                self.cx.unless_stopped(self.files.take(1.0)).await?;
                let checked = self.update(device, policy, suffix.join(name)).await?;
                let damaged = checked.is_some_and(|checked| checked != UpdateCheck::Good);
                self.done.updates_quarantined += u64::from(damaged);
                let again = matches!(checked, Some(UpdateCheck::Repaired | UpdateCheck::Rewritten));
                self.done.updates_announced += u64::from(again);
            }
        }
        Ok(())
    }

    async fn update(
        &mut self,
        device: &Path,
        policy: PolicyIndex,
        path: PathBuf,
    ) -> Result<Option<UpdateCheck>, SweepStop> {
        let Some(ring) = self.objects.get(&policy) else { return Ok(None) };
        let power = ring.get().part_power();
        let committer = self.store.devices.committer(&self.device)?;
        let (store, device) = (self.store.clone(), device.to_owned());
        self.disk(move || {
            let place = |hash: PathHash| {
                let partition = power.partition(&hash).0;
                Place { device: device.clone(), policy, partition, hash }
            };
            let context = RepairContext { store: &store, place: &place, committer: &committer };
            pending::check(&path, &context)
        })
        .await
    }
}

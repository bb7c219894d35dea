//! One sweep over one device: partition by partition, at its pace, remembering where it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{PathHash, PolicyIndex, Timestamp};
use apus_daemon::{Pace, PassContext, Stopped};
use apus_disk::Priority;

use super::object::{Body, Examined, body, examine};
use super::pending::{self, Checked, Surroundings};
use super::watcher::{Seen, Watcher, Wish};
use super::{Audited, Auditor, Kind, ObjectRings, Options, hashes, status};
use crate::async_pending;
use crate::device::DeviceError;
use crate::diskfile::hashes::told;
use crate::diskfile::layout::Layout;
use crate::diskfile::partition::Partition;
use crate::diskfile::reader::{Identity, Object};
use crate::diskfile::sweep::{Times, remove_object};
use crate::diskfile::writer::{Place, quarantine};
use crate::server::Server;

/// How the sweep of a device ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SweepEnd {
    /// Everything was looked at.
    Whole,
    /// The rest is for the next time.
    TimeIsUp,
    /// The device is missing or does not answer.
    NoDevice,
}

/// Why the work on a device stopped.
enum Ended {
    Stopped,
    TimeIsUp,
    NoDevice,
}

impl From<Stopped> for Ended {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<DeviceError> for Ended {
    fn from(_: DeviceError) -> Self {
        Self::NoDevice
    }
}

/// A sweep that is under way.
pub(super) struct Sweep<'a> {
    server: &'a Server,
    objects: &'a ObjectRings,
    watchers: &'a [Arc<dyn Watcher>],
    cx: &'a PassContext,
    options: Options,
    device: String,
    until: Option<Duration>,
    files: Pace,
    bytes: Pace,
    /// When the status file was written, or could have been.
    written: Duration,
    /// Whether there is a status file of this device.
    is_noted: bool,
    pub(super) done: Audited,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(
        auditor: &'a Auditor,
        cx: &'a PassContext,
        device: String,
        until: Option<Duration>,
    ) -> Self {
        let Auditor { server, objects, options, watchers } = auditor;
        Self {
            server,
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
            done: Audited::default(),
        }
    }

    /// Sweeps the objects of a policy.
    ///
    /// # Errors
    /// When the process is to stop.
    pub(super) async fn policy(&mut self, policy: PolicyIndex) -> Result<SweepEnd, Stopped> {
        match self.try_policy(policy).await {
            Ok(()) => Ok(SweepEnd::Whole),
            Err(Ended::Stopped) => Err(Stopped),
            Err(Ended::TimeIsUp) => Ok(SweepEnd::TimeIsUp),
            Err(Ended::NoDevice) => {
                tracing::debug!(device = %self.device, "object auditor: not there");
                Ok(SweepEnd::NoDevice)
            }
        }
    }

    async fn try_policy(&mut self, policy: PolicyIndex) -> Result<(), Ended> {
        let device = self.server.devices.path(&self.device)?;
        let objects = device.join(policy.suffixed("objects"));
        let file = status::path(&objects, self.options.kind.name());
        let resumes = self.resumes();
        let (read, list) = (file.clone(), objects.clone());
        let left = self.disk(move || {
            let left = resumes.then(|| status::read(&read)).flatten();
            Ok(match left {
                Some(left) => (left, true),
                None => (numbers(&list)?, false),
            })
        });
        let Some((left, is_over)) = left.await? else { return Ok(()) };
        self.is_noted = is_over;
        let scoped = |partition: &u32| self.cx.scope.has_partition(*partition);
        let left: Vec<u32> = left.into_iter().filter(scoped).collect();
        for (position, partition) in left.iter().enumerate() {
            self.note(&file, left.get(position..).unwrap_or_default(), false).await?;
            self.partition(&device, policy, *partition, &objects).await?;
        }
        if self.options.kind == Kind::All && !(is_over && left.is_empty()) {
            self.updates(&device, policy).await?;
        }
        // Nothing is left here, as long as other devices have something. What took no time needs no
        // file.
        if self.is_noted { self.note(&file, &[], true).await } else { Ok(()) }
    }

    /// Whether a sweep goes on where the last one ended.
    fn resumes(&self) -> bool {
        !self.cx.once && self.cx.scope.partitions.is_empty()
    }

    /// Writes the status file now and then.
    async fn note(&mut self, file: &Path, left: &[u32], now: bool) -> Result<(), Ended> {
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
        let counters = self.server.parts.counters.clone();
        self.disk(move || status::write(&file, &left, &counters)).await?;
        if is_up { Err(Ended::TimeIsUp) } else { Ok(()) }
    }

    /// Runs file work of the auditor; an error of the disk is counted.
    async fn disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<Option<T>, Ended> {
        match self.server.devices.run(&self.device, Priority::Background, work).await? {
            Ok(done) => Ok(Some(done)),
            Err(error) => {
                tracing::warn!(%error, device = %self.device, "object auditor");
                self.done.errors += 1;
                Ok(None)
            }
        }
    }

    async fn partition(
        &mut self,
        device: &Path,
        policy: PolicyIndex,
        partition: u32,
        objects: &Path,
    ) -> Result<(), Ended> {
        let directory = objects.join(partition.to_string());
        if self.options.kind == Kind::All {
            let of = directory.clone();
            let removed = self.disk(move || hashes::remove_damaged(&of)).await?;
            self.done.hashes_removed += u64::from(removed == Some(true));
        }
        let (list, counters) = (directory.clone(), self.server.parts.counters.clone());
        // Those that are there, and those of which only `hashes.pkl` says so.
        let find = move || Ok((apus_disk::names(&list)?, told(&list, &counters)));
        let (mut suffixes, told) = self.disk(find).await?.unwrap_or_default();
        suffixes.extend(told);
        suffixes.sort_unstable();
        suffixes.dedup();
        for suffix in suffixes.into_iter().filter(|name| name.len() == 3) {
            let path = directory.join(&suffix);
            let list = path.clone();
            let names = self.disk(move || apus_disk::names(&list)).await?.unwrap_or_default();
            for name in names {
                self.cx.safe_point().await?;
                self.cx.unless_stopped(self.files.take(1.0)).await?;
                match PathHash::parse(&name).filter(|hash| hash.suffix_dir() == suffix) {
                    Some(hash) => {
                        let device = device.to_owned();
                        self.object(Place { device, policy, partition, hash }).await?;
                    }
                    None => self.misnamed(device, policy, path.join(name)).await?,
                }
            }
            let of = Partition { device: device.to_owned(), policy, number: partition };
            let counters = self.server.parts.counters.clone();
            let look = move || hashes::note_if_stale(&of, &suffix, &counters);
            self.done.hashes_stale += u64::from(self.disk(look).await? == Some(true));
        }
        Ok(())
    }

    async fn object(&mut self, place: Place) -> Result<(), Ended> {
        let (server, of) = (self.server.clone(), place.clone());
        self.server.flood.audited(&place.device, self.cx.clock.now());
        let look = move || examine(&of, &server.parts.hash, &server.parts.counters);
        let Some(examined) = self.disk(look).await? else { return Ok(()) };
        self.done.passes += 1;
        match examined {
            Examined::Nothing | Examined::Deleted(..) => Ok(()),
            Examined::Damaged(reason) => {
                let (server, of) = (self.server.clone(), place.clone());
                let still = move || {
                    let again = examine(&of, &server.parts.hash, &server.parts.counters);
                    matches!(again, Ok(Examined::Damaged(_)))
                };
                self.move_aside(place, reason, still).await
            }
            Examined::Object(name, object) if self.options.kind == Kind::All => {
                let object = Arc::new(*object);
                let seen = object.identity();
                let add = self.options.add_checksums;
                let read = body(self.server, &self.device, &object, &mut self.bytes, add);
                self.done.bytes_processed += object.length;
                match self.cx.unless_stopped(read).await? {
                    Ok(Body::Good { added }) => {
                        self.done.checksums_added += u64::from(added);
                        self.watched(place, &name, &object).await
                    }
                    Ok(Body::Damaged(reason)) => {
                        let of = place.clone();
                        let still = move || is_still_there(seen, &of);
                        self.move_aside(place, reason, still).await
                    }
                    Err(error) => {
                        let directory = place.directory();
                        tracing::warn!(%error, object = %directory.display(), "object auditor");
                        self.done.errors += 1;
                        Ok(())
                    }
                }
            }
            Examined::Object(name, object) => self.watched(place, &name, &object).await,
        }
    }

    /// Shows a good object to the watchers until one wants it away.
    async fn watched(&mut self, place: Place, name: &str, object: &Object) -> Result<(), Ended> {
        let now = self.cx.clock.now();
        if self.watchers.is_empty() || object.is_expired(Timestamp::from_duration(now)) {
            return Ok(());
        }
        let of = place.clone();
        // Whatever is written from now on, nobody has been asked about.
        let times = move || Ok(Times::of(&Layout::of(&apus_disk::names(&of.directory())?)));
        let Some(Some(times)) = self.disk(times).await? else { return Ok(()) };
        if times.data != object.data_time {
            return Ok(());
        }
        let seen = Seen { name, policy: place.policy, time: object.data_time, now };
        for watcher in self.watchers {
            let wish = watcher.see_object(self.options.kind, &seen);
            match self.cx.unless_stopped(wish).await? {
                Wish::Keep => {}
                wish => return self.carry_out(place, times, wish, watcher.name()).await,
            }
        }
        Ok(())
    }

    /// Does what a watcher wants with an object that is as it was then, and whose row is not on its
    /// way.
    async fn carry_out(
        &mut self,
        place: Place,
        times: Times,
        wish: Wish,
        watcher: &'static str,
    ) -> Result<(), Ended> {
        let of = place.clone();
        let still = move || {
            let names = apus_disk::names(&of.directory()).unwrap_or_default();
            Times::of(&Layout::of(&names)) == Some(times)
                && async_pending::of_object(&of.device, of.policy, &of.hash).is_ok_and(|row| !row)
        };
        if wish == Wish::Quarantine {
            return self.move_aside(place, format!("requested by {watcher}"), still).await;
        }
        let (server, now) = (self.server.clone(), self.cx.clock.now());
        let removed = self.disk(move || {
            let Place { device, policy, partition, hash } = place;
            if !still() || !server.flood.may_move(&device, now) {
                return Ok(false);
            }
            let partition = Partition { device, policy, number: partition };
            remove_object(&partition, hash, times, &server.parts.counters)
        });
        self.done.deleted += u64::from(removed.await? == Some(true));
        Ok(())
    }

    /// Moves a damaged object aside, unless it has been replaced meanwhile or too many were moved.
    async fn move_aside(
        &mut self,
        place: Place,
        reason: String,
        still: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<(), Ended> {
        let (server, now) = (self.server.clone(), self.cx.clock.now());
        let moved = self.disk(move || {
            if !still() {
                return Ok(None);
            }
            if !server.flood.may_move(&place.device, now) {
                tracing::error!(object = %place.directory().display(), reason, "damaged, and left");
                return Ok(Some(false));
            }
            Ok(quarantine(&place, &reason, &server.parts.counters).then_some(true))
        });
        match moved.await?.flatten() {
            Some(true) => self.done.quarantined += 1,
            Some(false) => self.done.left_damaged += 1,
            None => {}
        }
        Ok(())
    }

    /// A directory with files of an object whose own name is no hash, or that of another suffix:
    /// nobody finds it there.
    async fn misnamed(
        &mut self,
        device: &Path,
        policy: PolicyIndex,
        path: PathBuf,
    ) -> Result<(), Ended> {
        let (device, kind) = (device.to_owned(), policy.suffixed("objects"));
        let (server, now) = (self.server.clone(), self.cx.clock.now());
        let moved = self.disk(move || {
            let holds = apus_disk::names(&path)?.iter().any(|name| {
                [".data", ".meta", ".ts"].iter().any(|ending| name.ends_with(ending))
            });
            if !holds || !server.flood.may_move(&device, now) {
                return Ok(false);
            }
            let aside = apus_disk::quarantine(&device, &kind, &path)?;
            tracing::error!(object = %path.display(), to = %aside.display(), "misnamed, quarantined");
            Ok(true)
        });
        if moved.await? == Some(true) {
            self.done.quarantined += 1;
        }
        Ok(())
    }

    /// The row updates of a policy.
    async fn updates(&mut self, device: &Path, policy: PolicyIndex) -> Result<(), Ended> {
        let directory = device.join(policy.suffixed("async_pending"));
        let listed = self.disk(move || async_pending::suffixes(&directory)).await?;
        for suffix in listed.unwrap_or_default() {
            let list = suffix.clone();
            let names = self.disk(move || apus_disk::names(&list)).await?.unwrap_or_default();
            for name in names {
                self.cx.safe_point().await?;
                self.cx.unless_stopped(self.files.take(1.0)).await?;
                let checked = self.update(device, policy, suffix.join(name)).await?;
                let damaged = checked.is_some_and(|checked| checked != Checked::Good);
                self.done.updates_quarantined += u64::from(damaged);
                let again = matches!(checked, Some(Checked::Mended | Checked::Announced));
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
    ) -> Result<Option<Checked>, Ended> {
        let Some(ring) = self.objects.get(&policy) else { return Ok(None) };
        let power = ring.get().part_power();
        let committer = self.server.devices.committer(&self.device)?;
        let (server, device) = (self.server.clone(), device.to_owned());
        self.disk(move || {
            let place = |hash: PathHash| {
                let partition = hash.partition(power);
                Place { device: device.clone(), policy, partition, hash }
            };
            let around = Surroundings {
                hash: &server.parts.hash,
                place: &place,
                committer: &committer,
                counters: &server.parts.counters,
            };
            pending::check(&path, &around)
        })
        .await
    }
}

fn is_still_there(seen: Option<Identity>, place: &Place) -> bool {
    seen.is_some_and(|seen| seen.is_still_at(place))
}

/// The partitions in a directory of objects.
fn numbers(objects: &Path) -> io::Result<Vec<u32>> {
    let names = apus_disk::names(objects)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

//! Reservations of object names: the object server's part in conditional writes.
//!
//! A conditional write reserves the name on a majority of its primaries at a time of its own (its
//! ballot), learns from them the newest version, and commits at exactly that time. Servers promise
//! three things, which together let only one of several conditional writes win, whatever is killed
//! or paused between them (single-decree Paxos with times as ballots, where the stored version is
//! the accepted value, as in CASPaxos):
//!
//! 1. a name is reserved only at a time later than every time at which it was reserved before;
//! 2. the holder of a name commits only if the name has not been reserved again since;
//! 3. no other strong write at an earlier time is admitted afterwards.
//!
//! A promise that is lost in a crash would break the first and third rule. So each device keeps a
//! *ceiling* on disk, a time that no promise since the last start exceeds, and after a start
//! everything up to it counts as promised. A promise that is not needed any longer is dropped the
//! same way: it raises the *floor* of its device.
//!
//! A holder that does not return is overtaken after [`HOLD`]; it then fails rule 2.
//!
//! When another process takes over, this one is *sealed* first ([`Reservations::seal`]): it makes no
//! further promises, and writes that it still admits are also compared with the ceiling, which rises
//! before the other process promises anything. `flock` on the device's directory separates the rise
//! of the ceiling from the writes of a sealed process.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apus_cluster::{PathHash, Timestamp};
use apus_disk::{AtomicFile, Counters, RootLock};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long other writes wait for the holder of a name. Longer than a commit takes.
const HOLD: Duration = Duration::from_secs(2);
/// Distance of the ceiling from promises, in steps of 10 µs: one disk write per second.
const CEILING_STEPS: u64 = 100_000;
/// How long to wait for the lock between two processes; its holder writes one file.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Names that are kept before the oldest promises become the floor.
const NAMES_MAX: usize = 10_000;
/// File with the ceiling, in the root of the device.
const CEILING_FILE: &str = "apus-promised";

/// Kind of a write that asks for admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// As in Swift: the newest time wins, but no write is admitted below a holder's ballot.
    Plain,
    /// A strong write: also not admitted below an earlier promise.
    Strong,
    /// The holder's own commit.
    Held,
}

/// Answer to a request for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The name is reserved.
    Granted,
    /// Another write holds it: wait, or overtake.
    Busy,
    /// A later time than this is needed.
    TooEarly(Timestamp),
}

#[derive(Debug, Default)]
struct NameState {
    promised: Timestamp,
    held: bool,
    /// Admitted writes that are not on the disk yet.
    writing: u32,
}

impl NameState {
    fn is_idle(&self) -> bool {
        !self.held && self.writing == 0
    }
}

/// The promises of one device. Pure: without clock, disk or waiting.
#[derive(Debug, Default)]
pub struct Names {
    floor: Timestamp,
    names: HashMap<PathHash, NameState>,
}

impl Names {
    /// Creates a table in which everything up to `floor` is promised.
    pub fn new(floor: Timestamp) -> Self {
        Self { floor, names: HashMap::new() }
    }

    fn promised(&self, name: &PathHash) -> Timestamp {
        self.names.get(name).map_or(self.floor, |name| name.promised.max(self.floor))
    }

    /// Reserves a name at a time; `overtake` takes it from a holder that does not return.
    pub fn ask(&mut self, hash: PathHash, time: Timestamp, overtake: bool) -> Ask {
        let promised = self.promised(&hash);
        if time <= promised {
            return Ask::TooEarly(promised);
        }
        let name = self.names.entry(hash).or_default();
        if name.held && !overtake {
            return Ask::Busy;
        }
        name.promised = time;
        name.held = true;
        Ask::Granted
    }

    /// Releases a name that was reserved at `time`; the promise stays.
    pub fn release(&mut self, hash: &PathHash, time: Timestamp) {
        if let Some(name) = self.names.get_mut(hash)
            && name.promised == time
        {
            name.held = false;
        }
    }

    /// Admits a write, or returns the time that it must exceed. An admitted write must
    /// [`leave`](Self::leave).
    ///
    /// # Errors
    /// The promised time.
    pub fn enter(
        &mut self,
        hash: PathHash,
        time: Timestamp,
        fence: Fence,
    ) -> Result<(), Timestamp> {
        let promised = self.promised(&hash);
        let held = self.names.get(&hash).is_some_and(|name| name.held);
        let through = match fence {
            Fence::Held => held && time == promised,
            Fence::Strong => time > promised,
            Fence::Plain => !held || time > promised,
        };
        if !through {
            return Err(promised);
        }
        self.names.entry(hash).or_default().writing += 1;
        Ok(())
    }

    /// Ends an admitted write, which is on the disk or has failed. A holder's commit releases the name.
    pub fn leave(&mut self, hash: &PathHash, time: Timestamp, fence: Fence) {
        if fence == Fence::Held {
            self.release(hash, time);
        }
        let Some(name) = self.names.get_mut(hash) else { return };
        name.writing = name.writing.saturating_sub(1);
        if name.is_idle() && name.promised <= self.floor {
            self.names.remove(hash);
        }
    }

    /// Whether admitted writes are not on the disk yet.
    pub fn is_writing(&self, hash: &PathHash) -> bool {
        self.names.get(hash).is_some_and(|name| name.writing > 0)
    }

    /// Whether any name is held.
    pub fn are_held(&self) -> bool {
        self.names.values().any(|name| name.held)
    }

    /// Releases all names; the promises stay.
    pub fn release_all(&mut self) {
        self.names.values_mut().for_each(|name| name.held = false);
    }

    /// Drops idle names when there are more than `max`: the older half becomes the floor.
    pub fn forget(&mut self, max: usize) {
        if self.names.len() <= max {
            return;
        }
        let idle = self.names.values().filter(|name| name.is_idle());
        let mut promises: Vec<Timestamp> = idle.map(|name| name.promised).collect();
        promises.sort_unstable();
        let Some(middle) = promises.get(promises.len() / 2) else { return };
        self.floor = self.floor.max(*middle);
        let floor = self.floor;
        self.names.retain(|_, name| !name.is_idle() || name.promised > floor);
    }
}

#[derive(Debug, Default)]
struct ReservationState {
    names: Names,
    /// The ceiling at the time of sealing.
    sealed: Option<Timestamp>,
    /// Writes that were admitted before that and are not on the disk yet.
    passing: usize,
}

/// The promises of a device in use, with waiting and a ceiling on its disk.
#[derive(Debug)]
pub(crate) struct Reservations {
    device: PathBuf,
    state: Mutex<ReservationState>,
    /// The ceiling on the disk.
    ceiling: tokio::sync::Mutex<Timestamp>,
    changed: Notify,
    counters: Arc<Counters>,
}

fn ahead(time: Timestamp) -> Timestamp {
    Timestamp::from_steps(time.steps().saturating_add(CEILING_STEPS))
}

/// A time and the MD5 of its text: a flipped bit must not raise the floor into the far future.
fn ceiling_text(time: Timestamp) -> String {
    format!("{time} {:x}\n", md5::compute(time.to_string()))
}

fn parse_ceiling(text: &str) -> Option<Timestamp> {
    let time = Timestamp::parse(text.split_once(' ')?.0)?;
    (ceiling_text(time) == text).then_some(time)
}

/// Why a name was not reserved.
#[derive(Debug)]
pub(crate) enum ReserveRefusal {
    /// A later time than this is needed.
    TooEarly(Timestamp),
    /// Another process reserves names from now on.
    Sealed,
    /// The promise could not be stored.
    Disk(io::Error),
}

/// Why a write was not admitted.
#[derive(Debug)]
pub(crate) enum CommitRefusal {
    /// Its time must exceed this one.
    TooEarly(Timestamp),
    /// The ceiling could not be read.
    Disk(io::Error),
}

fn read_ceiling(device: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(device.join(CEILING_FILE)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Reservations {
    /// Reads the ceiling of a device; when it is damaged, everything up to `now` and a second counts
    /// as promised. Blocking.
    pub(crate) fn open(device: &Path, counters: Arc<Counters>, now: Timestamp) -> io::Result<Self> {
        let floor = match read_ceiling(device)? {
            Some(text) => parse_ceiling(&text).unwrap_or_else(|| {
                let file = device.join(CEILING_FILE);
                tracing::error!(file = %file.display(), text, "The ceiling of promises is damaged; everything up to now counts as promised");
                ahead(now)
            }),
            None => Timestamp::ZERO,
        };
        Ok(Self {
            device: device.to_owned(),
            state: Mutex::new(ReservationState {
                names: Names::new(floor),
                ..ReservationState::default()
            }),
            ceiling: tokio::sync::Mutex::new(floor),
            changed: Notify::new(),
            counters,
        })
    }

    fn state(&self) -> MutexGuard<'_, ReservationState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state after [`Reservations::seal`], for a new one. It is not known whether the ceiling rose
    /// since, so only later times are admitted.
    pub(crate) fn begin_sealed(&self) {
        self.state().sealed = Some(Timestamp::ZERO);
    }

    /// Ends promises, so that another process can make them. When this returns, no name is held, and
    /// writes that were admitted without reading the ceiling are on the disk or have failed.
    pub(crate) async fn seal(&self) {
        {
            // The ceiling cannot rise meanwhile.
            let ceiling = self.ceiling.lock().await;
            self.state().sealed.get_or_insert(*ceiling);
        }
        let until = Instant::now() + HOLD;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if Instant::now() >= until {
                    state.names.release_all();
                }
                if !state.names.are_held() && state.passing == 0 {
                    return;
                }
            }
            if Instant::now() < until {
                let _ = tokio::time::timeout_at(until, changed).await;
            } else {
                changed.await;
            }
        }
    }

    /// Reserves a name: waits for its holder, then for admitted writes. When this returns, every write
    /// that is not below `time` is on the disk or will be refused.
    pub(crate) async fn take(
        self: &Arc<Self>,
        hash: PathHash,
        time: Timestamp,
    ) -> Result<LeaseGuard, ReserveRefusal> {
        self.raise(time).await.map_err(ReserveRefusal::Disk)?;
        let until = Instant::now() + HOLD;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let ask = {
                let mut state = self.state();
                if state.sealed.is_some() {
                    return Err(ReserveRefusal::Sealed);
                }
                state.names.ask(hash, time, Instant::now() >= until)
            };
            match ask {
                Ask::Granted => break,
                Ask::TooEarly(promised) => return Err(ReserveRefusal::TooEarly(promised)),
                // Whether woken or not, it asks again.
                Ask::Busy => drop(tokio::time::timeout_at(until, changed).await),
            }
        }
        let lease = LeaseGuard { of: self.clone(), hash, time, releases: true };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.state().names.is_writing(&hash) {
                return Ok(lease);
            }
            changed.await;
        }
    }

    /// Raises the ceiling on the disk to at least `time`.
    async fn raise(&self, time: Timestamp) -> io::Result<()> {
        let mut ceiling = self.ceiling.lock().await;
        if time <= *ceiling {
            return Ok(());
        }
        if self.state().sealed.is_some() {
            // The caller checks the seal next.
            return Ok(());
        }
        let next = ahead(time);
        let (device, counters) = (self.device.clone(), self.counters.clone());
        // Once a second at most, so the shared pool may do it.
        apus_daemon::task::spawn_blocking(move || {
            // A sealed process may still be writing.
            let _lock = RootLock::exclusive(&device, LOCK_WAIT)?;
            let mut file = AtomicFile::create(&device, &device, &counters)?;
            file.append(ceiling_text(next).as_bytes())?;
            file.sync()?;
            file.publish(&device.join(CEILING_FILE), &[])
        })
        .await
        .map_err(io::Error::other)??;
        *ceiling = next;
        self.state().names.forget(NAMES_MAX);
        Ok(())
    }

    /// Releases what was reserved at `time`.
    pub(crate) fn release(&self, hash: &PathHash, time: Timestamp) {
        self.state().names.release(hash, time);
        self.changed.notify_waiters();
    }

    /// Admits a write; it must be on the disk before the entry is dropped.
    ///
    /// # Errors
    /// The time that it must exceed, or why that is unknown.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        hash: PathHash,
        time: Timestamp,
        fence: Fence,
    ) -> Result<CommitEntry, CommitRefusal> {
        let sealed = {
            let mut state = self.state();
            state.names.enter(hash, time, fence).map_err(CommitRefusal::TooEarly)?;
            if state.sealed.is_none() {
                state.passing += 1;
            }
            state.sealed
        };
        let passing = sealed.is_none();
        let mut entry = CommitEntry { of: self.clone(), hash, time, fence, passing, lock: None };
        if let Some(sealed) = sealed {
            entry.lock = Some(self.lock_below(sealed, time).await?);
        }
        Ok(entry)
    }

    /// For a write in a sealed process: checks that no other process promised a later time, and that
    /// none will as long as the lock is held.
    async fn lock_below(
        &self,
        sealed: Timestamp,
        time: Timestamp,
    ) -> Result<RootLock, CommitRefusal> {
        let device = self.device.clone();
        let looked = apus_daemon::task::spawn_blocking(move || {
            let lock = RootLock::shared(&device, LOCK_WAIT)?;
            Ok((lock, read_ceiling(&device)?))
        });
        let looked: io::Result<_> = looked.await.map_err(io::Error::other).flatten();
        let (lock, text) = looked.map_err(CommitRefusal::Disk)?;
        let ceiling = match text.as_deref() {
            None => Timestamp::ZERO,
            Some(text) => parse_ceiling(text).ok_or_else(|| {
                CommitRefusal::Disk(io::Error::other(format!("{CEILING_FILE} is damaged")))
            })?,
        };
        if ceiling > sealed && time <= ceiling {
            return Err(CommitRefusal::TooEarly(ceiling));
        }
        Ok(lock)
    }
}

/// A reserved name. Released on drop, unless it is [kept](LeaseGuard::keep): the client does not know
/// of it.
#[derive(Debug)]
pub(crate) struct LeaseGuard {
    of: Arc<Reservations>,
    hash: PathHash,
    time: Timestamp,
    releases: bool,
}

impl LeaseGuard {
    /// Keeps the lease, since the client is informed of it.
    pub(crate) fn keep(mut self) {
        self.releases = false;
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if self.releases {
            self.of.release(&self.hash, self.time);
        }
    }
}

/// An admitted write.
#[derive(Debug)]
pub(crate) struct CommitEntry {
    of: Arc<Reservations>,
    hash: PathHash,
    time: Timestamp,
    fence: Fence,
    /// Whether it was admitted before the seal.
    passing: bool,
    /// Of a write in a sealed process.
    lock: Option<RootLock>,
}

impl Drop for CommitEntry {
    fn drop(&mut self) {
        {
            let mut state = self.of.state();
            state.names.leave(&self.hash, self.time, self.fence);
            if self.passing {
                state.passing = state.passing.saturating_sub(1);
            }
        }
        self.of.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: PathHash = PathHash([1; 16]);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_name_is_reserved_at_increasing_times_and_by_one_write_at_a_time() {
        let mut names = Names::new(at(5));
        assert_eq!(names.ask(NAME, at(5), false), Ask::TooEarly(at(5)));
        assert_eq!(names.ask(NAME, at(7), false), Ask::Granted);
        assert_eq!(names.ask(NAME, at(6), true), Ask::TooEarly(at(7)));
        assert_eq!(names.ask(NAME, at(8), false), Ask::Busy);
        assert_eq!(names.ask(NAME, at(8), true), Ask::Granted);
        assert_eq!(names.enter(NAME, at(7), Fence::Held), Err(at(8)));
        names.release(&NAME, at(7));
        assert_eq!(names.ask(NAME, at(9), false), Ask::Busy);
        names.enter(NAME, at(8), Fence::Held).unwrap();
        names.leave(&NAME, at(8), Fence::Held);
        assert_eq!(names.ask(NAME, at(9), false), Ask::Granted);
    }

    #[test]
    fn strong_writes_below_a_promise_are_refused_and_plain_ones_only_while_it_is_held() {
        let mut names = Names::default();
        names.ask(NAME, at(7), false);
        assert_eq!(names.enter(NAME, at(6), Fence::Plain), Err(at(7)));
        assert_eq!(names.enter(NAME, at(7), Fence::Strong), Err(at(7)));
        names.enter(NAME, at(8), Fence::Strong).unwrap();
        assert!(names.is_writing(&NAME));
        names.leave(&NAME, at(8), Fence::Strong);
        names.release(&NAME, at(7));
        names.enter(NAME, at(6), Fence::Plain).unwrap();
        assert_eq!(names.enter(NAME, at(6), Fence::Strong), Err(at(7)));
    }

    #[test]
    fn dropped_promises_apply_to_every_name() {
        let mut names = Names::default();
        let name = |number: u8| PathHash([number; 16]);
        for number in 1..=10 {
            names.ask(name(number), at(u64::from(number)), false);
            names.release(&name(number), at(u64::from(number)));
        }
        names.ask(name(20), at(1), false);
        names.forget(5);
        assert!(names.names.len() < 8, "{names:?}");
        for number in 1..=10 {
            let time = at(u64::from(number));
            assert!(names.enter(name(number), time, Fence::Strong).is_err(), "{number}");
        }
        names.enter(name(20), at(1), Fence::Held).expect_err("the floor is above it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_promise_survives_the_process_and_a_lost_holder_is_overtaken() {
        let device = std::env::temp_dir().join(format!("apus-promise-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&device);
        std::fs::create_dir_all(&device).unwrap();
        let open = || Arc::new(Reservations::open(&device, Arc::default(), at(50)).unwrap());
        let before = open();
        before.take(NAME, at(100)).await.unwrap().keep();
        before.take(NAME, at(101)).await.unwrap().keep();
        before.enter(NAME, at(100), Fence::Held).await.unwrap_err();
        let after = open();
        assert!(after.enter(NAME, at(101), Fence::Strong).await.is_err());
        assert!(matches!(after.take(NAME, at(101)).await, Err(ReserveRefusal::TooEarly(_))));
        drop(after.take(NAME, at(103)).await.unwrap());
        after.take(NAME, at(104)).await.unwrap();
        let ceiling = std::fs::read_to_string(device.join(CEILING_FILE)).unwrap();
        std::fs::write(device.join(CEILING_FILE), ceiling.replacen('0', "9", 1)).unwrap();
        let damaged = open();
        assert!(damaged.enter(NAME, at(50), Fence::Strong).await.is_err());
        damaged.enter(NAME, at(60), Fence::Strong).await.unwrap();
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[tokio::test]
    async fn reserving_a_name_waits_for_admitted_writes() {
        let device = std::env::temp_dir().join(format!("apus-way-{}", std::process::id()));
        std::fs::create_dir_all(&device).unwrap();
        let names = Arc::new(Reservations::open(&device, Arc::default(), at(0)).unwrap());
        let entry = names.enter(NAME, at(1), Fence::Strong).await.unwrap();
        let take = names.take(NAME, at(2));
        tokio::pin!(take);
        assert!(futures_util::poll!(take.as_mut()).is_pending());
        while !names.state().names.names.get(&NAME).is_some_and(|name| name.held) {
            assert!(futures_util::poll!(take.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        drop(entry);
        take.await.unwrap();
        std::fs::remove_dir_all(&device).unwrap();
    }

    fn device(name: &str) -> PathBuf {
        let device = std::env::temp_dir().join(format!("apus-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&device);
        std::fs::create_dir_all(&device).unwrap();
        device
    }

    #[tokio::test]
    async fn a_seal_waits_for_holders_and_for_admitted_writes() {
        let device = device("seal");
        let names = Arc::new(Reservations::open(&device, Arc::default(), at(0)).unwrap());
        let entry = names.enter(NAME, at(1), Fence::Strong).await.unwrap();
        let other = PathHash([2; 16]);
        names.take(other, at(2)).await.unwrap().keep();
        let seal = names.seal();
        tokio::pin!(seal);
        assert!(futures_util::poll!(seal.as_mut()).is_pending());
        assert!(matches!(names.take(NAME, at(3)).await, Err(ReserveRefusal::Sealed)));
        drop(entry);
        assert!(futures_util::poll!(seal.as_mut()).is_pending());
        drop(names.enter(other, at(2), Fence::Held).await.unwrap());
        seal.await;
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[tokio::test]
    async fn a_late_write_in_a_sealed_process_is_not_admitted_below_promises_of_the_next() {
        let device = device("sealed");
        let open = || Arc::new(Reservations::open(&device, Arc::default(), at(0)).unwrap());
        let before = open();
        before.take(NAME, at(10)).await.unwrap();
        before.seal().await;
        let after = open();
        // No other process has promised anything yet.
        drop(before.enter(NAME, at(11), Fence::Strong).await.unwrap());
        after.take(NAME, at(20)).await.unwrap().keep();
        for fence in [Fence::Strong, Fence::Plain] {
            let refused = before.enter(NAME, at(19), fence).await;
            assert!(matches!(refused, Err(CommitRefusal::TooEarly(time)) if time >= at(20)));
        }
        // Later than every promise. While it is written no later time is promised.
        let entry = before.enter(NAME, at(30), Fence::Strong).await.unwrap();
        let take = after.take(NAME, at(40));
        tokio::pin!(take);
        let early = tokio::time::timeout(Duration::from_millis(50), take.as_mut()).await;
        assert!(early.is_err());
        drop(entry);
        take.await.unwrap();
        std::fs::remove_dir_all(&device).unwrap();
    }
}
